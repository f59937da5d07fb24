"""For tests of the command line: commands as processes of their own, and less work for them."""

from collections.abc import Iterator

import pytest
from forked_commands import Commands

CROP = 160  # pixels: a third of the computations of a training, over as many pairs and steps


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Starts commands that can be killed."""
    started = Commands(tmp_path_factory.mktemp("commands"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def quick_training() -> Iterator[None]:
    """Trainings see less of the images and draw no curves."""
    from methods.d2net.training import logs
    from methods.d2net.training.data import depth_warp, homographies

    with pytest.MonkeyPatch.context() as patch:
        for module in (homographies, depth_warp):
            patch.setattr(module, "CROP", CROP)
        patch.setattr(logs, "draw_curves", lambda *_: None)
        yield
