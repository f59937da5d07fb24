"""D2-Net's architecture as data against the network itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

import d2net_reference as reference
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from d2eval.contracts.architecture import Architecture
from d2eval.contracts.method import Runtime, ScoreMap
from methods.d2net.method import D2Config, D2MultiScale, D2SingleScale
from methods.d2net.network import PREFIX, D2Network, layers
from methods.d2net.pyramid import LevelImage, cells_to_pixels, resize_to_limits
from methods.d2net.soft_detection import soft_scores
from methods.vgg16 import network
from methods.vgg16.layers import THROUGH_CONV4
from methods.vgg16.preprocessing import preprocess


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return reference.random_state(seed=5)


@pytest.fixture(scope="module")
def net(state: dict[str, torch.Tensor]) -> D2Network:
    return D2Network(state)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, state: dict[str, torch.Tensor]) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(state, path)
    return path


def described(size: tuple[int, int], method=D2MultiScale, **options) -> Architecture:
    found = method.architecture(D2Config(**options), size)
    assert found is not None
    return found


@torch.inference_mode()
def outputs(net: D2Network, image: torch.Tensor) -> Iterator[torch.Tensor]:
    """The (rows, width, channels) output of every stage of the network, one after the other."""
    x = image
    for _, stage in net.stages():
        x = stage.push(x, True)
        yield x


@pytest.mark.parametrize("size", [(96, 80), (67, 91), (30, 17)])
def test_sizes_and_channels_of_every_layer(net, size):
    traced = described(size).trace()
    image = torch.rand(size[1], size[0], 3)
    real = [tuple(x.shape) for x in outputs(net, image)]
    assert [(t.size[1], t.size[0], t.layer.outputs) for t in traced] == real


@pytest.mark.parametrize("upright", [False, True], ids=["columns", "rows"])
def test_receptive_fields_of_every_layer(monkeypatch, upright):
    """Which outputs a single pixel reaches, measured at four neighbouring pixels (the stride is 4).

    With positive weights nothing cancels, and zero stays exactly zero in direct convolutions.
    """
    monkeypatch.setattr(network, "WINOGRAD_MIN_CHANNELS", 10**6)
    positive = {}
    for _, index, inputs, channels in THROUGH_CONV4:
        weight = torch.full((channels, inputs, 3, 3), 1 / (3 * inputs))
        positive[f"{PREFIX}{index}.weight"] = weight
        positive[f"{PREFIX}{index}.bias"] = torch.zeros(channels)
    net = D2Network(positive)
    traced = described((136, 24)).trace()
    offsets: list[set[int]] = [set() for _ in traced]
    for pixel in range(64, 68):
        image = torch.zeros((136, 24, 3) if upright else (24, 136, 3))
        image[(pixel, 12) if upright else (12, pixel)] = 1
        for item, seen, x in zip(traced, offsets, outputs(net, image), strict=True):
            cells = x.amax(dim=(1, 2) if upright else (0, 2)).nonzero()[:, 0]
            seen.update(pixel - item.jump * int(cell) for cell in cells)
    measured = [max(seen) - min(seen) + 1 for seen in offsets]
    assert measured == [item.receptive_field for item in traced]
    assert measured[-1] == 92


def test_parameters_are_those_of_the_state(state):
    found = described((640, 480))
    assert found.parameters == sum(tensor.numel() for tensor in state.values()) == 7635264
    convolutions = [layer for layer in found.layers if layer.kind == "convolution"]
    for layer, (name, index, *_) in zip(convolutions, THROUGH_CONV4, strict=True):
        tensors = [state[f"{PREFIX}{index}.{part}"] for part in ("weight", "bias")]
        assert (layer.name, layer.parameters) == (name, sum(t.numel() for t in tensors))
        assert tuple(tensors[0].shape) == (layer.outputs, layer.inputs, layer.kernel, layer.kernel)


def test_operations_and_levels():
    conv4_2 = next(t for t in described((640, 480)).trace() if t.layer.name == "conv4_2")
    assert conv4_2.flop == 2 * (512 * 512 * 3 * 3) * (159 * 119)  # by hand
    for size in ((640, 480), (123, 77)):
        scales = D2MultiScale.scales
        levels = [LevelImage(torch.zeros(size[1], size[0], 3), scale).size for scale in scales]
        sizes = [level.size[::-1] for level in described(size).levels]
        assert sizes == levels


def test_dilations_and_relus():
    def dilated(relu: bool) -> list[str]:
        return [layer.name for layer in layers(relu) if layer.dilation == 2]

    def linear(relu: bool) -> list[str]:
        convolutions = [layer for layer in layers(relu) if layer.kind == "convolution"]
        return [layer.name for layer in convolutions if not layer.relu]

    assert dilated(True) == ["conv4_1", "conv4_2", "conv4_3"]
    assert (linear(True), linear(False)) == ([], ["conv4_3"])
    assert described((64, 48), relu=False).layers == layers(False)


def test_single_and_multi_scale():
    single, multi = described((64, 48), D2SingleScale), described((64, 48))
    assert [level.size for level in single.levels] == [(64, 48)]
    assert [level.size for level in multi.levels] == [(32, 24), (64, 48), (128, 96)]
    assert not single.fusion and multi.fusion
    names = [step.name for step in single.steps]
    assert set(names) == {step.name for step in multi.steps} - {"Coarse to fine"}


@pytest.mark.parametrize("size", [(2000, 1000), (1500, 1400), (3000, 2900), (5000, 2)])
def test_limits_on_edges_are_the_extractors(size):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    found = described(size)
    assert found.image_size == size
    assert found.input_size == resize_to_limits(image, 1600, 2800).shape[1::-1]


@pytest.fixture
def score_map(net, weights, monkeypatch) -> Callable[..., ScoreMap | None]:
    monkeypatch.setattr("methods.d2net.method.D2Network", lambda *_: net)

    def of(image: np.ndarray, **options) -> ScoreMap | None:
        return D2SingleScale(D2Config(weights=str(weights), **options), Runtime()).score_map(image)

    return of


def test_the_score_map(state, score_map):
    image = np.random.default_rng(0).integers(0, 256, (72, 90, 3), dtype=np.uint8)
    pixels = torch.from_numpy(preprocess(image, "caffe")).permute(2, 0, 1)[None]
    dense = reference.feature_map(state, pixels, True)
    found = score_map(image)
    assert found is not None
    np.testing.assert_allclose(found.values, soft_scores(dense[None])[0], rtol=1e-3)
    first, second = (float(cells_to_pixels(torch.tensor(float(cell)))) for cell in (0, 1))
    assert (found.origin, found.step) == ((first, first), (second - first, second - first))


def test_the_score_map_of_a_shrunk_image_lies_over_the_whole_one(score_map):
    image = np.random.default_rng(1).integers(0, 256, (80, 160, 3), dtype=np.uint8)
    found = score_map(image, max_edge=80)
    assert found is not None
    assert found.values.shape == (9, 19)
    assert (found.origin, found.step) == ((3, 3), (8, 8))


def test_the_score_map_of_an_image_without_a_cell(score_map):
    assert score_map(np.zeros((7, 60, 3), np.uint8)) is None
