"""Labels: how runs and their features are called, and so their folders, files and rows."""

import hashlib

from d2eval.foundation.errors import D2EvalError

MOST_BYTES = 120  # a file's name may have 255, and some begin with a label
_FORBIDDEN = '/\\:*?"<>|'  # in names of files, here or on another system
_FIRST, _LAST = " .-=+@", " ."  # hidden files, options, spreadsheets' formulas
_RENAMED = {"*": "all"}


def label_problem(label: str) -> str | None:
    """What keeps ``label`` from being one, or None."""
    if not label.strip():
        return "is empty"
    if not label.isprintable():
        return "holds control characters or isn't UTF-8"
    if bad := [mark for mark in _FORBIDDEN if mark in label]:
        return f"holds {bad[0]}"
    if label[0] in _FIRST:
        return f"begins with {label[0]!r}"
    if label[-1] in _LAST:
        return f"ends with {label[-1]!r}"
    if len(label.encode()) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes"
    return None


def check_label(label: str) -> str:
    """``label``, if it is one.

    Raises:
        D2EvalError: it isn't.
    """
    problem = label_problem(label)
    if problem:
        raise D2EvalError(
            f"{label[:MOST_BYTES]!a} names a folder or file, but {problem}; choose another"
        )
    return label


def make_label(text: str) -> str:
    """The label that is most like ``text``, such as a folder's name or a pattern."""
    marks = [
        _RENAMED.get(mark, "_") if mark in _FORBIDDEN or not mark.isprintable() else mark
        for mark in text
    ]
    label = "".join(marks).lstrip(_FIRST).rstrip(_LAST)
    if len(label.encode()) > MOST_BYTES:
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
        kept = label.encode()[: MOST_BYTES - len(digest) - 1].decode(errors="ignore")
        label = f"{kept.rstrip(_LAST)}-{digest}"
    return label or "unnamed"
