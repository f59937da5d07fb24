"""RootSIFT against plain SIFT with the square root worked out by hand, and on known blobs."""

import cv2
import numpy as np
import pycolmap
import pytest
from places import REPOSITORY

from d2eval.contracts.features import Features
from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image
from methods.rootsift import RootSIFT, SiftConfig, UprightRootSIFT

PHOTO = REPOSITORY / "benchmarks/sample/photos/coffee.jpg"


def extractor(upright: bool = False, **options) -> RootSIFT:
    return (UprightRootSIFT if upright else RootSIFT)(SiftConfig(**options), Runtime())


def photo() -> np.ndarray:
    return read_image(PHOTO)[:240, :320]


def blobs(*centres: tuple[float, float], size=(121, 101), sigma=4.0) -> np.ndarray:
    """Bright Gaussian blobs on grey; (0, 0) is the centre of the top-left pixel."""
    y, x = np.mgrid[: size[1], : size[0]]
    image = np.full(x.shape, 60.0)
    for cx, cy in centres:
        image += 150 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return np.repeat(image.round().astype(np.uint8)[:, :, None], 3, axis=2)


def colmap_sift(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x, y, scale, orientation) and the bytes of L2-normalised SIFT, as COLMAP gives them."""
    options = pycolmap.FeatureExtractionOptions()
    options.use_gpu = False
    options.num_threads = 1
    options.sift.max_num_features = 8192
    options.sift.normalization = pycolmap.Normalization.L2
    made = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
    keypoints, descriptors = made.extract_from_uint8_array(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return pycolmap.keypoints_to_matrix(keypoints), np.asarray(descriptors.data, np.float64)


def assert_identical(one: Features, other: Features) -> None:
    for name in ("keypoints", "scores", "descriptors", "scales", "orientations"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_descriptors_are_the_square_root_of_l1_normalised_sift():
    image = photo()
    found = extractor().extract(image)
    shapes, sift = colmap_sift(image)
    assert len(found) == len(shapes) > 200
    assert found.scales is not None
    assert np.allclose(found.keypoints, shapes[:, :2] - 0.5, atol=1e-4)  # COLMAP's corner origin
    assert np.array_equal(found.own_keypoints(), shapes[:, :2])
    assert np.allclose(found.scales, shapes[:, 2])
    assert np.allclose(found.orientations, shapes[:, 3])

    total = sift.sum(axis=1, keepdims=True)
    expected = np.sqrt(sift / total)
    assert (found.descriptors * expected).sum(axis=1).min() > 0.997
    # COLMAP gives bytes, 512 times the values, so plain SIFT is known to half a byte (unless it
    # was cut at 255), and RootSIFT to half a byte after the root.
    bytes_found = found.descriptors * np.linalg.norm(np.round(512 * expected), axis=1)[:, None]
    low = 512 * np.sqrt((sift - 0.5).clip(min=0) / total)
    high = 512 * np.sqrt((sift + 0.5) / total)
    uncut = (sift < 255).all(axis=1)
    assert uncut.mean() > 0.99
    # Another 2 % for the sums and norms, which are of rounded bytes too.
    assert (bytes_found[uncut] >= 0.98 * low[uncut] - 0.6).all()
    assert (bytes_found[uncut] <= 1.02 * high[uncut] + 0.6).all()


def test_descriptors_have_unit_norm_and_no_negative_value():
    for upright in (False, True):
        found = extractor(upright).extract(photo())
        assert found.descriptors.shape[1] == 128
        assert np.abs(np.linalg.norm(found.descriptors, axis=1) - 1).max() < 1e-5
        assert found.descriptors.min() >= 0


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("centre", [(60, 40), (33, 71), (80.5, 52.25)])
def test_a_blob_is_found_at_its_centre(centre, upright):
    found = extractor(upright).extract(blobs(centre))
    assert found.scales is not None
    distance = np.linalg.norm(found.keypoints - centre, axis=1)
    assert distance.min() < 0.1
    assert found.scales[distance.argmin()] == pytest.approx(4 * 1.0, rel=0.3)
    assert found.image_size == (121, 101)


def test_axes_are_x_then_y():
    found = extractor().extract(blobs((90, 20), (30, 60)))
    for centre in ((90, 20), (30, 60)):
        assert np.linalg.norm(found.keypoints - centre, axis=1).min() < 0.1


def test_scores_rank_by_scale():
    found = extractor().extract(photo())
    assert found.scales is not None
    assert np.array_equal(found.scores, found.scales)
    assert (found.scales > 0).all()


def test_upright_gives_one_descriptor_for_a_position():
    both = [extractor(upright).extract(photo()) for upright in (False, True)]
    positions = [
        {tuple(row) for row in np.c_[f.keypoints, f.scales].round(3).tolist()} for f in both
    ]
    assert len(both[0]) > len(positions[0])  # several orientations at some positions
    assert positions[1] == positions[0]
    # VLFeat refines two neighbouring extrema to one and the same now and then.
    assert len(both[1]) - len(positions[1]) <= 0.01 * len(both[1])


def test_upright_descriptors_turn_with_the_image_and_others_do_not():
    image = photo()[:200, :200]
    turned = np.ascontiguousarray(np.rot90(image))
    for upright, least, most in ((False, 0.6, 1.0), (True, 0.0, 0.2)):
        first = extractor(upright).extract(image)
        second = extractor(upright).extract(turned)
        # (x, y) comes to (y, width - 1 - x)
        moved = np.c_[first.keypoints[:, 1], 199 - first.keypoints[:, 0]]
        apart = np.linalg.norm(moved[:, None] - second.keypoints[None], axis=2)
        similar = first.descriptors @ second.descriptors.T > 0.95
        repeated = (apart < 0.5).any(axis=1)
        assert repeated.mean() > 0.5
        share = ((apart < 0.5) & similar).any(axis=1)[repeated].mean()
        assert least <= share <= most, upright


def test_num_features_keeps_coarse_features():
    everything = extractor().extract(photo())
    few = extractor(num_features=60).extract(photo())
    assert few.scales is not None
    assert everything.scales is not None
    assert 0 < len(few) < len(everything) / 2
    assert few.scales.mean() > everything.scales.mean()


def test_thresholds_act():
    counts = [
        len(extractor(peak_threshold=value).extract(photo())) for value in (0.003, 0.0067, 0.03)
    ]
    assert counts[0] > counts[1] > counts[2] > 0
    assert len(extractor(edge_threshold=3.0).extract(photo())) < counts[1]
    assert len(extractor(first_octave=0).extract(photo())) < counts[1]


@pytest.mark.parametrize("value", [0, -1])
def test_num_features_must_be_positive(value):
    with pytest.raises(D2EvalError, match="--num-features"):
        SiftConfig(num_features=value)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 200), (200, 1), (2, 2), (3, 3), (7, 7), (3, 200), (60, 80)]
)
@pytest.mark.parametrize("value", [0, 127, 255])
def test_tiny_and_flat_images_have_no_features(size, value, upright):
    found = extractor(upright).extract(np.full((*size, 3), value, np.uint8))
    assert len(found) == 0
    assert found.descriptors.shape == (0, 128)
    assert found.image_size == (size[1], size[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (2, 3), (5, 5), (8, 8), (13, 16)])
def test_tiny_noise_gives_valid_features(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = extractor().extract(image)
    assert found.image_size == (size[1], size[0])


def test_colour_is_turned_to_grey():
    image = photo()
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
    assert_identical(extractor().extract(image), extractor().extract(grey))


def test_the_same_image_gives_the_same_features():
    made = extractor()
    first = made.extract(photo())
    made.extract(blobs((60, 40)))
    made.extract(np.zeros((3, 3, 3), np.uint8))
    assert_identical(first, made.extract(photo()))
    assert_identical(first, extractor().extract(photo()))


def test_input_is_left_alone():
    image = photo()
    copy = image.copy()
    image.flags.writeable = False
    first = extractor().extract(image)
    assert np.array_equal(image, copy)
    assert_identical(first, extractor().extract(np.asfortranarray(image)))


def test_the_key_follows_the_options():
    keys = set()
    for options in ({}, {"num_features": 100}, {"peak_threshold": 0.01}, {"first_octave": 0}):
        config = SiftConfig(**options)
        keys.add(RootSIFT(config, Runtime()).identity("rootsift", config).key)
    assert len(keys) == 4
