"""The files of an Aachen Day-Night folder together: what they hold and whether they fit.

Names of queries begin with ``query/`` or stand in a query list; all other images of the database
are database images.
"""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import pycolmap

from d2eval.aachen.data.database import ColmapDatabase, read_database
from d2eval.aachen.data.parsing import PairList, Report, fail, read_intrinsics, read_nvm, read_pairs
from d2eval.aachen.protocol import AachenBenchmark
from d2eval.foundation.errors import D2EvalError, told
from d2eval.foundation.files.paths import find
from d2eval.foundation.text.words import some

T = TypeVar("T")
QUERY_PREFIX = "query/"
KINDS = {
    "database": "database images",
    "posed": "database images with a pose",
    "day": "day queries",
    "night": "night queries",
    "pairs": "pairs",
}


@dataclass(frozen=True)
class Files:
    """The folder's files, read."""

    database_path: Path  # of ``database``
    database: ColmapDatabase  # cameras and images
    pairs_path: Path  # of ``pairs``
    pairs: PairList  # the image pairs
    model_path: Path  # of ``poses``
    poses: dict[str, pycolmap.Rigid3d]  # of database images
    intrinsics_path: Path  # of ``intrinsics``
    intrinsics: dict[str, pycolmap.Camera]  # of database images
    # queries and their intrinsics, by path of the list
    lists: dict[Path, dict[str, pycolmap.Camera]]


def _read(reader: Callable[[Path, Report], T], path: Path, empty: T, report: Report) -> T:
    with told(report):
        return reader(path, report)
    return empty


def read_files(
    root: Path, benchmark: AachenBenchmark, pairs: Path | None = None, report: Report = fail
) -> Files:
    """Reads the files of the folder; with a ``report`` that returns, what is broken is empty.

    ``pairs`` is a list instead of the layout's.

    Raises:
        D2EvalError: no such folder; by default, the first problem.
    """
    if not root.is_dir():
        raise D2EvalError(f"{root}: no such folder; --data takes the folder of {benchmark.name}")
    layout = benchmark.layout
    paths = {name: root / getattr(layout, name) for name in ("database", "model", "intrinsics")}
    pairs_path = pairs or root / layout.pairs
    found = list(find(root, layout.queries))
    if not found:
        report(f"{root}: no query list {layout.queries}; add one")
    return Files(
        paths["database"],
        _read(read_database, paths["database"], ColmapDatabase({}, {}), report),
        pairs_path,
        _read(read_pairs, pairs_path, PairList(), report),
        paths["model"],
        _read(read_nvm, paths["model"], {}, report),
        paths["intrinsics"],
        _read(read_intrinsics, paths["intrinsics"], {}, report),
        {path: _read(read_intrinsics, path, {}, report) for path in found},
    )


def split_of(path: Path) -> str:
    """The split that a query list stands for: "day", "night" or its file's name."""
    return next((split for split in ("night", "day") if split in path.name.lower()), path.stem)


def evaluated_lists(files: Files) -> dict[Path, dict[str, pycolmap.Camera]]:
    """The query lists that have a query in the pair list; without such a list there are no queries.

    The pair list of the challenge has night queries alone, though the dataset lists day queries
    too.
    """
    paired = {name for pair in files.pairs.pairs for name in pair}
    return {path: names for path, names in files.lists.items() if paired.intersection(names)}


def find_problems(files: Files, report: Report = fail) -> None:
    """Whether the files fit each other; what `read_files` found empty is not held against others.

    Raises:
        D2EvalError: by default, the first problem.
    """
    _check_lists(files, report)
    _check_pairs(files, report)
    for path, known in (
        (files.database_path, set(files.database.image_ids)),
        (files.intrinsics_path, set(files.intrinsics)),
    ):
        lacking = [name for name in files.poses if name not in known]
        if known and lacking:
            report(
                f"{files.model_path}: {len(lacking)} cameras are not in {path}: {some(lacking)}; "
                "take both from the same dataset"
            )
    _check_shared_cameras(files, report)


