"""D2-Net against the dense reference, and its parts against numbers worked out by hand."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import d2net_borderline as borderline
import d2net_reference as reference
import numpy as np
import pytest
import torch
from places import DATA, REPOSITORY
from safetensors.torch import load_file, save_file

from d2eval.contracts.features import Features
from d2eval.contracts.method import Runtime
from d2eval.foundation.images.decoding import read_image
from methods.d2net.detection import Strip, detect, localize, strips
from methods.d2net.method import D2Config, D2MultiScale, D2SingleScale
from methods.d2net.network import CHANNELS, D2Network, map_size
from methods.d2net.pyramid import (
    LevelImage,
    cells_to_pixels,
    extract_pyramid,
    resize_to_limits,
    resized_rows,
)
from methods.vgg16.preprocessing import preprocess

BUNDLED = REPOSITORY / "methods/d2net/weights/d2_vgg16_hed_fp16.safetensors"
PHOTO = REPOSITORY / "benchmarks/sample/photos/chelsea.jpg"
HPATCHES_IMAGE = DATA / "hpatches-sequences-release/v_bird/1.png"
SCALES = {D2SingleScale: reference.SINGLE_SCALE, D2MultiScale: reference.MULTI_SCALE}
FIRST = pytest.mark.parametrize(
    "method", [D2SingleScale, pytest.param(D2MultiScale, marks=pytest.mark.slow)]
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(height: int = 44, width: int = 56) -> np.ndarray:
    return read_image(PHOTO)[100 : 100 + height, 120 : 120 + width]


def flat(value: int) -> np.ndarray:
    return np.full((44, 56, 3), value, np.uint8)


IMAGES = {
    "noise, odd": lambda: noise(47, 61),
    "noise, even": lambda: noise(48, 60, seed=1),
    "noise, narrow": lambda: noise(19, 110, seed=2),
    "photo": photo,
    "low contrast": lambda: photo() // 16 + 120,
    "two grey levels": lambda: (photo() > 128).astype(np.uint8) + 127,
    "saturated": lambda: np.where(photo() > 120, 255, 0).astype(np.uint8),
    "overexposed": lambda: (photo().astype(int) * 3).clip(0, 255).astype(np.uint8),
    "black": lambda: flat(0),
    "grey": lambda: flat(127),
    "white": lambda: flat(255),
    "one edge": lambda: np.where(np.arange(56)[None, :, None] < 27, flat(20), flat(230)),
}


@pytest.fixture(scope="module")
def bundled() -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(BUNDLED).items()}


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(reference.random_state(seed=3), path)
    return path


def network_of(relu: bool = True, weights: str = str(BUNDLED)) -> D2Network:
    """Built once for all tests of this module."""
    return built(relu, weights)


@functools.cache
def built(relu: bool, weights: str) -> D2Network:
    state = {name: tensor.float() for name, tensor in load_file(weights).items()}
    return D2Network(state, relu)


@functools.cache
def extractor_of(
    method: type[D2SingleScale], weights: str = str(BUNDLED), relu: bool = True, **options
) -> D2SingleScale:
    """A method on the one network of its weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("methods.d2net.method.D2Network", lambda *_: network_of(relu, weights))
        return method(D2Config(weights=weights, relu=relu, **options), Runtime())


@pytest.fixture(scope="module", autouse=True)
def forget() -> Iterator[None]:
    yield
    extractor_of.cache_clear()
    built.cache_clear()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on a busy machine take many times as long."""
    with threads(1):
        yield


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_agrees(
    found: Features, state: dict[str, torch.Tensor], image: np.ndarray, scales, **options
) -> borderline.Comparison:
    """The features are the reference's for ``image``."""
    edges = {k: options.pop(k) for k in ("max_edge", "max_sum_edges") if k in options}
    resized = reference.resize(image, **edges)
    to_image = image.shape[0] / resized.shape[0], image.shape[1] / resized.shape[1]
    pixels = reference.preprocess(resized, options.get("preprocessing", "caffe"))
    pyramid = list(reference.levels(state, pixels, scales, options.get("relu", True)))
    expected = reference.extract_levels(pyramid, to_image)
    assert found.image_size == (image.shape[1], image.shape[0])
    return borderline.assert_same(found, expected, borderline.limits(pyramid), to_image)


