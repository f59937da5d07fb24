"""Commands as processes of their own, for all tests of the command line."""

from collections.abc import Iterator

import pytest
from forked_commands import Commands

from d2eval.hpatches.report import curves


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Starts commands that can be killed."""
    started = Commands(tmp_path_factory.mktemp("commands"))
    yield started
    started.close()


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """HPatches' curves are not drawn, which takes most of the time of a run that is small."""
    monkeypatch.setattr(curves, "plot_runs", lambda _, output, **__: [output])
