import math
import statistics

import cv2
import numpy as np
import pycolmap
import pytest

from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.images.decoding import read_image
from d2eval.inloc.data.dataset import ScanPoints
from d2eval.inloc.verification.dense_pv import DensePVSettings, pv_score, verify_pose
from d2eval.inloc.verification.dense_sift import dense_sift
from d2eval.inloc.verification.imresize import shrink
from d2eval.inloc.verification.render import RenderedView, scaled_intrinsics

PHOTOS = bundled("benchmarks") / "sample" / "photos"
PROTOCOL = DensePVSettings(
    bin_size=8, step=4, magnification=6.0, window_size=1.5, contrast_threshold=0.005, scale=8
)
GREY = (0.298936021293775, 0.587043074451121, 0.114020904255103)
SIZE = (960, 720)
CAMERA = pycolmap.Camera(
    model="PINHOLE", width=SIZE[0], height=SIZE[1], params=[750.0, 750, 480, 360]
)
K = scaled_intrinsics(CAMERA, PROTOCOL.scale)


def whole_view(rgb) -> RenderedView:
    return RenderedView(rgb, np.ones(rgb.shape[:2], np.float32))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.array(cv2.resize(read_image(PHOTOS / "astronaut.jpg"), (120, 90)))


@pytest.fixture(scope="module")
def room() -> ScanPoints:
    """A wall of a photo, 3.84 m wide, 3 m from the origin, with a column before it."""
    photo = cv2.resize(read_image(PHOTOS / "astronaut.jpg"), (480, 360))
    v, u = np.mgrid[:360, :480]
    z = np.where((u > 300) & (u < 360), 2.2, 3.0)
    xyz = np.stack([(u - 239.5) * z / 375, (v - 179.5) * z / 375, z], axis=2)
    shade = np.where(z < 3, 0.6, 1.0)[..., None]
    return ScanPoints(
        xyz.reshape(-1, 3).astype(np.float32), (photo * shade).reshape(-1, 3).astype(np.uint8)
    )


@pytest.fixture(scope="module")
def query(room) -> np.ndarray:
    """What the camera at the origin sees: painted full-size from the points, far ones first."""
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for n in np.argsort(-room.xyz[:, 2], kind="stable"):
        x, y, z = room.xyz[n].astype(float)
        u, v = int(750 * x / z + 480), int(750 * y / z + 360)
        image[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2] = room.rgb[n]
    brighter = cv2.convertScaleAbs(image, alpha=0.8, beta=30)  # another exposure
    return shrink(np.asarray(brighter), PROTOCOL.scale)


def moved(x=0.0, y=0.0, z=0.0, yaw_deg=0.0) -> pycolmap.Rigid3d:
    R = cv2.Rodrigues(np.array([0, math.radians(yaw_deg), 0]))[0]
    return pycolmap.Rigid3d(np.hstack([R, (-R @ [x, y, z])[:, None]]))


def test_identical_images_score_best_and_exposure_does_not_matter(picture):
    assert pv_score(picture, whole_view(picture), PROTOCOL) == math.inf
    darker = (picture * 0.5).astype(np.uint8)
    other = picture[::-1, ::-1].copy()
    same = pv_score(darker, whole_view(picture), PROTOCOL)
    assert same > 10
    assert pv_score(other, whole_view(picture), PROTOCOL) < 2 < same


def normal(rgb, valid):
    """Grey in whole numbers, mean 0 and deviation 1 where valid, else 0; pixel by pixel."""
    grey = {
        (y, x): math.floor(sum(w * c for w, c in zip(GREY, rgb[y, x].tolist(), strict=True)) + 0.5)
        for y, x in np.argwhere(valid).tolist()
    }
    mean = sum(grey.values()) / len(grey)
    deviation = math.sqrt(sum((g - mean) ** 2 for g in grey.values()) / (len(grey) - 1))
    image = np.zeros(valid.shape, np.float32)
    for (y, x), g in grey.items():
        image[y, x] = (g - mean) / deviation
    return image