def _check_lists(files: Files, report: Report) -> None:
    seen = dict.fromkeys(files.intrinsics, files.intrinsics_path)
    seen |= dict.fromkeys(files.poses, files.model_path)
    for path, names in files.lists.items():
        twice = [name for name in names if name in seen]
        if twice:
            report(
                f"{path}: {len(twice)} queries stand in {seen[twice[0]]} too: {some(twice)}; "
                "remove them from one"
            )
        seen |= dict.fromkeys(names, path)


def _check_pairs(files: Files, report: Report) -> None:
    evaluated = evaluated_lists(files)
    first: dict[str, int] = {}
    for line, pair in zip(files.pairs.lines, files.pairs.pairs, strict=True):
        for name in pair:
            first.setdefault(name, line)
    known, listed = (
        files.database.image_ids,
        {name for names in evaluated.values() for name in names},
    )
    unknown = [name for name in first if known and name not in known]
    bare = [name for name in first if name.startswith(QUERY_PREFIX) and name not in listed]
    for names, what in (
        (unknown, f"not in {files.database_path}; add them there or remove the pairs"),
        (bare, "queries without intrinsics; add a query list that has them, or remove the pairs"),
    ):
        if names:
            where = f"{files.pairs_path}: line {first[names[0]]}"
            report(f"{where} names {names[0]}; {len(names)} images ({some(names)}) are {what}")
    absent = [name for name in listed if known and name not in known and name not in first]
    if absent:
        report(f"{files.database_path}: lacks {len(absent)} queries: {some(absent)}; replace it")
    if first and files.lists and not evaluated:
        lists = some(path.name for path in files.lists)
        report(f"{files.pairs_path}: no pair has a query of {lists}; add pairs of queries")


def _check_shared_cameras(files: Files, report: Report) -> None:
    first: dict[int, str] = {}
    cameras = merge_cameras(files)
    for name, camera in cameras.items():
        other = first.setdefault(camera.camera_id, name)
        if cameras[other] != camera:
            report(
                f"{files.database_path}: {other} and {name} share camera {camera.camera_id}, but "
                "their intrinsics differ in the lists; give each image a camera of its own"
            )


def merge_cameras(files: Files) -> dict[str, pycolmap.Camera]:
    """The camera of every image of the database, with the intrinsics of the lists, by name.

    An image without a line has those of an image with the same camera, or the database's.
    """
    lines = dict(files.intrinsics)
    for names in files.lists.values():
        lines |= names
    stored = files.database.cameras
    shared = {stored[name].camera_id: line for name, line in lines.items() if name in stored}
    merged = {}
    for name, own in stored.items():
        merged[name] = copy.copy(lines.get(name) or shared.get(own.camera_id) or own)
        merged[name].camera_id = own.camera_id
        merged[name].has_prior_focal_length = own.has_prior_focal_length
    return merged


def split_queries(files: Files) -> dict[str, str]:
    """The split of every query of the database, the pairs or a list, by name.

    A query in no list has the split of its path's folder, or "" without one.
    """
    names = chain(files.database.image_ids, *files.pairs.pairs)
    splits = {
        name: next((s for s in ("night", "day") if s in name.split("/")), "")
        for name in names
        if name.startswith(QUERY_PREFIX)
    }
    for path, listed in files.lists.items():
        splits |= dict.fromkeys(listed, split_of(path))
    return splits


def count_images(files: Files) -> dict[str, int]:
    """Counts of the folder, whatever is evaluated, under the names of the benchmark's totals."""
    splits = split_queries(files)
    known = files.database.image_ids
    counts = Counter(split for name, split in splits.items() if name in known)
    return {
        "database": sum(name not in splits for name in known),
        "posed": len(files.poses),
        "day": counts["day"],
        "night": counts["night"],
        "pairs": len(files.pairs.pairs),
    }
