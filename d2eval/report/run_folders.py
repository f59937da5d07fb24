"""Folders of measured runs, ``RUNS/<benchmark>/<label>/``, and what their manifests share."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import d2eval
from d2eval.contracts.weights import NOT_STATED
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import read_json
from d2eval.foundation.text.display import printable
from d2eval.foundation.text.labels import make_label
from d2eval.report.names import method_name
from d2eval.runs.rows import reading

DEFAULT_RUNS = Path("results/runs")
# Our own measured runs, which ship with d2eval: in a checkout, and in an installed wheel
SHIPPED_RUNS = Path(d2eval.__file__).parents[1] / "results/shipped/runs"
SHIPPED = "shipped"
RunRoots = Path | Sequence[Path] | None
SAMPLE = "sample"
MANIFEST, SUMMARY = "manifest.json", "summary.csv"
REMEDY = "run the evaluation again or move the folder away"


@dataclass(frozen=True)
class Run:
    """What every measured run says of itself.

    Attributes:
        label: the name of its folder, after that of the place where several are shown; no two
            runs share one.
        method: the method's registered name, and a matcher that isn't the protocol's, as in
            "d2_ms + ratio".
        dataset: "complete", "partial (...)" or "sample".
        weights: what the weights were, in words; "none" of earlier versions is either of two.
        stand_in: whether the weights stand in for the official ones.
    """

    label: str
    method: str
    dataset: str
    weights: str
    stand_in: bool

    @property
    def is_sample(self) -> bool:
        """Whether it ran on the embedded sample, which no published number describes."""
        return self.dataset == SAMPLE

    @property
    def is_partial(self) -> bool:
        """Whether parts of the benchmark were missing."""
        return self.dataset.startswith("partial")


@dataclass(frozen=True)
class Manifest:
    """The entries of ``manifest.json`` that each benchmark's has.

    Attributes:
        method: as in `Run`.
        label: how its rows call the run.
        dataset: the dataset's completeness.
        stand_in: whether the weights stand in for the official ones.
        content: the whole of it.
    """

    method: str
    label: str
    dataset: str
    stand_in: bool
    content: Mapping[str, Any]


@dataclass(frozen=True)
class RunPlace:
    """Where a run lies, and how tables call it."""

    label: str
    path: Path


def run_folders(roots: RunRoots, benchmark: str) -> tuple[list[RunPlace], list[str]]:
    """The folders of runs of ``benchmark`` below ``roots``, by label.

    Of several roots, the labels of all but the first begin with the root's name, as in
    "shipped/d2_ms".

    Args:
        roots: the folder of runs, or several; None means ``results/runs``, which need not exist,
            and the runs that ship with d2eval.
        benchmark: such as "hpatches".

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
        elif given is None:
            notes.append(f"{folder}: no measured runs yet")
        else:
            raise D2EvalError(
                f"{folder}: no such folder; give --runs the folder that holds {benchmark}/<label>/"
            )
    return places, notes


def _name_of(root: Path, taken: Sequence[str]) -> str:
    name = SHIPPED if root == SHIPPED_RUNS else make_label(root.resolve().name)
    return f"{name}-{len(taken)}" if name in taken else name


def unfinished_note(folder: Path, files: Iterable[str] = (SUMMARY, MANIFEST)) -> str | None:
    """What to tell the user of a run's folder that lacks files; None if none is lacking."""
    missing = [name for name in files if not (folder / name).is_file()]
    if not missing:
        return None
    return f"{folder}: skipped, {' and '.join(missing)} missing: the run is unfinished"


def load_manifest(folder: Path, benchmark: str) -> Manifest:
    """Reads ``manifest.json`` of a run of ``benchmark``.

    Raises:
        D2EvalError: it is broken or another benchmark's.
    """
    path = folder / MANIFEST
    with reading(path, REMEDY):
        content = read_json(path, REMEDY)
        if not isinstance(content, dict) or content.get("benchmark") != benchmark:
            raise ValueError(f"not the manifest of an {benchmark} run")
        dataset = entry(entry(content, "dataset", dict), "completeness", str)
        weights = entry(content, "weights", dict, type(None))
        return Manifest(
            with_matcher(entry(content, "method", str), content),
            entry(content, "label", str),
            dataset,
            _stands_in(weights),
            content,
        )


def with_matcher(method: str, manifest: Mapping[str, Any]) -> str:
    """A method, and the run's matcher if it isn't the protocol's: beside whose numbers none stand.

    Manifests of earlier versions, which knew one matcher, name none.

    Raises:
        ValueError: the manifest's entry is broken.
    """
    if "matcher" not in manifest:
        return method
    matcher = entry(manifest, "matcher", dict)
    name = entry(matcher, "name", str)
    return method if entry(matcher, "default", bool) else f"{method} + {name}"


def _stands_in(weights: Mapping[str, Any] | None) -> bool:
    """Whether weights stand in for the official ones; of several, by name, whether one does."""
    if weights is None:
        return False
    if weights and all(isinstance(own, dict | None) for own in weights.values()):
        return any(_stands_in(own) for own in weights.values())
    return bool(entry(weights, "stand_in", bool))


def check_origin(row: Mapping[str, str], manifest: Manifest) -> None:
    """Sees to it that a row of ``summary.csv`` belongs to the manifest beside it.

    Otherwise a partial run could be shown as a complete one.

    Raises:
        ValueError: it doesn't, or both say of the dataset what d2eval never does.
    """
    if row["method"] not in (manifest.method, manifest.label) or row["dataset"] != manifest.dataset:
        raise ValueError(
            f"is of {row['method']!r} on {row['dataset']!r}, but manifest.json says "
            f"{manifest.label!r} on {manifest.dataset!r}"
        )
    dataset = manifest.dataset
    if dataset not in ("complete", SAMPLE) and not dataset.startswith("partial"):
        raise ValueError(f"dataset is {dataset!r}, not complete, partial or sample")


def legend_entry(run: Run, top_k: int | None = None) -> str:
    """What a figure calls a run, such as "d2_ms, 7 of 108, stand-in".

    Args:
        run: its label says what it is of; where it doesn't hold the method's name, that follows.
        top_k: how many features it kept of an image; None for all.
    """
    named = [part.split(" and ") for part in run.method.replace(":", ".").split(" + ")]
    name = run.label
    if not all(any(word in run.label for word in part) for part in named):
        name += f" ({method_name(run.method)})"
    parts = [printable(name)]
    if top_k is not None and str(top_k) not in run.label:
        parts.append(f"top {top_k}")
    if run.is_partial:
        found = re.match(r"partial \((\d+ of \d+)", run.dataset)
        parts.append(found[1] if found else "partial")
    if run.stand_in:
        parts.append("stand-in")
    if run.weights == NOT_STATED.name:
        parts.append("weights not stated")
    return ", ".join(parts)


def entry(record: Mapping[str, Any], key: str, *kinds: type) -> Any:
    """``record[key]``, of one of the types.

    Raises:
        ValueError: it is missing or of another type.
    """
    if key not in record:
        raise ValueError(f"lacks {key}")
    if not isinstance(record[key], kinds):
        raise ValueError(f"{key} is {record[key]!r}, of another type than d2eval writes")
    return record[key]
