"""DELF with a checkpoint of random values: its network by the names of TensorFlow-Slim."""

import copy

import numpy as np
import pytest
import torch
from tensorbundle_files import checkpoint, write_archive
from torch.nn import functional

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from methods.modern.delf import SCALES, Delf, DelfConfig, DelfNew, Network
from methods.modern.networks import load_into
from methods.modern.tensorflow import load_variables, resized

BLOCKS = ((1, 64, 3), (2, 128, 4), (3, 256, 6))


def authors_variables() -> dict[str, tuple[int, ...]]:
    """Names and shapes of ``delf_v1.py``'s graph: ResNet-50 to block 3, and attention."""
    convolutions = {"resnet_v1_50/conv1": (7, 7, 3, 64)}
    inputs = 64
    for block, inner, units in BLOCKS:
        for unit in range(1, units + 1):
            scope = f"resnet_v1_50/block{block}/unit_{unit}/bottleneck_v1"
            if unit == 1:
                convolutions[f"{scope}/shortcut"] = (1, 1, inputs, 4 * inner)
            convolutions[f"{scope}/conv1"] = (1, 1, inputs, inner)
            convolutions[f"{scope}/conv2"] = (3, 3, inner, inner)
            convolutions[f"{scope}/conv3"] = (1, 1, inner, 4 * inner)
            inputs = 4 * inner
    attention = "attention_block/attention/compute"
    convolutions[f"{attention}/conv1"] = (1, 1, 1024, 512)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in convolutions.items():
        shapes[f"{name}/weights"] = shape
        for kind in ("beta", "gamma", "moving_mean", "moving_variance"):
            shapes[f"{name}/BatchNorm/{kind}"] = shape[-1:]
    return {
        **shapes, f"{attention}/conv2/weights": (1, 1, 512, 1), f"{attention}/conv2/biases": (1,),
    }  # fmt: skip


@pytest.fixture(scope="module")
def variables():
    generator = np.random.default_rng(0)
    found = {}
    for name, shape in authors_variables().items():
        values = generator.standard_normal(shape, np.float32)
        if name.endswith("weights"):
            values *= (2 / np.prod(shape[:3])) ** 0.5
        elif name.endswith(("gamma", "variance")):
            values = (1 + 0.2 * np.tanh(values)) * (0.5 if "conv3" in name else 1)
        found[name] = (values * (0.1 if name.endswith(("beta", "mean")) else 1)).astype(np.float32)
    found["attention_block/attention/compute/conv2/weights"] *= 0.75  # about 25
    return found


@pytest.fixture(scope="module")
def archive(variables, tmp_path_factory):
    files = checkpoint({**variables, "global_step": np.array(7, np.int64)}, snappy=True)
    folder = "delf_v1_20171026/model/variables/variables"
    path = tmp_path_factory.mktemp("delf") / "delf_v1_20171026.tar.gz"
    content = {f"{folder}{suffix}": data for suffix, data in files.items()}
    return write_archive(path, content, "w")


@pytest.fixture(scope="module")
def method(archive):
    return Delf(DelfConfig(weights=str(archive)), Runtime())


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(1).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    return np.ascontiguousarray(noise.repeat(8, axis=0).repeat(8, axis=1)[:53, :82])


