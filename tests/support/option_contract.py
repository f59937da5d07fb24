"""What the options of every kind of plug-in keep."""

import dataclasses


def assert_options(config: type) -> None:
    """Each has a default and a help text, and none changes once it is set."""
    assert config.__dataclass_params__.frozen
    for field in dataclasses.fields(config):
        assert field.default is not dataclasses.MISSING
        assert field.metadata["help"].strip()
