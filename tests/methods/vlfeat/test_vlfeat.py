"""VLFeat's features against blobs of known shape, and descriptors against a slow SIFT."""

import threading
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest
from places import REPOSITORY

from d2eval.contracts.features import Features
from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image
from methods.vlfeat import AffineRootSIFT, HessianAffineRootSIFT, library

METHODS = (HessianAffineRootSIFT, AffineRootSIFT)
PHOTO = REPOSITORY / "benchmarks/sample/photos/coffee.jpg"
both = pytest.mark.parametrize("method", METHODS)


def extractor(method=HessianAffineRootSIFT, **options) -> HessianAffineRootSIFT:
    return method(method.Config(**options), Runtime())


def photo(width: int = 320, height: int = 240) -> np.ndarray:
    return np.ascontiguousarray(read_image(PHOTO)[:height, :width])


def blob(centre: tuple[float, float], covariance: np.ndarray, size=(141, 101)) -> np.ndarray:
    """A bright Gaussian blob on grey; (0, 0) is the centre of the top-left pixel."""
    apart = np.stack(np.meshgrid(*map(np.arange, size)), axis=-1) - centre
    squares = np.einsum("...i,ij,...j", apart, np.linalg.inv(covariance), apart)
    image = 60 + 150 * np.exp(-squares / 2)
    return np.repeat(image.round().astype(np.uint8)[:, :, None], 3, axis=2)


