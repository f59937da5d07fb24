"""LF-Net with a checkpoint of random values, step by step by plain loops."""

import copy

import cv2
import numpy as np
import pytest
import torch
from tensorbundle_files import checkpoint, write_archive
from torch.nn import functional

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from methods.modern.lfnet import (
    SCALES,
    Descriptor,
    Detector,
    LFNet,
    LFNetConfig,
    cropped,
    offsets,
    score_and_scale,
    strongest,
)
from methods.modern.tensorflow import load_variables, resized

HEIGHT, WIDTH = 52, 61
NORMS = ("beta", "gamma", "moving_mean", "moving_variance")


def authors_variables() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the graph of ``run_lfnet.py``."""
    net, desc = "ConvOnlyResNet", "SimpleDesc"
    layers = {f"{net}/init_conv": (5, 5, 1, 16), f"{net}/ori_conv": (5, 5, 16, 2)}
    norms = {f"{net}/fin-bn": 16, f"{desc}/fc-bn1": 512}
    for block in (1, 2, 3):
        for part in (1, 2):
            layers[f"{net}/block-{block}/conv{part}"] = (5, 5, 16, 16)
        norms |= {f"{net}/block-{block}/{name}-bn": 16 for name in ("pre", "mid")}
    layers |= {f"{net}/score_conv_{k}": (5, 5, 16, 1) for k in range(5)}
    for k, (inputs, outputs) in enumerate(((1, 64), (64, 128), (128, 256)), 1):
        layers[f"{desc}/conv{k}"] = (3, 3, inputs, outputs)
        norms[f"{desc}/bn{k}"] = outputs
    layers |= {f"{desc}/fc1": (4096, 512), f"{desc}/fc2": (512, 256)}
    shapes = {f"{name}/weights": shape for name, shape in layers.items()}
    shapes |= {f"{name}/biases": shape[-1:] for name, shape in layers.items()}
    return {**shapes, **{f"{name}/{kind}": (n,) for name, n in norms.items() for kind in NORMS}}


@pytest.fixture(scope="module")
def variables():
    generator = np.random.default_rng(0)
    found = {}
    for name, shape in authors_variables().items():
        values = generator.standard_normal(shape, np.float32)
        if name.endswith("weights"):
            values *= (1 / np.prod(shape[:-1])) ** 0.5
        elif name.endswith(("gamma", "variance")):
            values = 1 + 0.3 * np.tanh(values)
        else:
            values *= 0.1
        found[name] = values.astype(np.float32)
    return found


@pytest.fixture(scope="module")
def archive(variables, tmp_path_factory):
    """As the authors' training saves it, beside the indoor model's."""
    saved = {
        **variables, "global_step": np.array(7, np.int32), "global_step2": np.array(7, np.int32),
        "Optimization/beta1_power": np.array(0.9, np.float32),
        "Optimization/ConvOnlyResNet/init_conv/weights/Adam_1": np.zeros((5, 5, 1, 16), np.float32),
    }  # fmt: skip
    files = {"release/models/outdoor/config.pkl": b"never looked at"}
    indoor = {"ConvOnlyResNet/init_conv/biases": np.zeros(16, np.float32)}
    for folder, content in (("outdoor", saved), ("indoor", indoor)):
        for suffix, data in checkpoint(content, snappy=True).items():
            files[f"release/models/{folder}/models-best-7{suffix}"] = data
    return write_archive(tmp_path_factory.mktemp("lfnet") / "pretrained.tar.gz", files, "w")


@pytest.fixture(scope="module")
def method(archive):
    return LFNet(LFNetConfig(weights=str(archive)), Runtime())


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.2)


@pytest.fixture(scope="module")
def gray(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def normalised(variables, maps, name):
    beta, gamma, mean, variance = (torch.from_numpy(variables[f"{name}/{k}"]) for k in NORMS)
    return (maps - mean) / (variance + 1e-5).sqrt() * gamma + beta  # channels are last


def convolved(variables, maps, name):
    """(H, W, C) maps; as many pixels come out."""
    weights, biases = (torch.from_numpy(variables[f"{name}/{k}"]) for k in ("weights", "biases"))
    around = weights.shape[0] // 2
    padded = functional.pad(maps.permute(2, 0, 1), [around] * 4)
    height, width = maps.shape[:2]
    total = biases.expand(height, width, -1).clone()
    for i, j in np.ndindex(*weights.shape[:2]):
        total += padded[:, i : i + height, j : j + width].permute(1, 2, 0) @ weights[i, j]
    return total


def leaky(maps):
    return torch.where(maps > 0, maps, 0.2 * maps)


def plain_detector(variables, gray):
    net = "ConvOnlyResNet"
    maps = convolved(variables, torch.from_numpy(gray)[:, :, None], f"{net}/init_conv")
    for block in (1, 2, 3):
        inner = leaky(normalised(variables, maps, f"{net}/block-{block}/pre-bn"))
        inner = convolved(variables, inner, f"{net}/block-{block}/conv1")
        inner = leaky(normalised(variables, inner, f"{net}/block-{block}/mid-bn"))
        maps = maps + convolved(variables, inner, f"{net}/block-{block}/conv2")
    maps = leaky(normalised(variables, maps, f"{net}/fin-bn"))
    scores = []
    for k, scale in enumerate((2**0.5, 2**0.25, 1, 2**-0.25, 2**-0.5)):
        size = int(HEIGHT / scale + 0.5), int(WIDTH / scale + 0.5)
        level = resized(maps.permute(2, 0, 1)[None], size)[0].permute(1, 2, 0)
        scores.append(convolved(variables, level, f"{net}/score_conv_{k}")[:, :, 0])
    turns = convolved(variables, maps, f"{net}/ori_conv")
    return scores, turns / turns.norm(dim=2, keepdim=True)


def plain_descriptor(variables, patches):
    """Of (N, 32, 32) patches: stride 2, one more pixel after the last."""
    maps = torch.from_numpy(patches)[:, None]
    for k in (1, 2, 3):
        name = f"SimpleDesc/conv{k}"
        weights = torch.from_numpy(variables[f"{name}/weights"]).permute(3, 2, 0, 1)
        biases = torch.from_numpy(variables[f"{name}/biases"])
        maps = functional.conv2d(functional.pad(maps, (0, 1, 0, 1)), weights, biases, 2)
        maps = normalised(variables, maps.permute(0, 2, 3, 1), f"SimpleDesc/bn{k}").relu()
        maps = maps.permute(0, 3, 1, 2)
    hidden = maps.permute(0, 2, 3, 1).reshape(len(patches), -1)
    hidden = hidden @ torch.from_numpy(variables["SimpleDesc/fc1/weights"])
    hidden = hidden + torch.from_numpy(variables["SimpleDesc/fc1/biases"])
    hidden = normalised(variables, hidden, "SimpleDesc/fc-bn1").relu()
    hidden = hidden @ torch.from_numpy(variables["SimpleDesc/fc2/weights"])
    hidden = hidden + torch.from_numpy(variables["SimpleDesc/fc2/biases"])
    return hidden / hidden.norm(dim=1, keepdim=True)


def test_both_networks_are_the_authors(method, variables, gray):
    with torch.inference_mode():
        scores, turns = method._detector(torch.from_numpy(gray)[None, None])
    expected, directions = plain_detector(variables, gray)
    assert len(scores) == 5
    for found, level in zip(scores, expected, strict=True):
        assert found.shape == level.shape
        assert torch.allclose(found, level, atol=1e-4)
    assert torch.allclose(turns.permute(1, 2, 0), directions, atol=1e-3)
    patches = np.random.default_rng(2).random((3, 32, 32), np.float32)
    with torch.inference_mode():
        found = method._descriptor(torch.from_numpy(patches)[:, None])
    assert torch.allclose(found, plain_descriptor(variables, patches), atol=1e-5)


def plain_scores(maps):
    """Pixel by pixel."""
    levels = []
    for values in maps:
        v = values.double()
        v = (v - v.mean()) / (((v - v.mean()) ** 2).mean() + 1e-3).sqrt()
        levels.append(resized(v[None, None], (HEIGHT, WIDTH))[0, 0].numpy())
    logits = np.stack(levels)
    weights, shares = np.zeros_like(logits), np.zeros_like(logits)

    def window(cube, y, x):
        return cube[:, max(y - 7, 0) : y + 8, max(x - 7, 0) : x + 8]

    for y, x in np.ndindex(HEIGHT, WIDTH):
        weights[:, y, x] = np.exp(3 * (logits[:, y, x] - window(logits, y, x).max()))
    for y, x in np.ndindex(HEIGHT, WIDTH):
        shares[:, y, x] = weights[:, y, x] / (window(weights, y, x).sum() + 1e-6)
    chosen = np.exp(100 * (shares - shares.max(axis=0)))
    chosen /= chosen.sum(axis=0) + 1e-8
    scales = 2 ** np.array([0.5, 0.25, 0, -0.25, -0.5])
    return (shares * chosen).sum(axis=0), np.tensordot(scales, chosen, 1)


def test_scores_and_scales_pixel_by_pixel():
    generator = torch.Generator().manual_seed(3)
    maps = [
        torch.randn(int(HEIGHT / s + 0.5), int(WIDTH / s + 0.5), generator=generator)
        for s in SCALES.tolist()
    ]
    scores, scales = score_and_scale(maps, (HEIGHT, WIDTH))
    expected = plain_scores(maps)
    assert np.allclose(scores, expected[0], atol=1e-5)
    assert np.allclose(scales, expected[1], atol=1e-3)
    assert np.ptp(expected[1]) > 0.3


def slowly_strongest(scores, number):
    height, width = scores.shape
    found = []
    for y in range(16, height - 16):
        for x in range(16, width - 16):
            near = scores[y - 2 : y + 3, x - 2 : x + 3]
            if scores[y, x] > 0 and (near >= scores[y, x]).sum() == 1:
                found.append((-scores[y, x], y, x))
    return [(y, x) for _, y, x in sorted(found)][:number]


@pytest.mark.parametrize("number", [3, 500])
def test_maxima_by_brute_force(number):
    scores = np.random.default_rng(4).integers(-3, 40, (60, 70)).astype(np.float32)  # many ties
    rows, columns = strongest(torch.from_numpy(scores), number)
    found = list(zip(rows.tolist(), columns.tolist(), strict=True))
    assert found == slowly_strongest(scores, number)
    assert len(found) == 3 or 10 < len(found) < 500


def test_a_patch_pixel_by_pixel(gray):
    """The last one leaves the image."""
    centres = torch.tensor([[30.4, 25.7], [28.0, 20.0], [50.0, 30.0]])
    scales = torch.tensor([1.3, 0.71, 1.4])
    angles = torch.tensor([0.6, -2.0, 0.0])
    turns = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = cropped(torch.from_numpy(gray), centres, 16, scales, turns)
    for k, i, j in np.ndindex(3, 16, 16):
        u, v = (j / 7.5 - 1) * 8 * scales[k], (i / 7.5 - 1) * 8 * scales[k]
        x = float(centres[k, 0] + u * angles[k].cos() - v * angles[k].sin())
        y = float(centres[k, 1] + u * angles[k].sin() + v * angles[k].cos())
        a, b = int(np.floor(x)), int(np.floor(y))
        c, d = min(a + 1, WIDTH - 1), min(b + 1, HEIGHT - 1)
        a, b = min(a, WIDTH - 1), min(b, HEIGHT - 1)
        read = (c - x) * ((d - y) * gray[b, a] + (y - b) * gray[d, a])
        read += (x - a) * ((d - y) * gray[b, c] + (y - b) * gray[d, c])
        assert float(found[k, i, j]) == pytest.approx(float(read), abs=1e-4)


def test_centres_of_mass():
    values = np.random.default_rng(5).random((4, 9, 9), np.float32) * 5
    found = offsets(torch.from_numpy(values)).numpy()
    for patch, (x, y) in zip(np.exp(values), found, strict=True):
        places = np.linspace(-1, 1, 9)
        assert x == pytest.approx((patch * places).sum() / patch.sum(), abs=1e-5)
        assert y == pytest.approx((patch * places[:, None]).sum() / patch.sum(), abs=1e-5)


def test_features_from_beginning_to_end(method, variables, image, gray):
    found = method.extract(image)
    maps, turns = plain_detector(variables, gray)
    scores, scales = plain_scores(maps)
    places = slowly_strongest(scores, 500)
    assert len(found) == len(places) > 2
    for k, (y, x) in enumerate(places):
        centre, scale = torch.tensor([[x, y]]).float(), torch.tensor([scales[y, x]]).float()
        around = cropped(torch.from_numpy(scores).float(), centre, 9, scale)
        centre = centre + offsets(around) * scale * 4.5
        patch = cropped(torch.from_numpy(gray), centre, 32, scale, turns[y, x][None])
        assert np.allclose(found.keypoints[k], centre[0], atol=1e-3)
        assert found.scores[k] == pytest.approx(scores[y, x], rel=1e-3)
        assert found.scales[k] == pytest.approx(scales[y, x], abs=1e-3)
        cosine, sine = turns[y, x].tolist()
        assert np.exp(1j * found.orientations[k]) == pytest.approx(cosine + 1j * sine, abs=1e-3)
        expected = plain_descriptor(variables, patch.numpy())[0]
        assert np.allclose(found.descriptors[k], expected, atol=1e-3)
    few = copy.copy(method)
    few._config = LFNetConfig(num_features=2)
    assert np.array_equal(few.extract(image).keypoints, found.keypoints[:2])


def test_every_variable_is_used_and_none_is_missing(archive, tmp_path):
    networks = torch.nn.ModuleDict({"ConvOnlyResNet": Detector(), "SimpleDesc": Descriptor()})
    wanted = {name for name in networks.state_dict() if "num_batches" not in name}
    assert load_variables(archive, "outdoor").keys() == wanted
    files = checkpoint({"SimpleDesc/conv4/weights": np.zeros((3, 3, 2, 2), np.float32)})
    for suffix, data in files.items():
        (tmp_path / f"m{suffix}").write_bytes(data)
    with pytest.raises(D2EvalError, match=r"m\.index: weights of another.*has SimpleDesc.conv4"):
        LFNet(LFNetConfig(weights=str(tmp_path / "m.index")), Runtime())


@pytest.mark.parametrize("size", [(1, 1), (32, 90), (40, 33)])
def test_small_and_flat_images(method, size):
    assert len(method.extract(np.full((*size, 3), 128, np.uint8))) == 0


def test_without_weights_one_line_names_the_command(tmp_path):
    with pytest.raises(D2EvalError, match="d2eval fetch lfnet --accept-license"):
        LFNet(LFNetConfig(), Runtime(cache=tmp_path))
    assert LFNet.weights_state(Runtime(cache=tmp_path)).startswith("missing: pretrained.tar.gz")
