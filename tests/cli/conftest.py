"""What commands say on standard error is judged without how far they are: machines are slow."""

import re
from collections.abc import Callable, Iterator

import pytest

from d2eval import progress

AMOUNT = r"[\d.]+(?: MB)?"
LINE = re.compile(
    rf".*: (?:done, )?(?:{AMOUNT}(?: of {AMOUNT})?, )?(?:\d+:)?\d+:\d\d(?:, about .* left)?"
)


@pytest.fixture(autouse=True, scope="module")
def _no_lines_of_progress() -> Iterator[None]:
    """For commands that run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "FIRST_S", 1e6)
        yield


@pytest.fixture(scope="session")
def without_progress() -> Callable[[str], str]:
    """Drops the lines of progress from what another process has said."""
    return lambda text: "".join(
        line for line in text.splitlines(keepends=True) if not LINE.fullmatch(line.rstrip("\n"))
    )
