from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.folders import RECORD
from d2eval.sample import hpatches
from d2eval.sample.hpatches import SEQUENCES, image_from_photo, make_hpatches_sample
from d2eval.sample.photos import load_photo

NAMES = [sequence.name for sequence in SEQUENCES]
VIEWPOINT = [name for name in NAMES if name.startswith("v_")]
WIDTH, HEIGHT = 320, 240
# centres of the corner pixels
CORNERS = np.array([[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]], float)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make_hpatches_sample(tmp_path_factory.mktemp("cache"))


def read_grey(folder: Path, k: int) -> np.ndarray:
    (path,) = folder.glob(f"{k}.*")
    return np.asarray(Image.open(path).convert("L"), dtype=np.float32)


def read_homography(folder: Path, k: int) -> np.ndarray:
    return np.loadtxt(folder / f"H_1_{k}")


def project(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    mapped = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return mapped[:, :2] / mapped[:, 2:]


def contents(folder: Path) -> dict[str, bytes]:
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != RECORD]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_the_layout_is_that_of_hpatches(sample):
    assert sorted(p.name for p in sample.iterdir() if p.name != RECORD) == sorted(NAMES)
    assert sum(name.startswith("i_") for name in NAMES) >= 2
    assert len(VIEWPOINT) >= 2
    suffixes = set()
    for name in NAMES:
        files = {p.name for p in (sample / name).iterdir()}
        images = {p for p in files if not p.startswith("H_")}
        assert {Path(p).stem for p in images} == set("123456")
        assert files - images == {f"H_1_{k}" for k in range(2, 7)}
        suffixes |= {Path(p).suffix for p in images}
        for image in images:
            with Image.open(sample / name / image) as opened:
                assert (opened.size, opened.mode) == ((WIDTH, HEIGHT), "RGB")
        for k in range(2, 7):
            lines = (sample / name / f"H_1_{k}").read_text().splitlines()
            assert [len(line.split()) for line in lines] == [3, 3, 3]
    assert suffixes == {".ppm", ".png", ".jpg"}


@pytest.mark.slow
def test_two_builds_are_the_same_to_the_byte(sample, tmp_path):
    again = make_hpatches_sample(tmp_path)
    assert again != sample
    assert again.relative_to(tmp_path) == sample.relative_to(sample.parents[1])
    assert contents(again) == contents(sample)


def test_illumination_sequences_have_the_identity_and_six_different_images(sample):
    for name in set(NAMES) - set(VIEWPOINT):
        for k in range(2, 7):
            assert (read_homography(sample / name, k) == np.eye(3)).all()
        images = [read_grey(sample / name, k) for k in range(1, 7)]
        assert all(np.abs(image - images[0]).mean() > 4 for image in images[1:])


def test_viewpoint_sequences_grow_harder(sample):
    for name in VIEWPOINT:
        # how much the local scale of the plane changes over the image: 1 without a tilt
        spread = []
        for k in range(2, 7):
            third = read_homography(sample / name, k)[2]
            depths = np.column_stack([CORNERS, np.ones(4)]) @ third
            spread.append(depths.max() / depths.min())
        assert spread[0] < 1.3
        assert spread[-1] > 1.7


@pytest.mark.parametrize("name", VIEWPOINT)
def test_the_measured_homography_agrees_with_the_file(sample, name):
    first, second = (read_grey(sample / name, k).astype(np.uint8) for k in (1, 2))
    sift = cv2.SIFT_create()
    keypoints_1, descriptors_1 = sift.detectAndCompute(first, None)
    keypoints_2, descriptors_2 = sift.detectAndCompute(second, None)
    matches = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(descriptors_1, descriptors_2)
    points_1 = np.float32([keypoints_1[m.queryIdx].pt for m in matches])
    points_2 = np.float32([keypoints_2[m.trainIdx].pt for m in matches])
    measured, _ = cv2.findHomography(points_1, points_2, cv2.RANSAC, 1.0)
    true = project(read_homography(sample / name, 2), CORNERS)
    errors = np.linalg.norm(project(measured, CORNERS) - true, axis=1)
    assert errors.max() < 0.5


@pytest.mark.parametrize(("name", "k"), list(product(VIEWPOINT, range(2, 7))))
def test_intensities_agree_with_the_file_far_below_a_pixel(sample, name, k):
    first, other = (read_grey(sample / name, i).astype(np.uint8) for i in (1, k))
    homography = read_homography(sample / name, k)
    start = np.array([[1, 0, 0.7], [0, 1, -0.7], [0, 0, 1]]) @ homography
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-7)
    _, measured = cv2.findTransformECC(
        first, other, start.astype(np.float32), cv2.MOTION_HOMOGRAPHY, criteria, None, 5
    )
    grid = np.array(list(product(np.linspace(0, WIDTH - 1, 17), np.linspace(0, HEIGHT - 1, 13))))
    true = project(homography, grid)
    shared = ((true >= 0) & (true <= [WIDTH - 1, HEIGHT - 1])).all(axis=1)
    errors = np.linalg.norm(project(measured, grid) - true, axis=1)
    assert errors[shared].max() < 0.2


