"""Commands as processes of their own, for all tests of the command line."""

from collections.abc import Iterator

import pytest
from forked_commands import Commands


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Starts commands that can be killed."""
    started = Commands(tmp_path_factory.mktemp("commands"))
    yield started
    started.close()
