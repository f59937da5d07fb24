"""What an Aachen Day-Night folder holds and lacks; of the images, the headers are read."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from d2eval.aachen.data.dataset import file_notes, read_references
from d2eval.aachen.data.files import (
    KINDS,
    Files,
    count_images,
    evaluated_lists,
    find_problems,
    merge_cameras,
    read_files,
    split_of,
    split_queries,
)
from d2eval.aachen.protocol import AachenBenchmark
from d2eval.evaluation.benchmark import Checked
from d2eval.foundation.errors import told
from d2eval.foundation.files.reading import is_there
from d2eval.foundation.terminal.progress import progress
from d2eval.foundation.text.words import some
from d2eval.localization.datasets import describe_completeness, size_misfits


@dataclass(frozen=True)
class PairCounts:
    """The pair list."""

    between_database: int  # pairs of two database images
    with_query: int  # pairs of a query and a database image
    # (fewest, most) database images of a query that has any; (0, 0) without one
    per_query: tuple[int, int]
    queries: int  # queries that have any
    database_images: int  # database images that are in a pair
    # whether the pairs of database images are exactly all pairs within the database images of each
    # query, as in the list of Aachen Day-Night v1
    is_union: bool


def count_pairs(files: Files) -> PairCounts:
    """Counts the pair list by kind."""
    splits = split_queries(files)
    between, retrieved = set(), dict[str, set[str]]()
    for a, b in files.pairs.pairs:
        queries = [name for name in (a, b) if name in splits]
        if not queries:
            between.add(frozenset((a, b)))
        elif len(queries) == 1:
            retrieved.setdefault(queries[0], set()).add(b if queries[0] == a else a)
    union = {frozenset(p) for names in retrieved.values() for p in combinations(names, 2)}
    sizes = [len(names) for names in retrieved.values()] or [0]
    return PairCounts(
        between_database=len(between),
        with_query=sum(len(names) for names in retrieved.values()),
        per_query=(min(sizes), max(sizes)),
        queries=len(retrieved),
        database_images=len(set().union(*between, *retrieved.values())),
        is_union=between == union,
    )


def _check_images(files: Files, folder: Path, problems: list[str]) -> Iterator[str]:
    """Adds to ``problems`` what is wrong with image files; yields what does no harm."""
    if not folder.is_dir():
        problems.append(f"{folder}: no such folder; add the images")
        return
    needed = set().union(*files.pairs.pairs, *evaluated_lists(files).values())
    names = files.database.image_ids
    there = {name: folder / name for name in names if (folder / name).is_file()}
    listed = progress(there.items(), "checking the images")
    misfits = size_misfits(listed, merge_cameras(files), problems)
    missing = [name for name in names if name not in there]
    lacking = [name for name in missing if name in needed]
    if lacking:
        problems.append(f"{folder}: {len(lacking)} images are missing: {some(lacking)}; add them")
    if misfits:
        problems.append(
            f"{folder}: {len(misfits)} images are not of the size of their intrinsics: "
            f"{some(misfits)}; take the original images"
        )
    spare = [name for name in missing if name not in needed]
    if spare:
        yield f"without a file, not needed: {len(spare)} images: {some(spare)}"


def _lacking(files: Files) -> Iterator[str]:
    """What database images lack without harm to a run."""
    splits = split_queries(files)
    images = [name for name in files.database.image_ids if name not in splits]
    for what, names in (("a pose", files.poses), ("an intrinsics line", files.intrinsics)):
        lacking = [name for name in images if name not in names]
        if names and lacking:
            yield f"without {what}: {len(lacking)} database images: {some(lacking)}"


def _check_references(files: Files, path: Path, problems: list[str], notes: list[str]) -> int:
    if not is_there(path):
        return 0
    queries = {name: "" for names in evaluated_lists(files).values() for name in names}
    with told(problems.append):
        return len(read_references(path, queries, notes))
    return 0


def check(root: Path, benchmark: AachenBenchmark) -> Checked:
    """Reads every file of the folder and the headers of its images, and lists all problems.

    Raises:
        D2EvalError: no such folder.
    """
    problems: list[str] = []
    files = read_files(root, benchmark, report=problems.append)
    find_problems(files, problems.append)
    notes = file_notes(files)
    references = _check_references(files, root / benchmark.layout.references, problems, notes)
    facts = [*_lacking(files), *_check_images(files, root / benchmark.layout.images, problems)]
    evaluated, cameras = evaluated_lists(files), files.database.cameras
    counts, pairs = count_images(files), count_pairs(files)
    held = ", ".join(f"{counts[key]} {KINDS[key]}" for key in ("database", "day", "night"))
    priors = len({c.camera_id for c in cameras.values() if c.has_prior_focal_length})
    fewest, most = pairs.per_query
    each = str(most) if fewest == most else f"{fewest} to {most}"
    complete = ", ".join(f"{total} {KINDS[key]}" for key, total in benchmark.complete.items())
    lines = [
        f"{benchmark.name} in {root}: {describe_completeness(counts, benchmark.complete, KINDS)}",
        f"images in the database: {held}; {len({c.camera_id for c in cameras.values()})} cameras, "
        f"{priors} with a prior focal length",
        f"database images with a pose: {counts['posed']}",
    ]
    for path, names in files.lists.items():
        state = "evaluated" if path in evaluated else "not evaluated"
        lines.append(f"query list {path.name}: {len(names)} {split_of(path)}, {state}")
    lines += [
        f"pairs: {counts['pairs']} ({pairs.between_database} of database images, "
        f"{pairs.with_query} of a query and a database image)",
        f"queries with pairs: {pairs.queries}, each with {each} database images; "
        f"{pairs.database_images} database images are in pairs",
        f"pairs of database images: {'exactly' if pairs.is_union else 'not'} all pairs within the "
        "database images of each query",
        f"reference poses of queries: {references or 'none'}",
        f"a full set: {complete}",
        *facts,
        *(f"note: {note}" for note in notes),
    ]
    sound = "the files fit each other, and the images have the sizes of their intrinsics"
    return Checked(lines, problems, sound)
