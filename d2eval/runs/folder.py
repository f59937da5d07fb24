"""The folder of a run: it holds one run's work and no other's; rows as CSV."""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import exclusive, write_text
from d2eval.foundation.text.display import csv_text
from d2eval.foundation.text.labels import check_label, make_label
from d2eval.runs.columns import Column, names
from d2eval.runs.manifest import read_manifest

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
_HASHES = {  # entries whose values say nothing to a reader
    "dataset.outline": "the dataset's files",
    "dataset.fingerprint": "the content of the dataset",
    "protocol_sha256": "the protocol's numbers, or only an older d2eval's hash of them",
    "features.files_sha256": "the features' files",
}


@dataclass(frozen=True)
class RunName:
    """How a run is called.

    Raises:
        D2EvalError: the label is none.
    """

    label: str  # its folder's name
    # whether the user chose it. Otherwise it says what the run is of, and a run of other work that
    # has the name already makes it longer
    given: bool = False

    def __post_init__(self) -> None:
        check_label(self.label)


def format_value(value: Any) -> str:
    """One CSV cell: nine significant digits, empty for what is not known."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return "" if value is None else str(value)


def write_csv(
    path: Path, rows: "Sequence[Row] | pd.DataFrame", columns: Sequence[Column] = ()
) -> None:
    """Writes rows, complete or not at all.

    Without ``columns`` they are those of the first row.

    Raises:
        ValueError: a row has other columns.
        D2EvalError: the file can't be written.
    """
    records = rows if isinstance(rows, Sequence) else rows.to_dict("records")
    header = names(columns) or [str(name) for name in records[0]]
    cells = ({str(name): format_value(value) for name, value in row.items()} for row in records)
    write_text(path, csv_text(header, cells))


class RunFolder:
    """The folder that a run may write to: nobody else's, and without another run's work."""

    def __init__(self, parent: Path, name: RunName, held: contextlib.ExitStack) -> None:
        self._parent, self._name, self._held = parent, name, held
        self.path: Path | None = None
        self.notes: list[str] = []

    def claim(self, work: Mapping[str, Any]) -> Path:
        """The folder for ``work``, held from now on; called again when more is known of it.

        It is the one of the run's name, unless that holds a run of other work: then it is one of a
        longer name. ``work`` are entries of the manifest that two runs of the same work share;
        those that aren't known yet are absent.

        Raises:
            D2EvalError: the user gave the name, and it is other work's; another process holds the
                folder; a manifest that is broken.
        """
        longer = make_label(f"{self._name.label}-{_digest(work)}")
        labels = [self._name.label] if self._name.given else [self._name.label, longer]
        if self.path is not None and self.path.name not in labels:
            labels.insert(1, self.path.name)
        differing = ""
        for label in labels:
            folder = self._parent / label
            differing = differences(read_manifest(folder), work)
            if not differing and folder != self.path:
                self._held.enter_context(exclusive(folder))
                differing = differences(read_manifest(folder), work)  # written meanwhile
            if not differing:
                self.path = folder
                return folder
            self._tell(folder, differing)
        raise D2EvalError(
            f"{self._parent / labels[-1]}: holds a run of other work ({differing}); choose another "
            "--name, or leave it out"
        )

    def _tell(self, folder: Path, differing: str) -> None:
        note = f"{folder}: holds a run of other work ({differing}), which stays"
        if note not in self.notes:
            self.notes.append(note)


@contextlib.contextmanager
def run_folder(parent: Path, name: RunName) -> Iterator[RunFolder]:
    """A run's place below ``parent``; what it claims is held until the end."""
    with contextlib.ExitStack() as held:
        yield RunFolder(parent, name, held)


def differences(old: Mapping[str, Any] | None, work: Mapping[str, Any]) -> str:
    """In what the run of the manifest ``old`` is other work than ``work``; "" if in nothing.

    What only one of them has is not known of the other, and no difference; but a manifest of an
    earlier version, which knew one matcher, names none.
    """
    if old is None:
        return ""
    found = list(_differing(_plain(old), _plain(work), ""))
    matchers = [own["matcher"] for own in (old, work) if isinstance(own.get("matcher"), dict)]
    if len(matchers) == 1 and not matchers[0].get("default", True):
        found.append(f"matcher {_shown(matchers[0].get('name'))} of one, the protocol's of another")
    return ", ".join(dict.fromkeys(found))


def _differing(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in new:
            if key in old:
                yield from _differing(old[key], new[key], f"{name}.{key}" if name else key)
    elif old != new:
        yield _HASHES.get(name) or f"{name} {_shown(old)} there, {_shown(new)} here"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _plain(content: Any) -> Any:
    """What decides a run's rows, as JSON has it: of features not where they lie or are called."""
    content = json.loads(json.dumps(content, default=str))
    return _without_words(content)


def _without_words(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    if "config" in content:  # what a source of features, or a matcher, says of itself
        content = {k: v for k, v in content.items() if k not in ("key", "folder")}
        for part in ("weights", "source"):
            if part in content:  # None, or an empty hash, is none
                content[part] = (content[part] or {}).get("sha256") or None
    return {key: _without_words(value) for key, value in content.items()}


def _digest(work: Mapping[str, Any]) -> str:
    text = json.dumps(_plain(work), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
