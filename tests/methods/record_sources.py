"""Writes methods/shipped.json anew: run it after a change of the methods' files.

    python tests/methods/record_sources.py

Where a change of the code changes what a method gives, raise its version first: features that were
stored before stay valid otherwise.
"""

import json

from d2eval.contracts.source import RECORD, digest_of, methods_folder

TRAINING = "training"  # no features come from it


def current_record() -> dict[str, str]:
    """The SHA-256 of every file that decides what the shipped methods give."""
    folder = methods_folder()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    shipped = [name for name in names if name != "__init__.py" and TRAINING not in name.split("/")]
    return {name: digest_of(folder / name) for name in shipped}


if __name__ == "__main__":
    text = json.dumps(current_record(), indent=1) + "\n"
    (methods_folder() / RECORD).write_text(text, encoding="utf-8")
