"""Validation's pairs, and its matching against the public extractor and plain NumPy."""

import cv2
import numpy as np
import pytest
from PIL import Image

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.sample.photos import load_photo
from methods.d2net.method import D2Config, D2SingleScale
from methods.d2net.training import validation
from methods.d2net.training.validation import (
    THRESHOLDS,
    Matching,
    ValidationPair,
    measure_matching,
    validation_pairs,
)
from methods.d2net.weights import OFF_THE_SHELF, choose_weights, load_weights

WIDTH, HEIGHT = 240, 200  # of the ramp, whose red is x and whose green is y


@pytest.fixture
def ramp(tmp_path):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, :, 0] = np.arange(WIDTH)
    image[:, :, 1] = np.arange(HEIGHT)[:, None]
    path = tmp_path / "ramp.png"
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def photo(tmp_path):
    """A photo of 120 x 100 pixels."""
    crop = load_photo("chelsea").decode()[60:260, 100:340]
    small = cv2.resize(crop, (120, 100), interpolation=cv2.INTER_AREA)
    path = tmp_path / "chelsea.png"
    Image.fromarray(small).save(path)
    return path


@pytest.fixture(scope="module")
def extractor():
    return D2SingleScale(D2Config(weights="bundled"), Runtime())


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return load_weights(choose_weights("bundled", OFF_THE_SHELF, tmp_path_factory.mktemp("no"))[0])


@pytest.fixture
def built(extractor, monkeypatch):
    """The network of the bundled weights, which is slow to build, is the extractor's."""
    monkeypatch.setattr(validation, "D2Network", lambda weights, device: extractor.network)


# Pairs


def test_two_pairs_of_each_photo(ramp, photo):
    pairs = validation_pairs([ramp, photo])
    assert len(pairs) == 4
    for pair, path in zip(pairs, (ramp, ramp, photo, photo), strict=True):
        with Image.open(path) as image:
            assert np.array_equal(pair.image_1, image)
        assert pair.image_2.shape == pair.image_1.shape
        assert pair.image_2.dtype == np.uint8
        assert not np.array_equal(pair.image_2, pair.image_1)
    assert validation_pairs([]) == []


def test_the_pairs_are_always_the_same_and_differ_between_photos(photo):
    once, again = (validation_pairs([photo, photo]) for _ in range(2))
    for one, other in zip(once, again, strict=True):
        assert np.array_equal(one.homography, other.homography)
        assert np.array_equal(one.image_2, other.image_2)
    for one, other in zip(once[:2], once[2:], strict=True):
        assert not np.array_equal(one.image_2, other.image_2)
    assert not np.allclose(once[0].homography, once[2].homography)
    # A photo's pairs don't depend on how many others there are.
    (alone, _) = validation_pairs([photo])
    assert np.array_equal(alone.homography, once[0].homography)


def test_the_homography_leads_from_image_1_to_image_2(ramp):
    pairs = validation_pairs([ramp] * 4)[::2]
    grid = np.stack(np.meshgrid(np.arange(4.0, WIDTH, 12), np.arange(4.0, HEIGHT, 12)), axis=-1)
    for pair in pairs:
        moved = cv2.perspectiveTransform(grid.reshape(-1, 1, 2), pair.homography)[:, 0]
        seen = ((moved >= 2) & (moved <= (WIDTH - 3, HEIGHT - 3))).all(axis=1)
        assert seen.sum() > 50
        assert np.abs(moved - grid.reshape(-1, 2)).max() > 10
        # Red and green of image 2 say which point of image 1 is seen there.
        colors = cv2.remap(
            pair.image_2.astype(np.float32), moved[seen].astype(np.float32), None, cv2.INTER_LINEAR
        )[:, 0, :2]
        assert np.abs(colors - grid.reshape(-1, 2)[seen]).max() < 1


def test_views_turn_tilt_and_come_near(ramp):
    nearer = []
    for pair in validation_pairs([ramp] * 6)[::2]:
        center = np.array([[(WIDTH - 1) / 2, (HEIGHT - 1) / 2]])
        around = np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]]) + center
        moved = cv2.perspectiveTransform(np.concatenate([center, around])[None], pair.homography)[0]
        assert moved[0] == pytest.approx(center[0])
        assert abs(pair.homography[2, :2]).max() > 1e-5  # tilted
        nearer.append(cv2.contourArea(moved[1:].astype(np.float32)) / 100)
    # Up to twice as near, but at most 45 degrees aslant.
    assert all(0.5 < area < 4.2 for area in nearer)
    assert max(nearer) - min(nearer) > 0.3


