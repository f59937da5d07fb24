"""The embedded set in the layout of InLoc: a rendered building of two floors.

Poses and depth are exact because the images are made from them, but that depth is rounded and has
holes as a scanner's has. Folders, file names, variables and line formats are InLoc's. Pixels have
their origin at the centre of the top-left one.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from scipy.spatial.transform import Rotation

from d2eval.foundation.files.atomic import write_bytes, write_text
from d2eval.foundation.images.photometry import Lighting, photograph
from d2eval.foundation.terminal.progress import Progress
from d2eval.sample import scanning
from d2eval.sample.building import FLOORS
from d2eval.sample.photos import build_sample, encoded, load_photo
from d2eval.sample.rooms import Floor, Query
from d2eval.sample.scene import Camera, FloatArray, Scene, look_at, render
from d2eval.sample.walls import name_photos, paint_walls

GENERATOR_VERSION = 2  # to be raised when the same recipe gives other files
QUERIES, CUTOUTS, SCANS = "query/iphone7", "database/cutouts", "database/scans"
ALIGNMENTS = "database/alignments"
REFERENCES = "DUC_refposes_all.mat"
SCORES = "inputs/scores.mat"
QUERY_NAMES, CUTOUT_NAMES = "inputs/query_imgnames_all.mat", "inputs/cutout_imgnames_all.mat"
PAIRS = "lists/pairs-query-oracle8.txt"  # for --retrieval: of a folder with two, one is taken
MAT_HEADER = b"MATLAB 5.0 MAT-file, rendered by d2eval".ljust(116)  # SciPy's has the date

CUTOUT_CAMERA = Camera(400, 300, 314.0, 200.0, 150.0)  # 65 degrees wide
RETRIEVED = 8  # cutouts of each query in the list, at most
LEAST_OVERLAP = 0.05  # of a query with a cutout in its list
OVERLAP_STRIDE = 8  # pixels between the points of a query whose visibility is asked
OVERLAP_TOLERANCE = 0.05  # metres between the depths of a point that two views see

FRAME_SEED = 7  # of the floors' frames and of what ICP mended
FLOOR_OFFSET_M = 15.0  # of a room frame's origin in the floor's frame, at most, along each axis
BEFORE_ICP_DEG, BEFORE_ICP_M = 3.0, 0.25  # so much the alignment was off


@dataclass(frozen=True, eq=False)
class Cutout:
    """A view cut out of a scan."""

    name: str  # "DUC1/000/DUC_cutout_000_0_-30.jpg"
    station: int  # the index of its scan
    cam_from_room: FloatArray  # (3, 4)


def list_cutouts(floor: Floor) -> list[Cutout]:
    """The cutouts of a floor, by scan."""
    return [
        Cutout(
            f"{floor.name}/{k:03d}/DUC_cutout_{k:03d}_{yaw}_{pitch}.jpg",
            k,
            scanning.cutout_pose(station, yaw, pitch),
        )
        for k, station in enumerate(floor.stations)
        for yaw, pitch in station.cutouts
    ]


def floor_from_room(index: int) -> FloatArray:
    """(4, 4) from the room frame of a floor to the floor's own, which is turned at random."""
    rng = np.random.default_rng([FRAME_SEED, index])
    offset = rng.uniform(-FLOOR_OFFSET_M, FLOOR_OFFSET_M, 3)
    return _rigid(Rotation.from_quat(rng.standard_normal(4)), offset)


def query_pose(query: Query) -> FloatArray:
    """(3, 4) ``cam_from_room``."""
    return look_at(query.center, query.target, query.roll_deg)


def make_inloc_sample(cache: Path) -> Path:
    """Renders the set on first use; the same recipe gives the same files.

    Raises:
        D2EvalError: a photo can't be read or the folder can't be written.
    """
    names = name_photos(wall for floor in FLOORS for wall in floor.all_walls())
    photos = {name: load_photo(name) for name in names}

    def build(folder: Path) -> None:
        decoded = {name: photo.decode() for name, photo in photos.items()}
        scores = {}
        images = sum(len(list_cutouts(floor)) + len(floor.queries) for floor in FLOORS)
        with Progress("rendering the sample", images) as under_way:
            for index, floor in enumerate(FLOORS):
                scene = Scene(paint_walls(floor.all_walls(), decoded))
                rng = np.random.default_rng(index)
                _write_scans(folder, floor, scene, floor_from_room(index))
                depth = {}
                for cutout in list_cutouts(floor):
                    depth[cutout] = _write_cutout(folder, floor, cutout, scene, rng)
                    under_way.advance()
                for query in floor.queries:
                    scores[query.name] = _write_query(folder, query, scene, depth, rng)
                    under_way.advance()
        _write_references(folder, scores)
        _write_retrieval(folder, scores)

    return build_sample(cache, "inloc", _settings(), photos.values(), build)


def _settings() -> tuple[object, ...]:
    scanner = (scanning.FACE, scanning.RANGE, scanning.LOWEST_DEG, scanning.STEP)
    oracle = (RETRIEVED, LEAST_OVERLAP, OVERLAP_STRIDE, OVERLAP_TOLERANCE)
    frames = (FRAME_SEED, FLOOR_OFFSET_M, BEFORE_ICP_DEG, BEFORE_ICP_M)
    return GENERATOR_VERSION, FLOORS, CUTOUT_CAMERA, scanner, oracle, frames


