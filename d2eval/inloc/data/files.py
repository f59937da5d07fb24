"""The files of an InLoc folder: where they lie, and what references and intrinsics hold."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import find
from d2eval.foundation.files.reading import read_words
from d2eval.foundation.formats.matfiles import as_numbers, list_variables, read_structs
from d2eval.foundation.images.decoding import SUFFIXES
from d2eval.foundation.text.words import (
    MOST_COORDINATE,
    check_name,
    is_image_size,
    reals,
    some,
    whole,
)
from d2eval.inloc.protocol import InlocBenchmark

Scan = tuple[str, str]  # floor and scan, ("DUC1", "000")
KINDS = {"queries": "queries", "cutouts": "cutouts", "scans": "scans"}
LIST_SUFFIX = "_RefList"  # DUC1_RefList holds the references of floor DUC1
ALIGNMENT_SUFFIX, SCAN_SUFFIX, DEPTH_SUFFIX = ".txt", ".ptx.mat", ".mat"
ROTATION_TOLERANCE = 1e-3  # of the entries of R R^T


@dataclass(frozen=True)
class Reference:
    """Where a query was taken: the floor, and cam_from_world with the floor's frame as world."""

    floor: str
    pose: pycolmap.Rigid3d


@dataclass(frozen=True)
class Files:
    """Files by name, sorted."""

    queries: Mapping[str, Path]  # by file name, "IMG_0731.JPG"
    # images by "DUC1/000/DUC_cutout_000_0_-30.jpg"; `depth_path` is beside each
    cutouts: Mapping[str, Path]
    alignments: Mapping[Scan, Path]  # of scans
    scans: Mapping[Scan, Path]  # point clouds, of which there may be none


def floor_of(cutout: str) -> str:
    """The floor of a cutout: "DUC1" of "DUC1/000/DUC_cutout_000_0_-30.jpg"."""
    return cutout.split("/")[0]


def scan_of(cutout: str) -> Scan:
    """The floor and scan of a cutout: ("DUC1", "000") of "DUC1/000/DUC_cutout_000_0_-30.jpg"."""
    floor, scan, _ = cutout.split("/")
    return floor, scan


def depth_path(cutout: Path) -> Path:
    """The file with the depth of a cutout."""
    return cutout.with_name(cutout.name + DEPTH_SUFFIX)


def _images(folder: Path, pattern: str) -> dict[str, Path]:
    paths = (path for path in find(folder, pattern) if path.suffix.lower() in SUFFIXES)
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths)}


def _by_scan(paths: Iterable[Path], floor_at: int, marker: str, suffix: str) -> dict[Scan, Path]:
    """``DUC_trans_000.txt``, marker "_trans_", is of scan 000; ``floor_at`` of its path's parts.

    Raises:
        D2EvalError: two files are of one scan.
    """
    found: dict[Scan, Path] = {}
    for path in sorted(paths):
        prefix, _, scan = path.name.removesuffix(suffix).partition(marker)
        if prefix and scan:
            other = found.setdefault((path.parts[floor_at], scan), path)
            if other != path:
                raise D2EvalError(f"{path}: is of the same scan as {other.name}; remove one")
    return found


def find_files(root: Path, benchmark: InlocBenchmark) -> Files:
    """Looks up the files; none is opened.

    Raises:
        D2EvalError: no such folder, or two files of one scan.
    """
    if not root.is_dir():
        raise D2EvalError(f"{root}: no such folder; --data takes the folder of {benchmark.name}")
    layout = benchmark.layout
    alignments = find(root / layout.alignments, f"*/transformations/*_trans_*{ALIGNMENT_SUFFIX}")
    scans = find(root / layout.scans, f"*/*_scan_*{SCAN_SUFFIX}")
    return Files(
        queries=_images(root / layout.queries, "*"),
        cutouts=_images(root / layout.cutouts, "*/*/*"),
        alignments=_by_scan(alignments, -3, "_trans_", ALIGNMENT_SUFFIX),
        scans=_by_scan(scans, -2, "_scan_", SCAN_SUFFIX),
    )


def count_files(files: Files) -> dict[str, int]:
    """Counts under the names of the benchmark's totals; a scan counts with its cutouts."""
    scans = {scan_of(cutout) for cutout in files.cutouts}
    return {"queries": len(files.queries), "cutouts": len(files.cutouts), "scans": len(scans)}


