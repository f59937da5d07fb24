"""Measured runs: where they lie, ``RUNS/<benchmark>/<label>/``, and what each says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.text.labels import make_label
from d2eval.runs.manifest import FILE as MANIFEST
from d2eval.runs.manifest import Manifest
from d2eval.runs.rows import reading

DEFAULT_RUNS = Path("results/runs")
SHIPPED_RUNS = bundled("results/shipped/runs")  # our own measured ones
SHIPPED = "shipped"
RunRoots = Path | Sequence[Path] | None
SAMPLE, COMPLETE = "sample", "complete"
SUMMARY = "summary.csv"


def named(method: str, matcher: str) -> str:
    """How a method is called with its matcher, such as "d2_ms + ratio"; "" is the protocol's."""
    return f"{method} + {matcher}" if matcher else method


@dataclass(frozen=True)
class Run:
    """What every measured run says of itself."""

    # the name of its folder, after that of the place where several are shown; no two runs share one
    label: str
    method: str  # the method's registered name
    # one that isn't the protocol's, by name, or "": beside its numbers stand no published ones
    matcher: str
    dataset: str  # "complete", "partial (...)" or "sample"
    weights: str  # what the weights were, in words; "none" of earlier versions is either of two
    stand_in: bool  # whether the weights stand in for the official ones
    # what of the benchmark's data weights were trained on, see `d2eval.contracts.leaks`
    leaks: Sequence[str] = field(default=(), kw_only=True)

    @property
    def named(self) -> str:
        """The method, and the matcher where it is another one."""
        return named(self.method, self.matcher)

    @property
    def is_sample(self) -> bool:
        """Whether it ran on the embedded sample, which no published number describes."""
        return self.dataset == SAMPLE

    @property
    def is_partial(self) -> bool:
        """Whether parts of the benchmark were missing."""
        return self.dataset.startswith("partial")


@dataclass(frozen=True)
class RunPlace:
    """Where a run lies, and how tables call it."""

    label: str
    path: Path


def has_runs(roots: RunRoots, benchmark: str) -> bool:
    """Whether there are runs of ``benchmark`` below ``roots``, see `run_folders`."""
    given = [roots] if isinstance(roots, Path) else roots or (DEFAULT_RUNS, SHIPPED_RUNS)
    return any((root / benchmark).is_dir() for root in given)


def run_folders(
    roots: RunRoots, benchmark: str, *, each: bool = True
) -> tuple[list[RunPlace], list[str]]:
    """The folders of runs of ``benchmark`` below ``roots``, by label.

    Of several roots, the labels of all but the first begin with the root's name, as in
    "shipped/d2_ms". None means ``results/runs``, which need not exist, and the runs that ship with
    d2eval. ``each`` says that every root that is given must have runs of this benchmark.

    Returns:
        The folders, finished runs or not, and notes for the user.

    Raises:
        D2EvalError: a root was given and holds no folder of the benchmark, or can't be read.
    """
    given = [roots] if isinstance(roots, Path) else roots
    places: list[RunPlace] = []
    notes: list[str] = []
    names: list[str] = []
    for root in (DEFAULT_RUNS, SHIPPED_RUNS) if given is None else given:
        folder = root / benchmark
        names.append(_name_of(root, names))
        prefix = f"{names[-1]}/" if len(names) > 1 else ""
        if folder.is_dir():
            with reading(folder, "make it and its folders readable"):
                places += [
                    RunPlace(prefix + path.name, path)
                    for path in sorted(folder.iterdir())
                    if path.is_dir() and not path.name.startswith(".")
                ]
        elif given is None or not each:
            notes.append(f"{folder}: no measured runs yet")
        else:
            raise D2EvalError(
                f"{folder}: no such folder; give --runs the folder that holds {benchmark}/<label>/"
            )
    return places, notes


def _name_of(root: Path, taken: Sequence[str]) -> str:
    name = SHIPPED if root == SHIPPED_RUNS else make_label(root.resolve().name)
    return f"{name}-{len(taken)}" if name in taken else name


def unfinished_note(folder: Path) -> str | None:
    """What to tell the user of a run's folder that lacks files; None if none is lacking."""
    missing = [name for name in (SUMMARY, MANIFEST) if not (folder / name).is_file()]
    if not missing:
        return None
    lacking = f"{' and '.join(missing)} missing: the run is unfinished"
    return f"{folder}: skipped, {lacking}; run it again, or delete the folder"


def check_origin(name: str, dataset: str, manifest: Manifest) -> None:
    """Sees to it that a row of ``summary.csv`` belongs to the manifest beside it.

    Otherwise a partial run could be shown as a complete one.

    Raises:
        ValueError: it doesn't, or both say of the dataset what d2eval never does.
    """
    known = (named(manifest.method, manifest.matcher), manifest.label)
    if name not in known or dataset != manifest.dataset:
        raise ValueError(
            f"is of {name!r} on {dataset!r}, but manifest.json says "
            f"{manifest.label!r} on {manifest.dataset!r}"
        )
    if dataset not in (COMPLETE, SAMPLE) and not dataset.startswith("partial"):
        raise ValueError(f"dataset is {dataset!r}, not complete, partial or sample")