def test_the_score_is_one_over_the_median_of_a_loop(picture):
    rng = np.random.default_rng(0)
    noisy = (picture * 0.7 + rng.integers(0, 60, picture.shape)).astype(np.uint8)
    depth = np.where(rng.random(picture.shape[:2]) < 0.2, np.nan, 1).astype(np.float32)
    depth[50:, :70] = np.nan
    valid = ~np.isnan(depth)
    ours, theirs = (dense_sift(normal(rgb, valid), PROTOCOL) for rgb in (picture, noisy))
    at_valid = [n for n, (x, y) in enumerate(ours.centers.tolist()) if valid[y, x]]
    distances = []
    for a, b in ((ours.descriptors[n].tolist(), theirs.descriptors[n].tolist()) for n in at_valid):
        roots = [[math.sqrt(value / sum(side)) for value in side] for side in (a, b)]
        distances.append(math.dist(*roots))
    assert 50 < len(distances) < len(ours.centers)
    score = pv_score(picture, RenderedView(noisy, depth), PROTOCOL)
    assert score == pytest.approx(1 / statistics.median(distances), rel=1e-5)


def test_what_lies_in_holes_has_no_effect(picture):
    rng = np.random.default_rng(1)
    depth = np.where(rng.random(picture.shape[:2]) < 0.3, np.nan, 1).astype(np.float32)
    black, noise = picture.copy(), picture.copy()
    black[np.isnan(depth)] = 0
    noise[np.isnan(depth)] = rng.integers(0, 256, (int(np.isnan(depth).sum()), 3))
    seen = shrink(np.repeat(np.repeat(picture, 2, 0), 2, 1), 2)
    assert pv_score(seen, RenderedView(black, depth), PROTOCOL) == pv_score(
        seen, RenderedView(noise, depth), PROTOCOL
    )
    assert pv_score(picture, RenderedView(black, depth), PROTOCOL) == pv_score(
        noise, RenderedView(picture, depth), PROTOCOL
    )


def test_nothing_to_compare_scores_zero(picture):
    nothing = np.full(picture.shape[:2], np.nan, np.float32)
    assert pv_score(picture, RenderedView(picture, nothing), PROTOCOL) == 0
    corner = nothing.copy()
    corner[:8, :8] = 1  # the first descriptor's centre is pixel 12
    assert pv_score(picture, RenderedView(picture, corner), PROTOCOL) == 0
    assert pv_score(picture, whole_view(np.full_like(picture, 9)), PROTOCOL) == 0
    assert pv_score(np.full_like(picture, 9), whole_view(picture), PROTOCOL) == 0
    tiny = picture[:20, :20].copy()
    assert pv_score(tiny, whole_view(tiny), PROTOCOL) == 0


def test_a_single_pixel_scores_zero(picture):
    one = np.full(picture.shape[:2], np.nan, np.float32)
    one[12, 12] = 1
    assert pv_score(picture, RenderedView(picture, one), PROTOCOL) == 0


def test_no_pose_scores_zero(query, room):
    found = verify_pose(query, room, K, None, PROTOCOL)
    assert found.score == 0
    assert found.view is None
    nowhere = pycolmap.Rigid3d(pycolmap.Rotation3d(), np.full(3, np.nan))
    assert verify_pose(query, room, K, nowhere, PROTOCOL).score == 0
    assert verify_pose(query, room, K, moved(yaw_deg=180), PROTOCOL).score == 0


def test_the_true_pose_wins(query, room):
    true = verify_pose(query, room, K, moved(), PROTOCOL)
    assert true.view.valid.mean() > 0.9
    assert true.view.depth[45, 20] == 3
    others = [
        moved(x=0.5), moved(x=-0.5), moved(y=0.5), moved(z=0.5), moved(z=-0.5),
        moved(yaw_deg=5), moved(yaw_deg=-5), moved(x=0.1),
    ]  # fmt: skip
    scores = [verify_pose(query, room, K, pose, PROTOCOL).score for pose in others]
    assert true.score > 1.5 * max(scores)
    assert min(scores) > 0
    assert max(scores) == scores[-1]  # 10 cm off is the least of them