# The whole extraction against the reference


# Noise of either shape, a photo, flat parts alone and beside others, and ties.
FEW = {
    D2SingleScale: ("noise, odd", "noise, narrow", "photo", "two grey levels", "black", "one edge"),
    D2MultiScale: ("photo", "one edge"),
}


@pytest.mark.parametrize(
    ("image", "method"),
    [
        pytest.param(image, method, marks=[] if image in few else pytest.mark.slow)
        for method, few in FEW.items()
        for image in IMAGES
    ],
)
def test_same_as_reference(method, image, bundled):
    pixels = IMAGES[image]()
    found = extractor_of(method).extract(pixels)
    assert len(found) > 5
    assert_agrees(found, bundled, pixels, SCALES[method])


# Each two values of two options stand in one of the first four.
OPTIONS = [
    ("bundled", "caffe", True),
    ("bundled", "torch", False),
    ("random", "caffe", False),
    ("random", "torch", True),
    ("bundled", "caffe", False),
    ("bundled", "torch", True),
    ("random", "caffe", True),
    ("random", "torch", False),
]


@pytest.mark.parametrize(
    ("method", "weights", "preprocessing", "relu"),
    [
        *((D2SingleScale, *options) for options in (*OPTIONS[:2], OPTIONS[3])),
        (D2MultiScale, *OPTIONS[2]),  # levels are added up below zero, too
        *(
            pytest.param(D2MultiScale, *options, marks=pytest.mark.slow)
            for options in (*OPTIONS[:2], *OPTIONS[3:])
        ),
    ],
)
def test_same_as_reference_under_every_option(
    method, weights, preprocessing, relu, bundled, random_weights
):
    image = photo(45, 58) if method is D2MultiScale else photo(64, 82)
    options = {"preprocessing": preprocessing, "relu": relu}
    path = str(BUNDLED if weights == "bundled" else random_weights)
    state = bundled if weights == "bundled" else load_file(random_weights)
    found = extractor_of(method, path, **options).extract(image)
    assert len(found) > 20
    assert_agrees(found, state, image, SCALES[method], **options)


@FIRST
def test_same_as_reference_on_noise_through_random_weights(method, random_weights):
    image = noise(45, 62, seed=5)
    found = extractor_of(method, str(random_weights)).extract(image)
    assert_agrees(found, load_file(random_weights), image, SCALES[method])


@FIRST
def test_same_as_reference_on_hpatches(method, bundled):
    if not HPATCHES_IMAGE.exists():
        pytest.skip(f"no HPatches data at {HPATCHES_IMAGE}")
    image = read_image(HPATCHES_IMAGE)[200:264, 300:381]
    found = extractor_of(method).extract(image)
    assert len(found) > 30
    assert_agrees(found, bundled, image, SCALES[method])


@FIRST
def test_same_as_reference_when_the_image_is_shrunk_twice(method, bundled):
    image = photo(90, 121)
    edges = {"max_edge": 85, "max_sum_edges": 120}
    found = extractor_of(method, **edges).extract(image)
    assert len(found) > 20
    assert found.keypoints[:, 0].max() > 85  # in pixels of the image as it was given
    assert_agrees(found, bundled, image, SCALES[method], **edges)