def _write_scans(folder: Path, floor: Floor, scene: Scene, frame: FloatArray) -> None:
    """Point clouds and alignments."""
    for k, station in enumerate(floor.stations):
        xyz, rgb = scanning.scan(scene, station, floor.panes)
        intensity = np.round(rgb.mean(axis=1) / 255, 2)
        columns = [*xyz.T, intensity, *rgb.T.astype(np.float64)]
        cells = np.empty((1, len(columns)), object)
        for index, column in enumerate(columns):
            cells[0, index] = column[:, None]
        path = folder / SCANS / floor.name / f"DUC_scan_{k:03d}.ptx.mat"
        write_bytes(path, _mat({"A": cells}))
        after = frame @ np.linalg.inv(scanning.scan_from_room(station))
        rng = np.random.default_rng([FRAME_SEED, FLOORS.index(floor), k])
        path = folder / ALIGNMENTS / floor.name / "transformations" / f"DUC_trans_{k:03d}.txt"
        write_text(path, _alignment_text(_shake(after, rng), after))


def _shake(alignment: FloatArray, rng: np.random.Generator) -> FloatArray:
    """An alignment that ICP would mend."""
    axis, offset = rng.standard_normal((2, 3))
    turn = Rotation.from_rotvec(np.deg2rad(BEFORE_ICP_DEG) * axis / np.linalg.norm(axis))
    moved = turn.as_matrix() @ alignment[:3, :3]
    step = BEFORE_ICP_M * offset / np.linalg.norm(offset)
    return _rigid(Rotation.from_matrix(moved), alignment[:3, 3] + step)


def _rigid(rotation: Rotation, translation: FloatArray) -> FloatArray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), translation
    return matrix


def _alignment_text(before: FloatArray, after: FloatArray) -> str:
    return (
        f"Before general icp:\n{_matrix_text(before)}\n\nAfter general icp:\n{_matrix_text(after)}"
        "\n\n"
    )


def _matrix_text(matrix: FloatArray) -> str:
    """Right-aligned columns of one width."""
    words = [[f"{value:.9g}" for value in row] for row in matrix]
    width = max(len(word) for row in words for word in row)
    return "\n".join(" ".join(word.rjust(width) for word in row) for row in words)


def _write_cutout(
    folder: Path, floor: Floor, cutout: Cutout, scene: Scene, rng: np.random.Generator
) -> FloatArray:
    """Image and depth; returns the (H, W) depth in the camera, NaN where there is none."""
    view = render(scene, CUTOUT_CAMERA, cutout.cam_from_room)
    jpeg = encoded(photograph(view.rgb, Lighting(), rng))
    xyz = scanning.measure(view, floor.stations[cutout.station], floor.panes)
    path = folder / CUTOUTS / cutout.name
    write_bytes(path, jpeg)
    write_bytes(
        path.with_name(path.name + ".mat"),
        _mat({"XYZcut": xyz, "RGBcut": np.array(Image.open(io.BytesIO(jpeg)))}),
    )
    return np.where(np.isfinite(xyz[..., 0]), view.depth, np.nan)


def _write_query(
    folder: Path,
    query: Query,
    scene: Scene,
    depth: Mapping[Cutout, FloatArray],
    rng: np.random.Generator,
) -> dict[str, float]:
    """The image; returns the overlap of its view with each cutout of the floor."""
    view = render(scene, query.camera, query_pose(query))
    jpeg = encoded(photograph(view.rgb, query.lighting, rng))
    write_bytes(folder / QUERIES / query.name, jpeg)
    points = view.xyz[::OVERLAP_STRIDE, ::OVERLAP_STRIDE].reshape(-1, 3).astype(np.float64)
    return {
        cutout.name: scanning.overlap(
            points, CUTOUT_CAMERA, cutout.cam_from_room, seen, OVERLAP_TOLERANCE
        )
        for cutout, seen in depth.items()
    }


def _best(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda name: (-scores[name], name))


def _write_references(folder: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    lists = {}
    for index, floor in enumerate(FLOORS):
        room_from_floor = np.linalg.inv(floor_from_room(index))
        entries = []
        for query in floor.queries:
            scan = _best(scores[query.name])[0].split("/")[1]
            pose = query_pose(query) @ room_from_floor
            entries.append((query.name, f"{floor.name}/DUC_scan_{scan}.ptx", pose, "Good", 0.0))
        fields = ("queryname", "reldbname", "P", "label", "med_reproj_err")
        lists[f"{floor.name}_RefList"] = np.array(
            [entries], dtype=[(field, object) for field in fields]
        )
    write_bytes(folder / REFERENCES, _mat(lists))


def _write_retrieval(folder: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """The matrix, the names of its rows and columns, and the list of the best."""
    queries = sorted(scores)
    cutouts = [cutout.name for floor in FLOORS for cutout in list_cutouts(floor)]
    matrix = np.array([[scores[query].get(name, 0.0) for name in cutouts] for query in queries])
    write_bytes(folder / SCORES, _mat({"score": matrix}))
    write_bytes(folder / QUERY_NAMES, _mat({"query_imgnames_all": _cells(queries)}))
    write_bytes(folder / CUTOUT_NAMES, _mat({"cutout_imgnames_all": _cells(cutouts)}))
    lines = [
        f"{QUERIES}/{query} {CUTOUTS}/{name}\n"
        for query in queries
        for name in _best(scores[query])[:RETRIEVED]
        if scores[query][name] >= LEAST_OVERLAP
    ]
    write_text(folder / PAIRS, "".join(lines))


def _cells(names: Sequence[str]) -> np.ndarray:
    return np.array([list(names)], dtype=object)


def _mat(variables: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, dict(variables), do_compression=True)  # type: ignore[arg-type]
    data = buffer.getvalue()
    return MAT_HEADER + data[len(MAT_HEADER) :]
