"""What an InLoc folder holds and lacks; of images, depth and scans, the headers are read."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from d2eval.evaluation.benchmark import Checked
from d2eval.foundation.errors import D2EvalError, told
from d2eval.foundation.files.reading import is_there
from d2eval.foundation.formats.matfiles import list_variables
from d2eval.foundation.images.decoding import read_image_size
from d2eval.foundation.terminal.progress import progress
from d2eval.foundation.text.words import some
from d2eval.inloc.data.alignments import read_alignment
from d2eval.inloc.data.coverage import (
    intrinsics_notes,
    reference_notes,
    retrieval_notes,
    scan_notes,
    spare_retrieval_notes,
)
from d2eval.inloc.data.dataset import check_depth_size
from d2eval.inloc.data.files import (
    KINDS,
    Files,
    Reference,
    Scan,
    count_files,
    depth_path,
    find_files,
    find_retrieval,
    read_intrinsics,
    read_references,
    scan_of,
)
from d2eval.inloc.data.retrieval import Retrieval, read_retrieval
from d2eval.inloc.protocol import InlocBenchmark
from d2eval.localization.datasets import describe_completeness, size_misfits

T = TypeVar("T")
SCAN_CELLS = (1, 7)  # shape of the scans' cell array: XYZ, intensity, RGB


@dataclass
class _Found:
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_notes(self, notes: Iterator[str]) -> None:
        """Takes what a run would tell, or would end with."""
        with told(self.problems.append):
            self.notes += notes


def _try(read: Callable[[Path], T], path: Path, problems: list[str]) -> T | None:
    with told(problems.append):
        return read(path)
    return None


def _check_depth(image: Path) -> None:
    path = depth_path(image)
    shapes = list_variables(path)
    if "XYZcut" not in shapes:
        raise D2EvalError(f"{path}: has no XYZcut; replace the file")
    check_depth_size(path, shapes["XYZcut"], read_image_size(image))


def _check_cutouts(files: Files, folder: Path, problems: list[str]) -> None:
    if not files.cutouts:
        problems.append(f"{folder}: no images; add them")
    bare = [name for name, path in files.cutouts.items() if not depth_path(path).is_file()]
    if bare:
        problems.append(f"{folder}: {len(bare)} cutouts without depth: {some(bare)}; add the files")
    lacking = set(bare)
    for name, image in progress(files.cutouts.items(), "checking the cutouts"):
        if name not in lacking:
            _try(_check_depth, image, problems)


def _check_queries(files: Files, root: Path, benchmark: InlocBenchmark, found: _Found) -> int:
    """How many queries have a line of intrinsics."""
    problems = found.problems
    if not files.queries:
        problems.append(f"{root / benchmark.layout.queries}: no images; add them")
    path = root / benchmark.layout.intrinsics
    cameras = (_try(read_intrinsics, path, problems) if is_there(path) else None) or {}
    found.add_notes(intrinsics_notes(path, cameras, files))
    if misfits := size_misfits(files.queries.items(), cameras, problems):
        problems.append(
            f"{path}: {len(misfits)} queries are not of the size of their line: {some(misfits)}; "
            "take the original images"
        )
    return len(set(cameras) & set(files.queries))


def _check_scans(files: Files, with_cutouts: set[Scan], problems: list[str]) -> Iterator[str]:
    """Adds to ``problems`` what is wrong with scans; yields what does no harm."""
    bare = sorted("/".join(scan) for scan in with_cutouts if scan not in files.alignments)
    if bare:
        problems.append(f"{len(bare)} scans have no alignment: {some(bare)}; add the files")
    for path in files.alignments.values():
        _try(read_alignment, path, problems)
    for path in progress(files.scans.values(), "checking the scans"):
        shapes = _try(list_variables, path, problems)
        if shapes is not None and shapes.get("A") != SCAN_CELLS:
            problems.append(f"{path}: has no A of 1x7 cells; replace the file")
    absent = sorted("/".join(scan) for scan in with_cutouts if scan not in files.scans)
    if absent:
        yield f"no point cloud, so no pose verification, of {len(absent)} scans: {some(absent)}"


def _lacking(cutouts: Mapping[Scan, int], benchmark: InlocBenchmark) -> Iterator[str]:
    scans = Counter(floor for floor, _ in cutouts)
    lacking = [
        f"{total - scans[floor]} of {total} scans of {floor}"
        for floor, total in benchmark.floors.items()
        if scans[floor] < total
    ]
    if lacking:
        yield f"lacking: {', '.join(lacking)}"
    each = benchmark.cutouts_per_scan
    uneven = [f"{'/'.join(scan)} ({n})" for scan, n in cutouts.items() if n != each]
    if uneven:
        yield f"scans without all {each} cutouts: {len(uneven)}: {some(uneven)}"


def _read_lists(
    root: Path, files: Files, benchmark: InlocBenchmark, found: _Found
) -> tuple[dict[str, Reference], Path | None, Retrieval]:
    path, problems = root / benchmark.layout.references, found.problems
    references = (_try(read_references, path, problems) if is_there(path) else None) or {}
    found.add_notes(reference_notes(path, references, files))
    lists = _try(lambda folder: find_retrieval(folder, benchmark), root, problems)
    if lists is None:
        return references, None, {}
    found.add_notes(spare_retrieval_notes(root, benchmark, lists))
    top, layout = benchmark.retrieval.candidates, benchmark.layout

    def read(path: Path) -> Retrieval:
        return read_retrieval(path, files.queries, files.cutouts, layout, top, found.notes)

    retrieval = _try(read, lists, problems)
    if retrieval is not None:
        found.add_notes(retrieval_notes(lists, retrieval, files))
    return references, lists, retrieval or {}


def check(root: Path, benchmark: InlocBenchmark) -> Checked:
    """Reads the folder's lists and the headers of its files, and lists all problems.

    Raises:
        D2EvalError: no such folder, or two files of one scan.
    """
    found = _Found()
    files = find_files(root, benchmark)
    cutouts = dict(Counter(scan_of(name) for name in files.cutouts))
    found.add_notes(scan_notes(files))
    intrinsics = _check_queries(files, root, benchmark, found)
    _check_cutouts(files, root / benchmark.layout.cutouts, found.problems)
    facts = [*_lacking(cutouts, benchmark), *_check_scans(files, set(cutouts), found.problems)]
    references, lists, retrieval = _read_lists(root, files, benchmark, found)
    counts = count_files(files)
    floors = Counter(floor for floor, _ in cutouts)
    by_floor: Counter[str] = Counter()
    for (floor, _), count in cutouts.items():
        by_floor[floor] += count
    cut = ", ".join(f"{floor} {n} of {floors[floor]} scans" for floor, n in by_floor.items())
    posed = sorted(Counter(reference.floor for reference in references.values()).items())
    poses = f"{len(references)} ({', '.join(f'{floor} {n}' for floor, n in posed)})"
    sizes = sorted(map(len, retrieval.values())) or [0]
    each = str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
    listed = "no list"
    if lists:
        where = lists.relative_to(root).as_posix()
        listed = f"{where}: {len(retrieval)} queries, each with {each} cutouts"
    complete = ", ".join(f"{total} {KINDS[key]}" for key, total in benchmark.complete.items())
    full = ", ".join(f"{floor} {total}" for floor, total in benchmark.floors.items())
    lines = [
        f"{benchmark.name} in {root}: {describe_completeness(counts, benchmark.complete, KINDS)}",
        f"queries: {counts['queries']}, {intrinsics} with intrinsics of their own",
        f"cutouts: {counts['cutouts']} ({cut or 'none'})",
        f"scans with cutouts: {counts['scans']}, {len(files.alignments.keys() & cutouts.keys())} "
        f"with an alignment, {len(files.scans.keys() & cutouts.keys())} with a point cloud",
        f"reference poses: {poses if references else 'none'}",
        f"retrieval: {listed}",
        f"a full set: {complete} ({full}), {benchmark.cutouts_per_scan} cutouts a scan",
        *facts,
        *(f"note: {note}" for note in found.notes),
    ]
    sound = "the files fit each other, and the depth has the sizes of the images"
    return Checked(lines, found.problems, sound)