def find_retrieval(root: Path, benchmark: InlocBenchmark) -> Path | None:
    """The retrieval list of the first pattern that has a file, or None.

    Raises:
        D2EvalError: a pattern has several.
    """
    for pattern in benchmark.layout.retrieval:
        found = list(find(root, pattern))
        if len(found) > 1:
            names = some(path.name for path in found)
            raise D2EvalError(f"{root}: {len(found)} retrieval lists ({names}); name one")
        if found:
            return found[0]
    return None


def read_references(path: Path) -> dict[str, Reference]:
    """Reads the reference poses of all floors in the file, by name of the query.

    The file has a struct array for each floor, ``DUC1_RefList``, with ``queryname`` and
    ``P`` = [R t], from the floor's frame to the camera's.
    Source: `ht_plotcurve_WUSTL` of InLoc_demo.

    Raises:
        D2EvalError: a file that can't be read or has no references, a pose that is none, or a
            query that stands twice.
    """
    lists = [name for name in list_variables(path) if name.endswith(LIST_SUFFIX)]
    references: dict[str, Reference] = {}
    for variable in lists:
        for number, entry in enumerate(read_structs(path, variable, ("queryname", "P")), 1):
            where = f"{path}: {variable}({number})"
            name = entry["queryname"]
            if not isinstance(name, str) or not name:
                raise D2EvalError(f"{where}: queryname is no text; replace the file")
            check_name(name, where)
            if name in references:
                raise D2EvalError(f"{where}: {name} stands twice; keep one of its references")
            pose = _pose(as_numbers(entry["P"], f"{where}: P").astype(np.float64), where)
            references[name] = Reference(variable.removesuffix(LIST_SUFFIX), pose)
    if not references:
        raise D2EvalError(f"{path}: no references (struct arrays *{LIST_SUFFIX}); replace the file")
    return references


def _pose(matrix: np.ndarray, where: str) -> pycolmap.Rigid3d:
    if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
        raise D2EvalError(f"{where}: P is no 3x4 matrix of finite numbers; replace the pose")
    if np.abs(matrix).max() > MOST_COORDINATE:
        raise D2EvalError(f"{where}: P is beyond reason; replace the pose")
    rotation = matrix[:3, :3]
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise D2EvalError(f"{where}: P is not [R t] with a rotation R; replace the pose")
    left, _, right = np.linalg.svd(rotation)  # the nearest rotation: R is rounded in the file
    return pycolmap.Rigid3d(pycolmap.Rotation3d(left @ right), matrix[:3, 3])


def read_intrinsics(path: Path) -> dict[str, pycolmap.Camera]:
    """Reads lines ``name PINHOLE width height fx fy cx cy``, by file name of the query.

    Pixels have their origin at the centre of the top-left one. Blank lines and lines that start
    with # are passed over.

    Raises:
        D2EvalError: a file that can't be read, a line that doesn't parse, a name that stands twice.
    """
    cameras: dict[str, pycolmap.Camera] = {}
    for number, words in read_words(path):
        where = f"{path}: line {number}"
        try:
            size = (whole(words[2]), whole(words[3]))
        except (ValueError, IndexError):
            size = (0, 0)
        params = reals(words[4:], 4) or [math.nan] * 4
        sound = is_image_size(*size) and (np.abs(params) <= MOST_COORDINATE).all()
        if not sound or min(params[:2]) <= 0 or words[1] != "PINHOLE":
            raise D2EvalError(
                f"{where}: not `name PINHOLE width height fx fy cx cy`; mend the line"
            )
        name = check_name(words[0].split("/")[-1], where)
        if name in cameras:
            raise D2EvalError(f"{where}: {name} stands twice; keep one of its lines")
        cameras[name] = pinhole(size, params)
    if not cameras:
        raise D2EvalError(f"{path}: no camera; add lines, or remove the file")
    return cameras


def pinhole(size: tuple[int, int], params: list[float]) -> pycolmap.Camera:
    """A pinhole camera of (width, height) with fx, fy, cx, cy."""
    return pycolmap.Camera(model="PINHOLE", width=size[0], height=size[1], params=params)