def test_the_comparison_sees_what_is_wrong(bundled):
    image = photo(52, 66)
    pyramid = list(reference.levels(bundled, reference.preprocess(image), (0.5, 1, 2), True))
    expected = reference.extract_levels(pyramid)
    doubts = borderline.limits(pyramid)
    certain = [doubts[i].certain[c, y, x].item() for i, c, y, x in expected.cells]
    assert np.mean(certain) > 0.97  # else it would excuse anything
    assert sum(int(d.possible.sum()) for d in doubts) < 1.05 * len(expected.cells)

    def features(keep=slice(None), move=0.0, turn=0.0):
        return Features(
            expected.keypoints[keep] + np.float32(move),
            expected.scores[keep],
            np.roll(expected.descriptors[keep], int(turn), axis=1),
            (image.shape[1], image.shape[0]),
            expected.scales[keep],
        )

    assert len(borderline.assert_same(features(), expected, doubts).pairs) == len(expected.cells)
    with pytest.raises(AssertionError, match="lost"):
        borderline.compare(features(np.array(certain).cumsum() != 5), expected, doubts)
    with pytest.raises(AssertionError, match="lost"):
        borderline.compare(features(move=0.1), expected, doubts)
    with pytest.raises(AssertionError, match="lost"):
        borderline.compare(features(turn=1), expected, doubts)
    twice = np.sort(np.r_[np.arange(len(certain)), 7])
    with pytest.raises(AssertionError, match="extra"):
        borderline.compare(features(twice), expected, doubts)
    with pytest.raises(AssertionError, match="order"):
        borderline.compare(features(np.arange(len(certain))[::-1]), expected, doubts)


def test_features_are_ordered_and_scaled_as_the_authors_do(bundled):
    image = photo(36, 45)
    found = extractor_of(D2MultiScale).extract(image)
    assert found.scales is not None
    assert list(dict.fromkeys(found.scales.tolist())) == [2, 1, 0.5]
    assert (np.diff(found.scales) <= 0).all()
    assert np.abs(np.linalg.norm(found.descriptors, axis=1) - 1).max() < 1e-5
    single = extractor_of(D2SingleScale).extract(image)
    assert single.scales is not None
    assert (single.scales == 1).all()


# Strips, threads, order


@FIRST
def test_strips_give_the_features_of_the_whole_image(method, bundled):
    image = np.ascontiguousarray(photo(20, 200).swapaxes(0, 1))
    pixels = torch.from_numpy(preprocess(image, "caffe"))
    whole, cut = (
        Features(raw.keypoints, raw.scores, raw.descriptors, (20, 200), raw.scales)
        for raw in (
            extract_pyramid(network_of(), pixels, SCALES[method], strip_bytes)
            for strip_bytes in (2**40, 1)
        )
    )
    assert len(list(network_of().feature_rows(LevelImage(pixels, 1), 1))) > 1
    result = assert_agrees(cut, bundled, image, SCALES[method])
    assert len(result.pairs) == len(cut) == len(whole)
    assert np.abs(cut.keypoints - whole.keypoints).max() < 1e-3
    assert np.abs(cut.descriptors - whole.descriptors).max() < 1e-5


SIZES = [(8, 8), (11, 32), (32, 9), (33, 41), (64, 21), (110, 13), (300, 8)]
MORE_SIZES = [(65, 30), (255, 17)]


