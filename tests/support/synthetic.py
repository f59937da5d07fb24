"""Synthetic scenes with known poses: keypoints and matches as a matcher leaves them.

Nothing here has descriptors or pixels: the stages after matching take keypoints for each image and
pairs of indices, whoever made them.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import ImageKeypoints
from d2eval.aachen.pnp import register_by_pnp
from d2eval.aachen.protocol import AachenBenchmark, ImageRegistration
from d2eval.aachen.registration import Registered, register_images
from d2eval.aachen.triangulation import triangulate
from d2eval.aachen.verification import Verified, verify_pairs
from d2eval.aachen.workspace import create_database, write_matches
from d2eval.foundation.machine.resources import Cost
from d2eval.pipeline.store import Store

WIDTH, HEIGHT = 640, 480
MATCHER = {"name": "by hand"}
Pair = tuple[str, str]
IDENTITY = pycolmap.Rigid3d()


@dataclass(frozen=True)
class Scene:
    """What a matcher leaves of a scene, and what is true of it.

    Attributes:
        dataset: with the true poses of the queries as references.
        keypoints: by name.
        matches: (M, 2) by pair of the list; some are wrong.
        points: (N, 3) world.
        seen: by name, (K,) the point of each keypoint; -1 for keypoints of nothing.
    """

    dataset: Dataset
    keypoints: dict[str, ImageKeypoints]
    matches: dict[Pair, np.ndarray]
    points: np.ndarray
    seen: dict[str, np.ndarray]


def look_at_origin(center: np.ndarray, roll: float) -> pycolmap.Rigid3d:
    """The pose of a camera at ``center`` that looks at the origin, turned about its axis."""
    z = -center / np.linalg.norm(center)
    x = np.cross([0, 1.0, 0], z)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ np.stack([x, y, z])
    return pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), -rotation @ center)


def arc(rng: np.random.Generator, degrees: np.ndarray) -> list[pycolmap.Rigid3d]:
    """Poses on an arc five metres from the origin, not quite in a plane."""
    poses = []
    for angle in np.deg2rad(degrees):
        center = np.array([5 * np.sin(angle), rng.uniform(-0.6, 0.6), -5 * np.cos(angle)])
        poses.append(look_at_origin(center, rng.uniform(-0.2, 0.2)))
    return poses


def _keypoints(
    rng: np.random.Generator, camera: pycolmap.Camera, pose: pycolmap.Rigid3d, points: np.ndarray,
    noise: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    pixels = np.asarray(camera.img_from_cam(pose * points))
    inside = ((pixels > 1) & (pixels < [WIDTH - 2, HEIGHT - 2])).all(axis=1)
    seen = np.flatnonzero(inside & (rng.random(len(points)) < 0.85))
    clutter = rng.uniform(1, [WIDTH - 2, HEIGHT - 2], (30, 2))
    xy = np.concatenate([pixels[seen] + rng.normal(0, noise, (len(seen), 2)), clutter])
    order = rng.permutation(len(xy))
    return xy[order], np.concatenate([seen, np.full(len(clutter), -1)])[order]


def true_matches(seen_1: np.ndarray, seen_2: np.ndarray) -> np.ndarray:
    """(M, 2) keypoints of the same point."""
    where = {point: index for index, point in enumerate(seen_2.tolist()) if point >= 0}
    pairs = [(i, where[p]) for i, p in enumerate(seen_1.tolist()) if p in where]
    return np.array(pairs, np.int32).reshape(-1, 2)


def spoil(matches: np.ndarray, share: float) -> np.ndarray:
    """Gives a share of the matches, spread over all, each other's partners."""
    spoiled = matches.copy()
    count = round(share * len(matches))
    if count > 1:
        wrong = np.linspace(0, len(matches) - 1, count).astype(int)
        spoiled[wrong, 1] = np.roll(matches[wrong, 1], 1)
    return spoiled


