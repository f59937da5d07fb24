"""An InLoc folder as the protocol uses it: queries, cutouts with depth, scans, references."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pycolmap
from cachetools import cachedmethod

from d2eval.foundation.arrays.held import last_used
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import is_there
from d2eval.foundation.formats.matfiles import as_numbers, read_cells, read_numbers
from d2eval.foundation.images.decoding import read_image_size
from d2eval.inloc.data.alignments import read_alignment, to_floor
from d2eval.inloc.data.coverage import (
    intrinsics_notes,
    reference_notes,
    retrieval_notes,
    scan_notes,
    spare_retrieval_notes,
)
from d2eval.inloc.data.files import (
    KINDS,
    Reference,
    Scan,
    count_files,
    depth_path,
    find_files,
    find_retrieval,
    pinhole,
    read_intrinsics,
    read_references,
    scan_of,
)
from d2eval.inloc.data.files import floor_of as floor_of
from d2eval.inloc.data.retrieval import Retrieved, read_retrieval
from d2eval.inloc.protocol import InlocBenchmark, Intrinsics
from d2eval.localization.datasets import describe_completeness

CACHE_BYTES = 512 * 2**20  # eleven cutouts of 1600x1200, or a few scans


@dataclass(frozen=True)
class Dataset:
    """What one run uses."""

    root: Path  # the dataset's folder
    queries: Mapping[str, Path]  # images by name, "IMG_0731.JPG", sorted
    # images by name, "DUC1/000/DUC_cutout_000_0_-30.jpg", sorted; the depth of each lies beside it
    cutouts: Mapping[str, Path]
    alignments: Mapping[Scan, Path]  # files by floor and scan
    scans: Mapping[Scan, Path]  # point clouds by floor and scan; may lack some, or all
    # by name of the query, also of queries without an image; empty without a file. As many are the
    # denominator of every score
    references: Mapping[str, Reference]
    # cutouts of each query, best first; may be empty
    retrieval: Mapping[str, tuple[Retrieved, ...]]
    # cameras of queries that have a line of their own; may be empty
    intrinsics: Mapping[str, pycolmap.Camera]
    default_intrinsics: Intrinsics  # of the other queries
    notes: tuple[str, ...]  # what the user should be told
    completeness: str  # what every output says about the set

    def query_camera(self, name: str, image_size: tuple[int, int]) -> pycolmap.Camera:
        """The pinhole camera of a query: its own line, or the protocol's focal length.

        Without a line, the focal length is of the image's long side and the principal point is
        (width / 2, height / 2), upright or not. Source: InLoc_demo. ``image_size`` is (width,
        height) as decoded, EXIF orientation ignored.

        Raises:
            D2EvalError: the line is of an image of another size.
        """
        camera = self.intrinsics.get(name)
        width, height = image_size
        if camera is None:
            rule = self.default_intrinsics
            focal = rule.focal_length_mm / rule.film_width_mm * max(image_size)
            return pinhole(image_size, [focal, focal, width / 2, height / 2])
        if (camera.width, camera.height) != image_size:
            raise D2EvalError(
                f"{self.queries[name]}: the image is {width}x{height}, but its intrinsics are of "
                f"{camera.width}x{camera.height}; take the original image"
            )
        return camera


@dataclass(frozen=True)
class ScanPoints:
    """Points of a scan that have a position."""

    xyz: npt.NDArray[np.float32]  # (N, 3) float32, metres, in the frame of the floor
    rgb: npt.NDArray[np.uint8]  # (N, 3) uint8

    @property
    def nbytes(self) -> int:
        """Of both arrays."""
        return self.xyz.nbytes + self.rgb.nbytes


class Database3D:
    """Depth of cutouts and points of scans, read when they are asked for.

    What was used last is kept, as much of it as fits. Arrays are shared with the cache and can't
    be written to. Not for several threads at once.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._held = last_used(CACHE_BYTES, attrgetter("nbytes"))
        self._alignments: dict[Scan, npt.NDArray[np.float64]] = {}

    def alignment(self, floor: str, scan: str) -> npt.NDArray[np.float64]:
        """(4, 4) from the frame of a scan to that of its floor, metres.

        Raises:
            D2EvalError: the file is missing or broken.
        """
        if (floor, scan) not in self._alignments:
            path = self._find(self._dataset.alignments, (floor, scan), "alignment")
            self._alignments[floor, scan] = read_alignment(path)
        return self._alignments[floor, scan]

    @cachedmethod(attrgetter("_held"))
    def xyz(self, cutout: str) -> npt.NDArray[np.float64]:
        """(H, W, 3) of every pixel of a cutout, metres, in the frame of its floor; NaN if unknown.

        Raises:
            D2EvalError: a file is missing or broken, or the depth isn't of the image's size.
        """
        if cutout not in self._dataset.cutouts:
            raise D2EvalError(f"{self._dataset.root}: no cutout {cutout}; add its file")
        image = self._dataset.cutouts[cutout]
        alignment = self.alignment(*scan_of(cutout))
        path = depth_path(image)
        local = read_numbers(path, "XYZcut")
        check_depth_size(path, local.shape, read_image_size(image))
        xyz = to_floor(local, alignment)
        xyz[~np.isfinite(xyz).all(axis=2)] = np.nan
        xyz.flags.writeable = False
        return xyz

    @cachedmethod(attrgetter("_held"))
    def scan(self, floor: str, scan: str) -> ScanPoints:
        """The points of a scan.

        Raises:
            D2EvalError: a file is missing or broken.
        """
        path = self._find(self._dataset.scans, (floor, scan), "point cloud")
        alignment = self.alignment(floor, scan)
        cells = read_cells(path, "A")
        if len(cells) < 7:
            raise D2EvalError(f"{path}: A has {len(cells)} cells instead of 7; replace the file")
        columns = {k: as_numbers(cells[k], f"{path}: A{{{k + 1}}}") for k in (0, 1, 2, 4, 5, 6)}
        del cells
        if len({column.size for column in columns.values()}) > 1:
            raise D2EvalError(f"{path}: the cells of A differ in length; replace the file")
        known = np.logical_and.reduce([np.isfinite(columns[k]).ravel() for k in (0, 1, 2)])
        local = np.stack([columns[k].ravel()[known] for k in (0, 1, 2)], axis=1)
        colors = [np.nan_to_num(columns[k].ravel()[known]) for k in (4, 5, 6)]
        rgb = np.stack([c.round().clip(0, 255).astype(np.uint8) for c in colors], axis=1)
        points = ScanPoints(to_floor(local, alignment).astype(np.float32), rgb)
        for array in (points.xyz, points.rgb):
            array.flags.writeable = False
        return points

    def _find(self, files: Mapping[Scan, Path], key: Scan, what: str) -> Path:
        if key not in files:
            raise D2EvalError(
                f"{self._dataset.root}: no {what} of scan {'/'.join(key)}; add its file"
            )
        return files[key]