def plain(variables, pixels):
    """(h, w, 1024) features and (h, w) attention, as TensorFlow-Slim computes them."""

    def convolved(maps, scope, stride=1):
        weights = torch.from_numpy(variables[f"{scope}/weights"]).permute(3, 2, 0, 1)
        around = (weights.shape[2] - 1) // 2
        maps = functional.conv2d(functional.pad(maps, [around] * 4), weights, stride=stride)
        beta, gamma, mean, variance = (
            torch.from_numpy(variables[f"{scope}/BatchNorm/{kind}"])[:, None, None]
            for kind in ("beta", "gamma", "moving_mean", "moving_variance")
        )
        return (maps - mean) / (variance + 1e-5).sqrt() * gamma + beta

    maps = convolved(pixels, "resnet_v1_50/conv1", 2).relu()
    # "SAME" for windows of 3, 2 apart: what they have too much is shared out, the odd pixel last
    height, width = maps.shape[2:]
    pooled = torch.zeros(1, 64, -(-height // 2), -(-width // 2))
    first = [max((-(-side // 2) - 1) * 2 + 3 - side, 0) // 2 for side in (height, width)]
    for i in range(pooled.shape[2]):
        for j in range(pooled.shape[3]):
            y, x = 2 * i - first[0], 2 * j - first[1]
            window = maps[:, :, max(y, 0) : y + 3, max(x, 0) : x + 3]
            pooled[:, :, i, j] = window.amax(dim=(2, 3))
    maps = pooled
    for block, _, units in BLOCKS:
        for unit in range(1, units + 1):
            scope, stride = f"resnet_v1_50/block{block}/unit_{unit}/bottleneck_v1", 1
            stride = 2 if unit == units else 1
            beside = maps[:, :, ::stride, ::stride]
            if unit == 1:
                beside = convolved(maps, f"{scope}/shortcut", stride)
            inner = convolved(maps, f"{scope}/conv1").relu()
            inner = convolved(inner, f"{scope}/conv2", stride).relu()
            maps = (beside + convolved(inner, f"{scope}/conv3")).relu()
    scope = "attention_block/attention/compute"
    scores = convolved(maps, f"{scope}/conv1").relu()[0].permute(1, 2, 0)
    scores = scores @ torch.from_numpy(variables[f"{scope}/conv2/weights"][0, 0, :, 0])
    scores = (1 + (scores + variables[f"{scope}/conv2/biases"][0]).double().exp()).log()
    return maps[0].permute(1, 2, 0), scores.float()


@pytest.mark.parametrize("size", [(65, 98), (64, 33), (30, 1)])
def test_the_network_is_slims(variables, archive, size):
    network = Network()
    network.load_state_dict(load_variables(archive), strict=False)
    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.inference_mode():
        maps, attention = network.eval()(pixels)
        expected = plain(variables, pixels)
    assert maps.shape == (1024, -(-size[0] // 32), -(-size[1] // 32))
    assert torch.allclose(maps.permute(1, 2, 0), expected[0], atol=1e-3, rtol=1e-3)
    assert torch.allclose(attention, expected[1], atol=1e-3, rtol=1e-3)


def test_every_variable_is_used_and_none_is_missing(archive, tmp_path):
    state = load_variables(archive)
    assert state.keys() == {n for n in Network().state_dict() if "num_batches" not in n}
    scope = "resnet_v1_50.block2.unit_1.bottleneck_v1.conv2"
    for reason, changed in {
        "size mismatch": {**state, f"{scope}.weight": torch.zeros(128, 64, 3, 3)},
        f"it lacks {scope}": {n: v for n, v in state.items() if n != f"{scope}.BatchNorm.bias"},
    }.items():
        with pytest.raises(D2EvalError, match=f"weights of another network.*{reason}"):
            load_into(Network(), changed, archive, "cpu")
    left = {"resnet_v1_50/block4/unit_1/weights": np.zeros(2, np.float32)}
    for suffix, data in checkpoint(left).items():
        (tmp_path / f"m{suffix}").write_bytes(data)
    with pytest.raises(D2EvalError, match=r"m\.index: weights of another.*has resnet_v1_50.block4"):
        Delf(DelfConfig(weights=str(tmp_path / "m.index")), Runtime())


def test_resizing_pixel_by_pixel():
    maps = torch.rand(1, 2, 7, 5, generator=torch.Generator().manual_seed(3))
    for height, width in ((10, 3), (3, 9), (7, 5), (1, 1)):
        found = resized(maps, (height, width))
        assert found.shape == (1, 2, height, width)
        for i in range(height):
            for j in range(width):
                y, x = i * 7 / height, j * 5 / width
                a, b = int(y), int(x)
                c, d = min(a + 1, 6), min(b + 1, 4)
                above = maps[0, :, a, b] * (b + 1 - x) + maps[0, :, a, d] * (x - b)
                below = maps[0, :, c, b] * (b + 1 - x) + maps[0, :, c, d] * (x - b)
                expected = above * (a + 1 - y) + below * (y - a)
                assert torch.allclose(found[0, :, i, j], expected, atol=1e-5)


def test_features_scale_by_scale(method, variables, image):
    found = method.extract(image)
    height, width = image.shape[:2]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 128 - 1
    expected, below = [], 0
    for scale in SCALES:
        size = round(height * scale), round(width * scale)
        maps, attention = plain(variables, resized(pixels, size))
        for i, j in np.ndindex(*attention.shape):
            if attention[i, j] >= 25:
                place = min(32 * j / scale, width - 0.5), min(32 * i / scale, height - 0.5)
                expected.append((float(attention[i, j]), 1 / scale, place, maps[i, j]))
            else:
                below += 1
    assert below > 5
    expected.sort(key=lambda feature: -feature[0])
    scores, scales, places, maps = zip(*expected, strict=True)
    assert len(set(scales)) > 3
    few = copy.copy(method)
    few._config = DelfConfig(num_features=3)
    assert np.array_equal(few.extract(image).keypoints, found.keypoints[:3])
    assert np.allclose(found.scores, scores, rtol=1e-3)
    assert np.allclose(found.scales, scales)
    assert np.allclose(found.keypoints, places)
    assert np.allclose(found.descriptors, [m / m.norm() for m in maps], atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (16, 16)])
def test_tiny_images(method, size):
    found = method.extract(np.full((*size, 3), 200, np.uint8))
    assert found.image_size == size[::-1]


@pytest.mark.parametrize(("cls", "name"), [(Delf, "delf"), (DelfNew, "delf_new")])
def test_without_weights_one_line_names_the_command(cls, name, tmp_path):
    runtime = Runtime(cache=tmp_path)
    with pytest.raises(D2EvalError, match=rf"\.tar\.gz, run 'd2eval fetch {name}', or give"):
        cls(cls.Config(), runtime)
    assert cls.weights_state(runtime).startswith("missing: delf_")
