"""Whether the lists of an InLoc folder name what is there, and all of it.

A run and check-data tell the same. A list of which nothing fits is a mistake; names that fit
nothing, or things without a line, are normal in a part of the dataset, but never passed over.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import find
from d2eval.foundation.text.words import some
from d2eval.inloc.data.files import Files, Reference, Scan, scan_of
from d2eval.inloc.protocol import InlocBenchmark


def reference_notes(path: Path, references: Mapping[str, Reference], files: Files) -> Iterator[str]:
    """What the user should be told of the reference poses in ``path``.

    Raises:
        D2EvalError: none of them is of a query that is there.
    """
    absent = [name for name in references if name not in files.queries]
    if files.queries and absent and len(absent) == len(references):
        raise D2EvalError(
            f"{path}: none of its {len(references)} names is a query: {some(absent)}; take the "
            "references of this set"
        )
    if absent:
        yield f"{len(absent)} queries with a reference pose are missing and count as failures: " + (
            some(absent)
        )
    unscored = [name for name in files.queries if name not in references]
    if references and unscored:
        yield f"{len(unscored)} queries have no reference pose and aren't scored: {some(unscored)}"
    floors = {floor for floor, _ in map(scan_of, files.cutouts)}
    bare = sorted({reference.floor for reference in references.values()} - floors)
    if bare:
        yield f"{path}: no cutout is of floor {some(bare)}, so that its queries count as failures"


def intrinsics_notes(path: Path, cameras: Mapping[str, Any], files: Files) -> Iterator[str]:
    """What the user should be told of the intrinsics in ``path``.

    Raises:
        D2EvalError: no line is of a query that is there.
    """
    unknown = [name for name in cameras if name not in files.queries]
    if files.queries and unknown and len(unknown) == len(cameras):
        raise D2EvalError(
            f"{path}: none of its {len(cameras)} names is a query: {some(unknown)}; mend the "
            "names, or remove the file to take the protocol's focal length"
        )
    if unknown:
        yield f"{path}: {len(unknown)} names are no query and not used: {some(unknown)}"
    bare = [name for name in files.queries if name not in cameras]
    if cameras and bare:
        yield (
            f"{path}: {len(bare)} queries have no line and get the protocol's focal length: "
            f"{some(bare)}"
        )


def retrieval_notes(path: Path, lists: Mapping[str, Any], files: Files) -> Iterator[str]:
    """What the user should be told of the retrieval list in ``path``, whose names are known."""
    alone = [name for name in files.queries if name not in lists]
    if alone:
        yield f"{path}: {len(alone)} queries have no cutout: {some(alone)}"


def spare_retrieval_notes(root: Path, benchmark: InlocBenchmark, used: Path) -> Iterator[str]:
    """What the user should be told where the folder holds retrieval lists beside the one used."""
    spare = [
        path.relative_to(root).as_posix()
        for pattern in benchmark.layout.retrieval
        for path in find(root, pattern)
        if path != used
    ]
    if spare:
        yield (
            f"{len(spare) + 1} retrieval lists: {used.relative_to(root).as_posix()} is used, which "
            f"protocol {benchmark.protocol} takes first, and not {some(spare)}"
        )


def scan_notes(files: Files) -> Iterator[str]:
    """What the user should be told of the files of scans."""
    known = {scan_of(cutout) for cutout in files.cutouts}
    kinds: tuple[tuple[str, Mapping[Scan, Path]], ...] = (
        ("alignments", files.alignments),
        ("point clouds", files.scans),
    )
    for what, found in kinds:
        spare = ["/".join(scan) for scan in found if scan not in known]
        if spare:
            yield f"{len(spare)} {what} are of scans without cutouts and not used: {some(spare)}"