def assert_identical(one: Features, other: Features) -> None:
    for name in ("keypoints", "scores", "descriptors", "scales", "orientations", "affine_shapes"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


@both
@pytest.mark.parametrize("centre", [(60, 40), (90.5, 52.25)])
@pytest.mark.parametrize(
    "covariance", [[[36, 0], [0, 36]], [[64, 0], [0, 25]], [[25, 0], [0, 64]], [[40, 20], [20, 50]]]
)
def test_a_blob_is_found_with_its_shape(method, centre, covariance):
    found = extractor(method).extract(blob(centre, np.array(covariance)))
    distances = np.linalg.norm(found.keypoints - centre, axis=1)
    nearest = distances.argmin()
    assert distances[nearest] < 0.15
    shape = found.affine_shapes[nearest].astype(np.float64)
    ellipse = shape @ shape.T
    expected = np.array(covariance) / np.sqrt(np.linalg.det(covariance))
    np.testing.assert_allclose(ellipse / np.sqrt(np.linalg.det(ellipse)), expected, atol=0.25)
    assert 0.5 < np.linalg.det(ellipse) / np.linalg.det(covariance) < 2.5
    assert np.linalg.det(shape) > 0  # no mirror


@both
def test_scales_and_orientations_say_of_discs_what_shapes_say(method):
    found = extractor(method).extract(photo())
    for shape, scale, angle in zip(
        found.affine_shapes, found.scales, found.orientations, strict=True
    ):
        assert scale**2 == pytest.approx(np.linalg.det(shape), rel=1e-4)
        along = shape @ [1, 0]
        np.testing.assert_allclose(
            along, np.linalg.norm(along) * np.array([np.cos(angle), np.sin(angle)]), atol=1e-3
        )


def slow_patch(gray: np.ndarray, centre: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """31x31 samples from -7.5 to 7.5 of the feature's own axes, smoothed by one of their units."""
    fine, steps = 4, 0.5  # finer than the samples, so that smoothing can follow
    half = 15 * fine + 4 * fine
    to_image = np.column_stack([shape * (steps / fine), centre])
    to_image[:, 2] -= to_image[:, :2] @ [half, half]
    warped = cv2.warpAffine(
        gray, to_image, (2 * half + 1, 2 * half + 1), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    # What the camera is taken to have smoothed already, half a pixel, is not done again
    sizes = np.linalg.svd(shape, compute_uv=False)
    more = np.sqrt(1 - (0.5 / sizes.mean()) ** 2)
    smooth = cv2.GaussianBlur(warped, (0, 0), more * fine / steps)
    return smooth[4 * fine : -4 * fine : fine, 4 * fine : -4 * fine : fine]


def slow_rootsift(patch: np.ndarray) -> np.ndarray:
    """Lowe's histograms, 4x4 of 6 samples a side with 8 angles, cut at 0.2; then the root."""
    dy, dx = np.gradient(patch.astype(np.float64))
    bins = np.zeros((4, 4, 8))
    for i in range(31):
        for j in range(31):
            x, y = (j - 15) / 6, (i - 15) / 6
            angle = np.arctan2(dy[i, j], dx[i, j]) % (2 * np.pi) * 8 / (2 * np.pi)
            weight = np.hypot(dx[i, j], dy[i, j]) * np.exp(-(x * x + y * y) / (2 * 2**2))
            for row in range(4):
                for column in range(4):
                    near = max(0, 1 - abs(y + 1.5 - row)) * max(0, 1 - abs(x + 1.5 - column))
                    share = angle - np.floor(angle)
                    bins[row, column, int(angle) % 8] += weight * near * (1 - share)
                    bins[row, column, (int(angle) + 1) % 8] += weight * near * share
    sift = bins.ravel() / np.linalg.norm(bins)
    sift = sift.clip(max=0.2)
    return np.sqrt(sift / sift.sum())


@pytest.mark.parametrize(
    "method", [METHODS[0], *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS[1:])]
)
def test_descriptors_are_rootsift_of_the_patch_that_the_shape_maps(method):
    image = photo()
    found = extractor(method).extract(image)
    gray = (image @ [0.2989, 0.5870, 0.1140] / 255).astype(np.float32)
    reach = 8 * np.abs(found.affine_shapes).sum(axis=2)  # x and y
    inside = ((found.keypoints > reach) & (found.keypoints < np.array([319, 239]) - reach)).all(1)
    sizes = np.linalg.svd(found.affine_shapes, compute_uv=False)
    round_ones = sizes[:, 0] < 1.1 * sizes[:, 1]
    # VLFeat smooths long patches along the axes of the patch, which is not quite their own
    for chosen, usual, least in ((round_ones, 0.99, 0.95), (~round_ones, 0.92, 0.85)):
        similar = [
            slow_rootsift(slow_patch(gray, found.keypoints[i], found.affine_shapes[i]))
            @ found.descriptors[i]
            for i in np.flatnonzero(inside & chosen)[:20]
        ]
        assert len(similar) > 5
        assert np.median(similar) > usual
        assert min(similar) > least


@both
def test_features_turn_with_the_image(method):
    image = photo(200, 200)
    one = extractor(method).extract(image)
    other = extractor(method).extract(np.ascontiguousarray(np.rot90(image)))
    # (x, y) comes to (y, width - 1 - x)
    turn = np.array([[0, 1], [-1, 0]])
    moved = one.keypoints @ turn.T + [0, 199]
    near = np.linalg.norm(moved[:, None] - other.keypoints, axis=2) < 0.5
    shapes = np.abs(turn @ one.affine_shapes[:, None] - other.affine_shapes).max(axis=(2, 3))
    alike = one.descriptors @ other.descriptors.T > 0.95
    assert len(one) > 50
    assert (near & alike & (shapes < 0.2 * one.scales[:, None])).any(axis=1).mean() > 0.8


def test_grey_is_matlab_s():
    pixels = np.eye(3)[None] * 255
    hessian, affine = (extractor(method).gray(pixels.astype(np.uint8)) for method in METHODS)
    np.testing.assert_allclose(hessian[0], [0.2989, 0.5870, 0.1140], atol=5e-5)
    np.testing.assert_allclose(affine[0] * 255, [76, 150, 29])


def test_responses_rank_with_their_sign_or_by_their_size():
    image = blob((60, 40), 36 * np.eye(2))
    for method in METHODS:
        bright, dark = (extractor(method).extract(pixels) for pixels in (image, 255 - image))
        assert dark.scores.max() == pytest.approx(bright.scores.max(), rel=0.02)
    assert (extractor(HessianAffineRootSIFT).extract(photo()).scores < 0).any()  # saddles
    assert (extractor(AffineRootSIFT).extract(photo()).scores > 0).all()


def test_keypoints_count_from_1_in_the_method_s_own_files():
    found = extractor().extract(blob((60, 40), 36 * np.eye(2)))
    np.testing.assert_allclose(found.own_keypoints(), found.keypoints + 1, atol=1e-5)


@both
@pytest.mark.parametrize("double_image", [False, True])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 90), (90, 1), (2, 3), (8, 8), (9, 40), (15, 90), (16, 16), (17, 16)]
)
def test_tiny_and_flat_images(method, double_image, size):
    made = extractor(method, double_image=double_image, peak_threshold=0)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert made.extract(noise).image_size == size[::-1]
    flat = made.extract(np.full((*size, 3), 127, np.uint8))
    assert flat.descriptors.shape == (0, 128)
    assert flat.affine_shapes.shape == (0, 2, 2)


