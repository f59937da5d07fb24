"""Flat image regions: the network's outputs are equal there to the last bit, and hold no keypoint.

Images are built from constant areas of several values and shapes, alone, around photos and around
noise, at sizes that are no multiples of a tile.
"""

import functools
from collections.abc import Callable, Iterator

import d2net_borderline as borderline
import d2net_reference as reference
import numpy as np
import pytest
import torch
from places import DATA, REPOSITORY
from safetensors.torch import load_file
from scipy import ndimage

from d2eval.contracts.method import Runtime
from d2eval.foundation.images.decoding import read_image
from methods.d2net.method import D2Config, D2MultiScale, D2SingleScale
from methods.d2net.network import D2Network
from methods.d2net.pyramid import LevelImage, resized_rows
from methods.vgg16 import network
from methods.vgg16.network import PRECISIONS
from methods.vgg16.preprocessing import preprocess

BUNDLED = REPOSITORY / "methods/d2net/weights/d2_vgg16_hed_fp16.safetensors"
PHOTOS = REPOSITORY / "benchmarks/sample/photos"
WEBCAM = DATA / "hpatches-sequences-release/i_chamonix/2.png"
# A cell of D2-Net's map sees the pixels from 42 before 4 * cell to 49 after it.
BEFORE, AFTER = 42, 49

Image = np.ndarray


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on a busy machine take many times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain(height: int, width: int, colour: tuple[int, int, int]) -> Image:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(name: str, top: int, left: int, height: int, width: int) -> Image:
    return read_image(PHOTOS / f"{name}.jpg")[top : top + height, left : left + width]


def framed(inner: Image, rows: tuple[int, int], columns: tuple[int, int], value: int) -> Image:
    return np.pad(inner, (rows, columns, (0, 0)), constant_values=value)


def half(inner: Image, colour: tuple[int, int, int], upright: bool) -> Image:
    image = inner.copy()
    if upright:
        image[:, 60:] = colour
    else:
        image[60:] = colour
    return image


def stripes(height: int, width: int, wide: int) -> Image:
    """Upright ones, as wide as a tile of a layer or wider than all that a cell sees."""
    dark = (np.arange(width) // wide % 2 == 0)[None, :, None]
    return np.where(dark, plain(height, width, (20, 9, 70)), plain(height, width, (200, 180, 90)))


def turned(image: Image) -> Image:
    return np.ascontiguousarray(image.swapaxes(0, 1))


def night() -> Image:
    dark = photo("astronaut", 60, 60, 70, 80).astype(int) - 140
    return framed(dark.clip(0, 255).astype(np.uint8), (60, 60), (50, 30), 0)


def overexposed() -> Image:
    """A bright disc on a photo, as a lamp or the sun."""
    image = photo("coffee", 20, 60, 230, 250).copy()
    y, x = np.ogrid[:230, :250]
    image[(y - 110) ** 2 + (x - 120) ** 2 < 95**2] = 255
    return image


FLAT: dict[str, Callable[[], Image]] = {
    "black": lambda: plain(138, 150, (0, 0, 0)),
    "white": lambda: plain(163, 181, (255, 255, 255)),
    "a colour": lambda: plain(201, 150, (13, 200, 90)),
    "half a photo": lambda: half(photo("chelsea", 40, 40, 170, 222), (255, 255, 255), True),
    "below noise": lambda: half(noise(190, 150), (200, 30, 60), False),
    "letterbox": lambda: framed(photo("astronaut", 60, 100, 60, 150), (113, 110), (0, 0), 0),
    "pillarbox": lambda: framed(photo("chelsea", 90, 90, 140, 60), (0, 0), (107, 120), 255),
    "frame": lambda: framed(photo("coffee", 90, 90, 50, 60), (99, 94), (101, 97), 137),
    "corner": lambda: framed(photo("coffee", 90, 90, 30, 36), (172, 0), (0, 114), 137),
    "stripes of 4": lambda: stripes(150, 170, 4),
    "stripes of 16": lambda: turned(stripes(170, 150, 16)),
    "stripes of 32": lambda: stripes(151, 190, 32),
    "stripes of 110": lambda: turned(stripes(165, 230, 110)),
    "night": night,
    "overexposed": overexposed,
}
ALL = pytest.mark.parametrize("name", FLAT)


def few_of_all(*few: str) -> pytest.MarkDecorator:
    """All of them, but by default a few alone."""
    names = [pytest.param(name, marks=[] if name in few else pytest.mark.slow) for name in FLAT]
    return pytest.mark.parametrize("name", names)


@functools.cache
def weights() -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(BUNDLED).items()}