@pytest.mark.parametrize(
    ("size", "relu"),
    [
        *((size, True) for size in SIZES),
        *(pytest.param(size, True, marks=pytest.mark.slow) for size in MORE_SIZES),
        ((33, 41), False),
        pytest.param((110, 13), False, marks=pytest.mark.slow),
    ],
)
def test_streamed_rows_are_those_of_the_whole_map(size, relu, bundled):
    image = noise(*size)
    expected = reference.feature_map(bundled, reference.preprocess(image), relu).permute(1, 2, 0)
    assert tuple(expected.shape[:2]) == map_size(*size) == (size[0] // 4 - 1, size[1] // 4 - 1)
    pixels = LevelImage(torch.from_numpy(preprocess(image, "caffe")), 1)
    close = borderline.ACTIVATION_ERROR * float(expected.abs().max())
    for strip_bytes in (2**40, 1):
        found = list(network_of(relu).feature_rows(pixels, strip_bytes))
        assert len(found) == 1 if strip_bytes > 1 else len(found) > 2 or size[0] < 255
        assert torch.allclose(torch.cat(found), expected, rtol=0, atol=close)


@pytest.mark.parametrize("chunks", [[9], [1] * 9, [2, 1, 6], [5, 4], [1, 8], [8, 1], [3, 3, 3]])
def test_every_row_is_searched_once_with_its_neighbours(chunks):
    whole = torch.arange(9.0)[:, None, None].expand(9, 2, 3)
    searched = []
    for strip in strips(iter(whole.split(chunks)), 9):
        last = strip.first + len(strip.features)
        assert strip.height == 9
        assert torch.equal(strip.features, whole[strip.first : last])
        assert strip.first <= max(strip.start - 1, 0)
        assert last >= min(strip.stop + 1, 9)
        searched += range(strip.start, strip.stop)
    assert searched == list(range(9))


@FIRST
def test_thread_count_does_not_matter(method, bundled):
    image = photo(40, 49)
    extractor = extractor_of(method)
    for count in (1, 2):
        with threads(count):
            first, again = extractor.extract(image), extractor.extract(image)
        assert_agrees(first, bundled, image, SCALES[method])
        assert_identical(first, again)


@FIRST
def test_earlier_images_do_not_matter(method):
    image = photo(40, 49)
    extractor = extractor_of(method)
    first = extractor.extract(image)
    extractor.extract(noise(44, 60))
    extractor.extract(noise(5, 5))
    assert_identical(first, extractor.extract(image))
    fresh = method(D2Config(weights="bundled"), Runtime())
    assert_identical(first, fresh.extract(image))


def assert_identical(one: Features, other: Features) -> None:
    for name in ("keypoints", "scores", "descriptors", "scales"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


TINY = [(1, 1), (1, 60), (3, 50), (50, 3), (4, 4), (7, 7), (7, 30), (8, 8), (8, 40), (15, 15),
        (16, 16), (17, 9)]  # fmt: skip


FEW_TINY = ((1, 1), (3, 50), (4, 4), (7, 7), (8, 8), (17, 9))  # with and without cells at a level


@pytest.mark.parametrize(
    ("size", "method"),
    [
        *((size, D2SingleScale) for size in TINY),
        *(
            pytest.param(size, D2MultiScale, marks=[] if size in FEW_TINY else pytest.mark.slow)
            for size in TINY
        ),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else value.__name__,
)
def test_tiny_images(method, size, bundled):
    extractor = extractor_of(method)
    for image in (noise(*size), np.zeros((*size, 3), np.uint8)):
        found = extractor.extract(image)
        assert_agrees(found, bundled, image, SCALES[method])
        largest = min(size) * max(SCALES[method])
        assert (len(found) == 0) == (largest < 8)
        assert found.descriptors.shape == (len(found), CHANNELS)
        assert found.scales is not None


def test_input_is_left_alone():
    image = noise(20, 24)
    copy = image.copy()
    image.flags.writeable = False
    extractor = extractor_of(D2MultiScale)
    found = extractor.extract(image)
    assert np.array_equal(image, copy)
    assert_identical(found, extractor.extract(np.asfortranarray(image)))


# Detection and localization on maps made by hand


def strip_of(channels: dict[int, np.ndarray], start: int = 0, stop: int | None = None) -> Strip:
    """A whole map as one strip: the channels given, zeros elsewhere."""
    height, width = next(iter(channels.values())).shape
    features = torch.zeros(height, width, CHANNELS)
    for channel, values in channels.items():
        features[:, :, channel] = torch.from_numpy(np.asarray(values, np.float32))
    stop = height if stop is None else stop
    first, last = max(start - 1, 0), min(stop + 1, height)
    return Strip(features[first:last].contiguous(), first, start, stop, height)


def peak(height, width, i, j, top=100.0, a=3.0, b=3.0, c=0.0) -> np.ndarray:
    """top - a (y - i)^2 - b (x - j)^2 - c (y - i)(x - j)."""
    y, x = np.mgrid[:height, :width]
    return top - a * (y - i) ** 2 - b * (x - j) ** 2 - c * (y - i) * (x - j)


def cells_of(found) -> list[tuple[int, int, int]]:
    return list(zip(found.channel.tolist(), found.row.tolist(), found.column.tolist(), strict=True))


@pytest.mark.parametrize("offset", [(0, 0), (0.25, -0.125), (-0.4375, 0.125), (0.125, 0.4375)])
@pytest.mark.parametrize("cross", [0.0, 1.5, -2.0])
def test_quadratic_peak_is_found_where_it_is(offset, cross):
    i, j = 2 + offset[0], 3 + offset[1]
    values = peak(5, 7, i, j, c=cross)
    strip = strip_of({7: values})
    found = detect(strip)
    assert cells_of(found) == [(7, 2, 3)]
    assert found.score.tolist() == [np.float32(values[2, 3])]
    kept, position, _ = localize(found, strip)
    assert cells_of(kept) == [(7, 2, 3)]
    assert position[0].tolist() == pytest.approx([i, j], abs=1e-5)


def test_descriptor_is_the_bilinear_mean_then_normalised():
    y, x = np.mgrid[:5, :5]
    channels = {7: peak(5, 5, 2.25, 1.625), 11: 10.0 + 2 * y + 5 * x, 300: np.full((5, 5), 4.0)}
    strip = strip_of(channels)
    _, position, descriptors = localize(detect(strip), strip)
    assert position[0].tolist() == pytest.approx([2.25, 1.625], abs=1e-6)
    # Rows 2 and 3 weigh 0.75 and 0.25; columns 1 and 2 weigh 0.375 and 0.625.
    v = channels[7]
    mean = 0.75 * (0.375 * v[2, 1] + 0.625 * v[2, 2]) + 0.25 * (0.375 * v[3, 1] + 0.625 * v[3, 2])
    expected = np.zeros(CHANNELS)
    expected[[7, 11, 300]] = mean, 10 + 2 * 2.25 + 5 * 1.625, 4
    expected /= np.linalg.norm(expected)
    assert descriptors.shape == (1, CHANNELS)
    assert descriptors[0].numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "ratio, passes", [(1, True), (4.9, True), (5, True), (5.01, False), (10, False)]
)
def test_peaks_on_an_edge_are_rejected(ratio, passes):
    # With principal curvatures r : 1, tr^2 / det = (r + 1)^2 / r, which is 7.2 at r = 5.
    for a, b in ((ratio, 1.0), (1.0, ratio)):
        assert (cells_of(detect(strip_of({0: peak(5, 5, 2, 2, a=a, b=b)}))) != []) == passes


def test_a_rotated_edge_is_rejected():
    # Curvatures along the diagonals: 2 a + c and 2 a - c.
    assert cells_of(detect(strip_of({0: peak(5, 5, 2, 2, a=3, b=3, c=3.9)})))  # 9.9 : 2.1
    assert not cells_of(detect(strip_of({0: peak(5, 5, 2, 2, a=3, b=3, c=4.1)})))  # 10.1 : 1.9


def test_ridges_plateaus_and_constants_are_rejected():
    ridge = np.repeat([[1.0, 2, 3, 2, 1]], 5, axis=0)
    inside = {(0, row, column) for row in range(1, 4) for column in range(1, 4)}
    assert not inside & set(cells_of(detect(strip_of({0: ridge}))))
    assert not inside & set(cells_of(detect(strip_of({0: np.full((5, 5), 3.0)}))))
    assert cells_of(detect(strip_of({0: np.zeros((5, 5))}))) == []


def test_only_the_strongest_channel_of_a_cell_is_detected():
    weak = peak(5, 5, 2, 2)
    assert cells_of(detect(strip_of({3: weak, 200: weak + 1}))) == [(200, 2, 2)]
    # A higher channel without a peak there hides the cell.
    assert (3, 2, 2) not in cells_of(detect(strip_of({3: weak, 5: np.full((5, 5), 101.0)})))


def test_channels_that_tie_are_both_detected():
    values = peak(5, 5, 2, 2.25)
    strip = strip_of({3: values, 200: values, 400: values - 1})
    found = detect(strip)
    assert sorted(cells_of(found)) == [(3, 2, 2), (200, 2, 2)]
    kept, position, descriptors = localize(found, strip)
    assert len(kept.row) == 2
    assert torch.equal(position[0], position[1])
    assert torch.equal(descriptors[0], descriptors[1])


def test_cells_that_tie_are_both_detected_and_then_move_too_far():
    values = np.zeros((5, 6))
    values[2] = [0, 2, 4, 4, 2, 0]
    strip = strip_of({0: values})
    found = detect(strip)
    assert cells_of(found) == [(0, 2, 2), (0, 2, 3)]
    assert found.step[:, 1].tolist() == [0.5, -0.5]
    assert len(localize(found, strip)[0].row) == 0


@pytest.mark.parametrize(
    "beside, kept", [(3.9, True), (3.999, True), (4.0, False)], ids=["0.475", "below 0.5", "0.5"]
)
def test_steps_of_half_a_cell_are_rejected(beside, kept):
    values = np.zeros((5, 5))
    values[2, 1:4] = 2, 4, beside  # step = 0.5 (n - 2) / (8 - n - 2)
    for turned in (values, values.T, values[:, ::-1], values.T[::-1]):
        strip = strip_of({0: turned})
        found = detect(strip)
        assert (0, 2, 2) in cells_of(found)
        step = 0.5 * (beside - 2) / (6 - beside)
        assert found.step.abs().amax(dim=1)[0].item() == pytest.approx(step, abs=1e-6)
        assert ((0, 2, 2) in cells_of(localize(found, strip)[0])) == kept


def test_a_step_beyond_half_a_cell_through_the_cross_derivative_is_rejected():
    values = np.zeros((5, 5))
    values[1:4, 1:4] = [[0, 2, 0], [2, 4, 3.9], [0, 3.9, 3.9]]
    # d_ii = d_jj = 2 - 8 + 3.9, d_ij = 3.9 / 4, d_i = d_j = 1.9 / 2; along the diagonal the
    # curvature is d_ii + d_ij. Without d_ij the step would be 0.95 / 2.1 = 0.45.
    strip = strip_of({0: values})
    found = detect(strip)
    at = cells_of(found).index((0, 2, 2))
    assert found.step[at].tolist() == pytest.approx([0.95 / (2.1 - 0.975)] * 2, abs=1e-5)
    assert (0, 2, 2) not in cells_of(localize(found, strip)[0])


def test_peak_at_the_border_sees_zeros_outside():
    values = np.zeros((4, 5))
    values[0, 2], values[1, 2], values[0, 1], values[0, 3] = 4, 3, 1, 1
    strip = strip_of({0: values})
    found = detect(strip)
    # d_ii = 0 - 8 + 3, d_jj = 1 - 8 + 1, d_i = 1.5: tr^2 / det = 121 / 30.
    assert cells_of(found) == [(0, 0, 2)]
    assert found.step[0].tolist() == pytest.approx([0.3, 0])
    _, position, descriptors = localize(found, strip)
    assert position[0].tolist() == pytest.approx([0.3, 2])
    assert descriptors[0, 0] == pytest.approx(1)


def test_peak_in_the_corner_and_a_lone_cell():
    values = np.zeros((4, 4))
    values[3, 3] = 5
    strip = strip_of({9: values})
    kept, position, _ = localize(detect(strip), strip)
    assert cells_of(kept) == [(9, 3, 3)]
    assert position.tolist() == [[3, 3]]
    lone = strip_of({9: np.array([[5.0]])})
    assert localize(detect(lone), lone)[1].tolist() == [[0, 0]]


def test_step_out_of_the_map_is_rejected():
    values = np.zeros((3, 5))
    values[0, 1], values[0, 2], values[1, 3] = 2, 4, 2
    # d_ii = -8, d_jj = -6, d_ij = 0.5, d_i = 0, d_j = -1: step_i = -0.5 / 47.75
    for turned, axis, sign in (
        (values, 0, -1), (values[::-1], 0, 1), (values.T, 1, -1), (values.T[:, ::-1], 1, 1),
    ):  # fmt: skip
        strip = strip_of({0: turned})
        found = detect(strip)
        at = found.score.argmax()
        assert found.step[at, axis].item() == pytest.approx(sign * 0.5 / 47.75, abs=1e-6)
        assert 4 not in localize(found, strip)[0].score.tolist()


def test_strip_detects_in_its_own_rows_only():
    channels = {1: peak(12, 5, 5.25, 2), 2: peak(12, 5, 8.75, 2.125)}
    whole = strip_of(channels)
    assert cells_of(detect(whole)) == [(1, 5, 2), (2, 9, 2)]
    _, all_positions, all_descriptors = localize(detect(whole), whole)
    for start, stop, which in (
        (0, 5, []), (3, 6, [0]), (5, 6, [0]), (6, 9, []), (9, 12, [1]), (5, 10, [0, 1]),
    ):  # fmt: skip
        strip = strip_of(channels, start, stop)
        found, position, descriptors = localize(detect(strip), strip)
        assert cells_of(found) == [[(1, 5, 2), (2, 9, 2)][i] for i in which]
        assert torch.equal(position, all_positions[which])
        assert torch.equal(descriptors, all_descriptors[which])


def test_peaks_below_zero_are_detected_without_relu():
    values = np.full((5, 5), -9.0)
    values[2, 2] = -2
    features = torch.full((5, 5, CHANNELS), -50.0)
    features[:, :, 4] = torch.from_numpy(values).float()
    assert (4, 2, 2) in cells_of(detect(Strip(features, 0, 0, 5, 5)))


# Coordinates, resizing, preprocessing


def test_cells_to_pixels():
    assert cells_to_pixels(torch.tensor([0.0, 10.0, 0.25])).tolist() == [1.5, 41.5, 2.5]


@pytest.mark.parametrize(
    "before, after",
    [((5, 7), (11, 13)), ((5, 7), (12, 9)), ((1, 4), (6, 9)), ((4, 1), (9, 3)), ((3, 3), (1, 1)),
     ((6, 6), (6, 6)), ((1, 1), (3, 4)), ((9, 4), (5, 7))],
)  # fmt: skip
def test_resized_rows_are_those_of_the_whole_map(before, after):
    generator = torch.Generator().manual_seed(0)
    previous = torch.randn(*before, 6, generator=generator)
    whole = torch.nn.functional.interpolate(
        previous.permute(2, 0, 1)[None], size=after, mode="bilinear", align_corners=True
    )[0].permute(1, 2, 0)
    for first in range(after[0]):
        for last in range(first + 1, after[0] + 1):
            rows = resized_rows(previous, after, first, last)
            assert rows.shape == (last - first, after[1], 6)
            assert torch.allclose(rows, whole[first:last], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "size, expected",
    [
        ((4032, 3024), (1600, 1200)),
        ((3024, 4032), (1200, 1600)),
        ((1600, 1200), (1600, 1200)),
        ((1601, 100), (1600, 99)),  # 99.9 is cut
        ((1500, 1300), (1500, 1300)),
        ((1500, 1301), (1499, 1300)),  # 2801 > 2800: by 0.99964
        ((1700, 1690), (1404, 1395)),  # to 1600 x 1590.6, then by 2800 / 3190
        ((3200, 2), (1600, 1)),
    ],
)
def test_resize_to_limits(size, expected):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    height, width = resize_to_limits(image, 1600, 2800).shape[:2]
    assert (width, height) == expected


def test_resized_pixels_are_the_reference_s():
    image = noise(120, 171)
    for edges in ((1600, 2800), (100, 2800), (1600, 200), (150, 210)):
        assert np.array_equal(resize_to_limits(image, *edges), reference.resize(image, *edges))


def test_an_image_within_the_limits_is_not_touched():
    image = noise(12, 16)
    assert resize_to_limits(image, 16, 28) is image


def test_preprocessing():
    image = np.array([[[10, 20, 30], [255, 0, 128]]], np.uint8)
    caffe = preprocess(image, "caffe")
    assert caffe.shape == (1, 2, 3)
    assert caffe.dtype == np.float32
    expected = [30 - 103.939, 20 - 116.779, 10 - 123.68]  # blue, green, red
    assert caffe[0, 0] == pytest.approx(expected, abs=1e-5)
    expected = [(255 / 255 - 0.485) / 0.229, (0 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    assert preprocess(image, "torch")[0, 1] == pytest.approx(expected, abs=1e-6)