def test_another_light_leaves_everything_in_its_place(photo):
    for pair in validation_pairs([photo] * 4)[1::2]:
        assert np.array_equal(pair.homography, np.eye(3))
        before, after = (
            np.log1p(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64))
            for image in (pair.image_1, pair.image_2)
        )
        fine = [image - cv2.GaussianBlur(image, None, 3) for image in (before, after)]
        shifts = [(x, y) for x in range(-3, 4) for y in range(-3, 4)]
        likeness = [
            np.corrcoef(
                fine[0][5:-5, 5:-5].ravel(), np.roll(fine[1], s, (1, 0))[5:-5, 5:-5].ravel()
            )[0, 1]
            for s in shifts
        ]
        assert shifts[int(np.argmax(likeness))] == (0, 0)


def test_a_photo_that_can_not_be_read_is_named(ramp, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(D2EvalError, match=r"text\.png: is not an image"):
        validation_pairs([ramp, tmp_path / "text.png"])


# Matching


def measured(pairs, weights, preprocessing="caffe"):
    return measure_matching(weights, pairs, preprocessing, "cpu", None)


def plain_matching(extractor, pairs):
    """The same from the public extractor's features, by definition."""
    shares, features, matches = [], [], []
    for pair in pairs:
        first, second = extractor.extract(pair.image_1), extractor.extract(pair.image_2)
        features += [len(first), len(second)]
        similarity = first.descriptors @ second.descriptors.T
        there, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
        mutual = [n for n in range(len(first)) if back[there[n]] == n]
        errors = []
        for n in mutual:
            x, y = first.keypoints[n].astype(float)
            u, v, w = pair.homography @ (x, y, 1)
            errors.append(np.hypot(*(second.keypoints[there[n]] - (u / w, v / w))))
        shares.append([np.mean([error <= t for error in errors]) for t in (1, 3, 5, 10)])
        matches.append(len(mutual))
    return np.mean(shares, axis=0), np.mean(features), np.mean(matches)


@pytest.mark.parametrize("preprocessing", ["caffe", pytest.param("torch", marks=pytest.mark.slow)])
def test_matching_is_that_of_the_public_extractor(photo, weights, extractor, preprocessing):
    pairs = validation_pairs([photo])
    if preprocessing == "torch":
        extractor = D2SingleScale(
            D2Config(weights="bundled", preprocessing=preprocessing), Runtime()
        )
    found = measured(pairs, weights, preprocessing)
    shares, features, matches = plain_matching(extractor, pairs)
    assert found.mma == pytest.approx(shares, rel=1e-12)
    assert (found.features, found.matches) == (features, matches)
    assert THRESHOLDS == (1, 3, 5, 10)
    assert 0 < found.mma[0] < found.mma[1] < found.mma[3] < 1
    assert 20 < found.matches < found.features


def test_an_image_matches_itself(photo, weights, extractor, built):
    image = validation_pairs([photo])[0].image_1[:60, :72]
    count = len(extractor.extract(image))
    found = measured([ValidationPair(image, image, np.eye(3))], weights)
    assert found == Matching((1.0, 1.0, 1.0, 1.0), count, count)


@pytest.mark.parametrize(
    ("shift", "mma"), [((3, 0), (0, 1, 1, 1)), ((0, -10), (0, 0, 0, 1)), ((4, 3), (0, 0, 1, 1))]
)
def test_an_error_may_be_as_large_as_the_threshold(photo, weights, built, shift, mma):
    image = validation_pairs([photo])[0].image_1[:60, :72]
    homography = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])
    assert measured([ValidationPair(image, image, homography)], weights).mma == mma


def test_a_pair_without_matches_counts_as_zero(photo, weights, extractor, built):
    image = validation_pairs([photo])[0].image_1[:60, :72]
    count = len(extractor.extract(image))
    empty = image[:7, :7]  # has no cell
    pairs = [ValidationPair(image, other, np.eye(3)) for other in (image, empty, image, image)]
    found = measured(pairs, weights)
    assert found == Matching((0.75, 0.75, 0.75, 0.75), count * 7 / 8, count * 3 / 4)