@functools.cache
def network_of(precision: str) -> D2Network:
    """Of one thread."""
    return D2Network(weights(), precision=PRECISIONS[precision])


@functools.cache
def map_of_the_corner() -> torch.Tensor:
    """By one thread, in one strip."""
    return features_of(FLAT["corner"]())


@functools.cache
def extractor_of(method: type[D2SingleScale]) -> D2SingleScale:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("methods.d2net.method.D2Network", lambda *_: network_of("fp32"))
        return method(D2Config(weights="bundled"), Runtime())


@pytest.fixture(scope="module", autouse=True)
def forget() -> Iterator[None]:
    yield
    for cached in (weights, network_of, map_of_the_corner, extractor_of):
        cached.cache_clear()


def sees_no_change_along_rows(image: Image, cells: tuple[int, int]) -> np.ndarray:
    """(h, w): whether a cell and its left neighbour see the same, pixel by pixel.

    They do where each row that they see is constant and they see nothing beside the image; above
    and below it, they see the same zeros.
    """
    same = np.zeros(cells, bool)
    for i in range(cells[0]):
        rows = image[max(4 * i - BEFORE, 0) : 4 * i + AFTER + 1]
        for j in range(1, cells[1]):
            first, last = 4 * (j - 1) - BEFORE, 4 * j + AFTER
            if first >= 0 and last < image.shape[1]:
                same[i, j] = (rows[:, first : last + 1] == rows[:, first : first + 1]).all()
    return same


def assert_flat_where_the_image_is(features: torch.Tensor, image: Image) -> int:
    """How many pairs of neighbours were found equal, to the last bit."""
    pairs = 0
    for of_map, of_image in ((features, image), (features.transpose(0, 1), turned(image))):
        same = sees_no_change_along_rows(of_image, tuple(of_map.shape[:2]))
        equal = (of_map[:, 1:] == of_map[:, :-1]).all(dim=2).numpy()
        assert equal[same[:, 1:]].all(), f"{(~equal[same[:, 1:]]).sum()} of {same.sum()} differ"
        pairs += int(same.sum())
    return pairs


def features_of(image: Image, precision: str = "fp32", strip_bytes: int = 2**40) -> torch.Tensor:
    level = LevelImage(torch.from_numpy(preprocess(image, "caffe")), 1)
    return torch.cat(list(network_of(precision).feature_rows(level, strip_bytes)))


# Of a constant image, of half a photo, of flat parts on two sides, of edges, and of many parts.
@few_of_all("black", "half a photo", "corner", "stripes of 16", "night")
def test_the_map_is_flat_where_the_image_is(name):
    image = FLAT[name]()
    assert assert_flat_where_the_image_is(features_of(image), image) > 40


@pytest.mark.parametrize(
    "threads, strip_bytes",
    [(2, 1), *(pytest.param(*both, marks=pytest.mark.slow) for both in ((1, 1), (2, 2**40)))],
)
def test_strips_and_threads_do_not_matter(strip_bytes, threads):
    image = FLAT["corner"]()
    whole = map_of_the_corner()
    torch.set_num_threads(threads)
    net = network_of("fp32") if threads == 1 else D2Network(weights())
    level = LevelImage(torch.from_numpy(preprocess(image, "caffe")), 1)
    strips = list(net.feature_rows(level, strip_bytes))
    assert len(strips) > 1 or strip_bytes > 1
    found = torch.cat(strips)
    assert_flat_where_the_image_is(found, image)
    # The plateau has the same value as in one strip, by one thread.
    flat = sees_no_change_along_rows(image, tuple(whole.shape[:2]))
    flat &= sees_no_change_along_rows(turned(image), tuple(whole.shape[1::-1])).T
    assert flat.any()
    assert torch.equal(found[flat], whole[flat])


def test_the_same_colour_gives_the_same_value_in_every_image():
    centre = [features_of(plain(h, w, (9, 80, 200)))[14, 15] for h, w in ((120, 125), (133, 150))]
    assert torch.equal(*centre)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_in_half_precision(precision):
    image = FLAT["letterbox"]()
    assert assert_flat_where_the_image_is(features_of(image, precision), image) > 40


@pytest.mark.slow
def test_in_direct_convolutions(monkeypatch):
    monkeypatch.setattr(network, "WINOGRAD_MIN_CHANNELS", 10**6)
    image = FLAT["corner"]()
    net = D2Network(weights())
    level = LevelImage(torch.from_numpy(preprocess(image, "caffe")), 1)
    for strip_bytes in (1, 2**40):
        found = torch.cat(list(net.feature_rows(level, strip_bytes)))
        assert assert_flat_where_the_image_is(found, image) > 40