@both
def test_options_act(method):
    usual = len(extractor(method).extract(photo()))
    default = method.Config()
    assert usual > 50
    assert (
        len(extractor(method, peak_threshold=3 * default.peak_threshold).extract(photo())) < usual
    )
    assert len(extractor(method, edge_threshold=3.0).extract(photo())) < usual
    assert len(extractor(method, double_image=True).extract(photo())) > 1.5 * usual


@pytest.mark.parametrize(
    ("option", "value"),
    [("peak_threshold", -1), ("peak_threshold", np.nan), ("edge_threshold", 0.5),
     ("edge_threshold", np.inf)],
)  # fmt: skip
def test_thresholds_without_a_meaning_are_refused(option, value):
    with pytest.raises(D2EvalError, match=f"--{option.replace('_', '-')} must be"):
        extractor(**{option: value})


@pytest.mark.slow
@both
def test_memory_stays_flat(method):
    made, process, image = extractor(method), psutil.Process(), photo(160, 120)
    for _ in range(10):
        made.extract(image)
    before = process.memory_info().rss
    for _ in range(50):
        made.extract(image)
    # The scale spaces of one image take more than half a MiB
    assert process.memory_info().rss - before < 4 * 2**20


def test_threads_do_not_disturb_each_other():
    made, images = extractor(), (photo(160, 120), photo(120, 160))
    alone = [made.extract(image) for image in images]
    found: dict[int, list[Features]] = {0: [], 1: []}

    def work(i: int) -> None:
        found[i] += [made.extract(images[i]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, results in found.items():
        assert len(results) == 5
        for result in results:
            assert_identical(result, alone[i])


@pytest.fixture
def other_libraries(monkeypatch):
    """Loads VLFeat where pycolmap's library is another, and so are the system's."""

    def change(pycolmaps: str, systems: tuple[str, ...]) -> None:
        core = SimpleNamespace(__file__=pycolmaps)
        monkeypatch.setattr(library, "pycolmap", SimpleNamespace(_core=core))
        monkeypatch.setattr(library, "SYSTEM_LIBRARIES", systems)

    library.load.cache_clear()
    yield change
    library.load.cache_clear()


@pytest.mark.parametrize("pycolmaps", ["libm.so.6", "no_such_library.so"])
def test_without_vlfeat_one_line_says_what_to_install(other_libraries, pycolmaps):
    other_libraries(pycolmaps, ("libm.so.6", "no_such_library.so"))
    with pytest.raises(D2EvalError, match="libvlfeat1") as caught:
        extractor()
    assert "\n" not in str(caught.value)


def test_a_library_of_another_layout_is_refused(other_libraries):
    path = library.pycolmap._core.__file__
    other_libraries("no_such_library.so", (path,))  # its features are larger than a system's
    with pytest.raises(D2EvalError, match="no VLFeat"):
        extractor()


def test_a_system_s_libvl_gives_the_same(other_libraries):
    usual = extractor().extract(photo())
    library.load.cache_clear()
    other_libraries("no_such_library.so", library.SYSTEM_LIBRARIES)
    try:
        made = extractor()
    except D2EvalError:
        pytest.skip("no system libvl (libvlfeat1)")
    found = made.extract(photo())
    assert abs(len(found) - len(usual)) <= 0.01 * len(usual)  # octaves come in another order
    places = [{tuple(row) for row in f.keypoints.round(2).tolist()} for f in (found, usual)]
    assert len(places[0] & places[1]) > 0.98 * len(places[1])