def make_scene(
    folder: Path,
    seed: int = 0,
    images: int = 6,
    points: int = 300,
    wrong: float = 0.25,
    noise: float = 0.0,
    focal: float = 560.0,
    distortion: float = 0.0,
    world: pycolmap.Rigid3d = IDENTITY,
    shift: float = 0.0,
    prior: bool = False,
) -> Scene:
    """Database images on an arc and two queries between them; all pairs but that of the queries.

    Args:
        folder: of the dataset; nothing is written there.
        seed: of everything random.
        images: of the database.
        points: in the scene.
        wrong: share of wrong matches.
        noise: of keypoints, pixels.
        focal: pixels.
        distortion: radial parameter of the cameras.
        world: from the scene's frame to the world's.
        shift: what the protocol will add to keypoints.
        prior: whether the database calls focal lengths known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = [f"db/{n}.png" for n in range(images)]
    queries = ["query/night/a.png", "query/night/b.png"]
    true = dict(zip(names, arc(rng, np.linspace(-35, 35, images)), strict=True))
    true |= zip(queries, arc(rng, rng.uniform(-25, 25, 2)), strict=True)
    cloud = rng.uniform(-1.1, 1.1, (points, 3))
    cameras = {
        name: pycolmap.Camera(
            model="SIMPLE_RADIAL", width=WIDTH, height=HEIGHT, camera_id=k,
            params=[focal + 3 * k, WIDTH / 2, HEIGHT / 2, distortion], has_prior_focal_length=prior,
        )
        for k, name in enumerate(true, 1)
    }  # fmt: skip
    keypoints, seen = {}, {}
    for name, pose in true.items():
        xy, seen[name] = _keypoints(rng, cameras[name], pose, cloud, noise)
        keypoints[name] = ImageKeypoints(
            (xy - shift).astype(np.float32), f"{folder}-{name}", name, Cost(np.nan, np.nan), 0
        )
    listed = [(a, b) for i, a in enumerate(true) for b in list(true)[i + 1 :]]
    listed.remove((queries[0], queries[1]))
    poses = {name: pose * world.inverse() for name, pose in true.items()}
    dataset = Dataset(
        root=folder,
        images_folder=folder,  # image ids fall by name
        image_ids={name: len(true) - k for k, name in enumerate(true)},
        cameras=cameras,
        poses={name: poses[name] for name in names},
        queries=dict.fromkeys(queries, "night"),
        pairs=tuple(listed),
        merged_pairs=0,
        references={name: poses[name] for name in queries},
        notes=(),
        completeness="sample",
    )
    matches = {(a, b): spoil(true_matches(seen[a], seen[b]), wrong) for a, b in listed}
    return Scene(dataset, keypoints, matches, world * cloud, seen)


def added(benchmark: AachenBenchmark) -> float:
    """Half a pixel where the protocol adds one to keypoints that count from the centre."""
    return {"own": 0.0, "corner": 0.5}[benchmark.keypoint_origin]


def with_pairs(scene: Scene, matches: dict[Pair, np.ndarray]) -> Scene:
    """The scene with another pair list and its matches."""
    return replace(scene, dataset=replace(scene.dataset, pairs=tuple(matches)), matches=matches)


def shifted(scene: Scene, benchmark: AachenBenchmark) -> dict[str, np.ndarray]:
    """Keypoints as COLMAP sees them."""
    usual = np.float32(added(benchmark))
    return {
        name: image.keypoints + (np.float32(0.5) if image.origin == "corner" else usual)
        for name, image in scene.keypoints.items()
    }


def fill_database(scene: Scene, benchmark: AachenBenchmark, path: Path) -> Path:
    """Our database at ``path`` with keypoints and matches."""
    create_database(path, scene.dataset, shifted(scene, benchmark))
    write_matches(path, scene.dataset, scene.matches.items())
    return path


def verify(
    scene: Scene, benchmark: AachenBenchmark, database: Path, store: Store, seed: int = 0
) -> Verified:
    return verify_pairs(
        database, scene.dataset, scene.keypoints, benchmark, MATCHER, store, seed
    )  # fmt: skip


def register(
    scene: Scene, benchmark: AachenBenchmark, database: Path, model: pycolmap.Reconstruction
) -> dict[str, Registered]:
    kind, keypoints = benchmark.registration, shifted(scene, benchmark)
    if isinstance(kind, ImageRegistration):
        return register_images(database, model, scene.dataset, benchmark, kind, 0)
    return register_by_pnp(database, model, scene.dataset, keypoints, kind, 0)


@dataclass(frozen=True)
class Localized:
    """What the stages left."""

    database: Path
    verified: Verified
    model: pycolmap.Reconstruction
    results: dict[str, Registered]


def localize(scene: Scene, benchmark: AachenBenchmark, folder: Path) -> Localized:
    """All stages after matching, with a store in ``folder``."""
    store = Store(folder / "cache")
    database = fill_database(scene, benchmark, folder / "work" / "database.db")
    verified = verify(scene, benchmark, database, store)
    model = triangulate(database, scene.dataset, benchmark, verified.keys, store, 0)
    return Localized(database, verified, model, register(scene, benchmark, database, model))