def correlation(first: np.ndarray, other: np.ndarray, homography: np.ndarray) -> float:
    """Normalised cross-correlation of ``first`` and ``other`` warped onto it, fine detail only."""
    # Light that changes slowly over the image is taken out, so that illumination pairs count too.
    first, other = (
        (local := image - gaussian_filter(image, 6)) / np.sqrt(gaussian_filter(local**2, 6) + 1)
        for image in (first, other)
    )
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    target = project(homography, np.column_stack([x.ravel(), y.ravel()]).astype(float))
    inside = ((target >= 0) & (target <= [WIDTH - 1, HEIGHT - 1])).all(axis=1)
    warped = map_coordinates(other, target[inside, ::-1].T, order=1)
    return float(np.corrcoef(first.ravel()[inside], warped)[0, 1])


@pytest.mark.parametrize(
    ("name", "k"),
    [pytest.param(*both, marks=[pytest.mark.slow] * (both[1] in (3, 4, 5)))
     for both in product(NAMES, range(2, 7))],
)  # fmt: skip
def test_every_image_warped_back_is_image_1(sample, name, k):
    folder = sample / name
    first, other, homography = (
        read_grey(folder, 1),
        read_grey(folder, k),
        read_homography(folder, k),
    )
    aligned = correlation(first, other, homography)
    moves = [(2, 0), (-2, 0), (0, 2), (0, -2)]
    moved = [
        correlation(first, other, np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]]) @ homography)
        for dx, dy in moves
    ]
    assert aligned > 0.6
    assert aligned > max(moved) + 0.1


def test_no_view_leaves_its_photo():
    border = CORNERS + np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    for sequence in SEQUENCES:
        height, width = load_photo(sequence.photo).decode().shape[:2]
        for view, _ in sequence.shots:
            seen = project(np.linalg.inv(image_from_photo(view)), border)
            assert (seen > 0).all()
            assert (seen < [width - 1, height - 1]).all()


def test_a_frontal_view_is_a_scaled_crop():
    view = hpatches.View((100.0, 80.0), 640.0)  # two photo pixels to a pixel
    # the optical axis meets the middle of 320x240 pixels, which is (159.5, 119.5)
    expected = [[159.5, 119.5], [160.5, 119.5], [159.5, 120.5]]
    points = np.array([[100.0, 80.0], [102.0, 80.0], [100.0, 82.0]])
    assert project(image_from_photo(view), points) == pytest.approx(np.array(expected))


def test_pixels_are_sampled_at_their_centres():
    y, x = np.mgrid[:300, :451].astype(np.float32)
    ramps = np.stack([x, y, np.ones_like(x)], axis=-1)  # a photo whose colour is its coordinates
    view = hpatches.View((220.0, 150.0), 384.0)  # 1.2 photo pixels to a pixel
    seen = hpatches.render(ramps, view)
    assert seen.shape == (HEIGHT, WIDTH, 3)
    for column, row in [(0, 0), (160, 120), (319, 239)]:
        expected = [220 + 1.2 * (column - 159.5), 150 + 1.2 * (row - 119.5), 1.0]
        # OpenCV 4 rounds sampling positions to 1/32 px
        assert seen[row, column] == pytest.approx(expected, abs=1 / 64)


def test_a_set_that_is_there_is_not_made_again(sample, monkeypatch):
    def fail(*_):
        raise AssertionError("rendered again")

    monkeypatch.setattr(hpatches, "render", fail)
    assert make_hpatches_sample(sample.parents[1]) == sample


@pytest.mark.slow
def test_half_a_set_does_not_count(sample, tmp_path):
    killed = tmp_path / "sample" / f".{sample.name}.killed" / "built" / NAMES[0]
    robbed = tmp_path / "sample" / sample.name / NAMES[0]
    for leftover in (killed, robbed):
        leftover.mkdir(parents=True)
        (leftover / "1.ppm").write_bytes(b"")
    assert contents(make_hpatches_sample(tmp_path)) == contents(sample)


def test_a_build_that_fails_leaves_nothing(sample, tmp_path, monkeypatch):
    written = []

    def full_disk(path, text):
        written.append(path)
        if len(written) == 7:
            raise D2EvalError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(hpatches, "write_text", full_disk)
        with pytest.raises(D2EvalError, match="disk full"):
            make_hpatches_sample(tmp_path)
    assert list((tmp_path / "sample").iterdir()) == []
    assert contents(make_hpatches_sample(tmp_path)) == contents(sample)


@pytest.mark.slow
@pytest.mark.parametrize("robbed", [False, True])
def test_builders_at_once_all_succeed(sample, tmp_path, robbed):
    if robbed:
        (tmp_path / "sample" / sample.name / NAMES[0]).mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(make_hpatches_sample, [tmp_path] * 2))
    assert {path.name for path in made} == {sample.name}
    assert [p.name for p in (tmp_path / "sample").iterdir()] == [sample.name]
    assert contents(made[0]) == contents(sample)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "sample").write_text("in the way")
    with pytest.raises(D2EvalError, match=r"sample.*can't be written"):
        make_hpatches_sample(tmp_path)
