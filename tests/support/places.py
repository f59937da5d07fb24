"""Where tests find the repository and the real data, which may be absent."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("D2EVAL_SHARED", REPOSITORY.parent / "shared"))
DATA, REFERENCE, CASES = SHARED / "data", SHARED / "reference", SHARED / "cases"


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Skips a test where one of ``paths`` is absent."""
    absent = [str(path) for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(absent), reason=f"no {absent[0] if absent else ''}")