def check_depth_size(path: Path, shape: tuple[int, ...], image_size: tuple[int, int]) -> None:
    """Whether a depth map of ``shape`` is one of an image of (width, height).

    Raises:
        D2EvalError: it isn't.
    """
    width, height = image_size
    if shape != (height, width, 3):
        raise D2EvalError(
            f"{path}: XYZcut is {'x'.join(map(str, shape))}, but its image is {width}x{height}; "
            "replace one of them"
        )


def load_dataset(
    root: Path,
    benchmark: InlocBenchmark,
    sample: bool = False,
    references: Path | None = None,
    retrieval: Path | None = None,
) -> Dataset:
    """Reads the folder's lists; images, depth and scans are not opened.

    References, which may be missing, and retrieval (a matrix of scores, .mat, or a pair list) are
    the layout's where no file is given.

    Raises:
        D2EvalError: a file is missing or broken, or doesn't fit the others.
    """
    files = find_files(root, benchmark)
    layout = benchmark.layout
    for folder, found in ((layout.queries, files.queries), (layout.cutouts, files.cutouts)):
        if not found:
            raise D2EvalError(f"{root / folder}: no images; add them")
    notes = list(scan_notes(files))
    references_path = references or root / layout.references
    poses: Mapping[str, Reference] = {}
    if references is not None or is_there(references_path):
        poses = read_references(references_path)
        notes += reference_notes(references_path, poses, files)
    retrieval_path = retrieval or find_retrieval(root, benchmark)
    lists: Mapping[str, tuple[Retrieved, ...]] = {}
    if retrieval_path is not None:
        top = benchmark.retrieval.candidates
        lists = read_retrieval(retrieval_path, files.queries, files.cutouts, layout, top, notes)
        notes += retrieval_notes(retrieval_path, lists, files)
        if retrieval is None:
            notes += spare_retrieval_notes(root, benchmark, retrieval_path)
    intrinsics_path = root / layout.intrinsics
    cameras: Mapping[str, pycolmap.Camera] = {}
    if is_there(intrinsics_path):
        cameras = read_intrinsics(intrinsics_path)
        notes += intrinsics_notes(intrinsics_path, cameras, files)
    completeness = describe_completeness(count_files(files), benchmark.complete, KINDS)
    return Dataset(
        root=root,
        queries=files.queries,
        cutouts=files.cutouts,
        alignments=files.alignments,
        scans=files.scans,
        references=poses,
        retrieval=lists,
        intrinsics=cameras,
        default_intrinsics=benchmark.intrinsics,
        notes=tuple(notes),
        completeness="sample" if sample else completeness,
    )