def test_whatever_the_convolutions_make_of_it(monkeypatch):
    """Outputs that depend on their place are mended, as of a device whose rounding is unknown."""
    exact = network.direct_convolution

    def uneven(*layer):
        convolve = exact(*layer)

        def disturbed(x):
            y = convolve(x)
            return y * (1 + 1e-5 * torch.rand(y.shape, generator=torch.Generator().manual_seed(1)))

        return disturbed

    monkeypatch.setattr(network, "WINOGRAD_MIN_CHANNELS", 10**6)
    monkeypatch.setattr(network, "direct_convolution", uneven)
    image = FLAT["pillarbox"]()
    net = D2Network(weights())
    level = LevelImage(torch.from_numpy(preprocess(image, "caffe")), 1)
    found = torch.cat(list(net.feature_rows(level, 2**40)))
    assert assert_flat_where_the_image_is(found, image) > 40


def flat_pixels(image: Image, radius: int) -> np.ndarray:
    """(H, W): whether all pixels within ``radius`` (a square) are equal and in the image."""
    size = (2 * radius + 1, 2 * radius + 1, 1)
    same = (ndimage.maximum_filter(image, size) == ndimage.minimum_filter(image, size)).all(axis=2)
    inside = np.zeros_like(same)
    inside[radius : len(same) - radius, radius : same.shape[1] - radius] = True
    return same & inside


def assert_same_features(method: type[D2SingleScale], image: Image, radius: int) -> None:
    """The reference's features, and none where cells and their neighbours see one colour only.

    There an exact computation has no keypoint, since the determinant of the Hessian is 0. At the
    rim of a plateau, neighbours differ by a few units in the last place, and the reference's
    float32 and float64 differ, too; each feature that differs is shown to be such a case.
    """
    scales = method.scales
    pyramid = list(reference.levels(weights(), reference.preprocess(image), scales, True))
    expected = reference.extract_levels(pyramid)
    found = extractor_of(method).extract(image)
    # A keypoint lies 2 px before the centre of what it sees.
    x, y = (found.keypoints + 2).round().astype(int).T
    inside = (y < image.shape[0]) & (x < image.shape[1])
    assert not flat_pixels(image, radius)[y[inside], x[inside]].any()
    result = borderline.compare(found, expected, borderline.limits(pyramid))
    differing = len(result.lost) + len(result.extra) + len(result.far)
    assert differing <= max(len(expected.cells) // 20, 1)


@few_of_all("corner")
def test_keypoints_are_the_reference_s(name):
    # Half of what a cell and its neighbours see, and the two pixels of the rounded place.
    assert_same_features(D2SingleScale, FLAT[name](), (BEFORE + AFTER + 1) // 2 + 4 + 2)


def test_keypoints_of_the_pyramid_are_the_reference_s():
    image = half(photo("chelsea", 40, 40, 60, 100), (0, 0, 0), True)
    assert_same_features(D2MultiScale, image, 2 * (BEFORE + AFTER + 1) // 2 + 14)


@pytest.mark.slow
@ALL
def test_keypoints_of_every_pyramid_are_the_reference_s(name):
    assert_same_features(D2MultiScale, FLAT[name](), 2 * (BEFORE + AFTER + 1) // 2 + 14)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["as it is", "saturated"])
def test_keypoints_of_a_webcam_are_the_reference_s(change):
    if not WEBCAM.exists():
        pytest.skip(f"no HPatches data at {WEBCAM}")
    image = read_image(WEBCAM)[:200, 170:410]
    if change == "saturated":
        image = (image.astype(int) * 3).clip(0, 255).astype(np.uint8)
    assert_same_features(D2SingleScale, image, (BEFORE + AFTER + 1) // 2 + 4 + 2)


def test_an_enlarged_constant_is_constant():
    whole = torch.full((13, 17, 5), 0.1) * torch.tensor([1, 3.3, -7.7, 1e3, 1e-6])
    for size in ((26, 34), (19, 23), (6, 8), (53, 101)):
        assert torch.equal(resized_rows(whole, size, 0, size[0]), whole[:1, :1].expand(*size, 5))
    rows = torch.rand(13, 1, 5).expand(13, 17, 5)
    wide = resized_rows(rows, (26, 34), 0, 26)
    assert torch.equal(wide, wide[:, :1].expand_as(wide))
