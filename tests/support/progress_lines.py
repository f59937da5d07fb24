"""What a command says on standard error but for how far it is, which depends on the machine."""

import re

_PROGRESS = re.compile(
    r"^(?!note: |d2eval: )[^\n]+: (?:done, )?(?:[\d.]+(?: MB)?(?: of [\d.]+(?: MB)?)?, )?"
    r"\d+:\d\d(?::\d\d)?(?:, about [\d:]+ left)?"
    r"(?:; stage \d+ of \d+(?:, (?:about|over) [\d:]+ left in all)?)?\n",
    re.MULTILINE,
)


def without_progress(error: str) -> str:
    """The other lines."""
    return _PROGRESS.sub("", error)
