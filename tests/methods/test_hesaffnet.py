"""HesAffNet with HardNet++ of random weights, step by step by plain loops."""

import math

import cv2
import numpy as np
import pytest
import torch
from official_counts import COUNTS, SEQUENCES, row_of
from places import needs
from safetensors.torch import load_file
from torch.nn import functional

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image
from methods.modern import networks
from methods.modern.keynet import KeyNetHardTFeat

pytest.importorskip("kornia")
from methods.modern.hesaffnet import (
    HesAffNetConfig,
    HesAffNetHardNet,
    Level,
    detections,
    elongation,
    inside,
    patches,
    pyramid,
    response,
    upright,
)

HARDNET = {  # the authors' names -> shapes of convolutions
    0: (32, 1, 3, 3), 3: (32, 32, 3, 3), 6: (64, 32, 3, 3), 9: (64, 64, 3, 3),
    12: (128, 64, 3, 3), 15: (128, 128, 3, 3), 19: (128, 128, 8, 8),
}  # fmt: skip
STRIDES = {6: 2, 12: 2}


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for place, shape in HARDNET.items():
        deviation = (2 / np.prod(shape[1:])) ** 0.5
        values = torch.randn(shape, generator=generator) * deviation
        tensors[f"features.{place}.weight"] = values
        mean, variance = torch.rand(2, shape[0], generator=generator)
        tensors[f"features.{place + 1}.running_mean"] = mean - 0.5
        tensors[f"features.{place + 1}.running_var"] = variance + 0.5
    return tensors


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("hardnet") / "HardNet++.pth"
    torch.save({"epoch": 9, "state_dict": state}, path)
    return str(path)


@pytest.fixture(scope="module")
def method(weights):
    return HesAffNetHardNet(HesAffNetConfig(weights=weights), Runtime())


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(noise, (128, 90), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def octaves(image):
    return pyramid(torch.from_numpy(image.mean(axis=2).astype(np.float32))[None, None])


def normalised(values):
    flat = values.flatten(1)
    mean, deviation = flat.mean(1)[:, None, None, None], flat.std(1)[:, None, None, None]
    return (values - mean) / (deviation + 1e-7)


def hardnet(state, values):
    """As the paper has its layers, of patches."""
    maps = normalised(values)
    for place in HARDNET:
        stride, padding = STRIDES.get(place, 1), 0 if place == 19 else 1
        weight = state[f"features.{place}.weight"]
        maps = functional.conv2d(maps, weight, stride=stride, padding=padding)
        mean, variance = (state[f"features.{place + 1}.running_{n}"] for n in ("mean", "var"))
        maps = (maps - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        maps = maps if place == 19 else maps.relu()
    return maps[:, :, 0, 0] / maps[:, :, 0, 0].norm(dim=1, keepdim=True)


def affnet(values):
    """(N, 3) of AffNet's bundled weights, of patches."""
    parts = load_file(KeyNetHardTFeat.bundle.path)
    maps = normalised(values)
    for place, stride in ((0, 1), (3, 1), (6, 2), (9, 1), (12, 2), (15, 1)):
        weight = parts[f"affnet.features.{place}.weight"]
        maps = functional.conv2d(maps, weight, stride=stride, padding=1)
        mean, variance = (
            parts[f"affnet.features.{place + 1}.running_{n}"][:, None, None]
            for n in ("mean", "var")
        )
        maps = ((maps - mean) / (variance + 1e-5).sqrt()).relu()
    weight, bias = (parts[f"affnet.features.19.{name}"] for name in ("weight", "bias"))
    return functional.conv2d(maps, weight, bias).tanh().mean(dim=(2, 3))


def test_the_pyramid_is_blurred_as_it_says(image, octaves):
    gray = image.mean(axis=2)
    assert [tuple(o[0].image.shape[2:]) for o in octaves] == [(90, 128), (45, 64), (23, 32)]
    for octave in octaves[:2]:
        sigmas = [level.sigma for level in octave]
        assert np.allclose(sigmas, 1.6 * 2 ** (np.arange(5) / 3))
        for level in octave:
            whole = math.sqrt((level.sigma * level.step) ** 2 - 0.25)
            expected = cv2.GaussianBlur(gray, (0, 0), whole, borderType=cv2.BORDER_REPLICATE)
            expected = expected[:: int(level.step), :: int(level.step)]
            found = level.image[0, 0].numpy()
            assert np.abs(found - expected)[12:-12, 12:-12].max() < 1.5  # of 255 grey values


def slow_detections(octave, threshold):
    """Of each inner level: (x, y, sigma, response) by loops over pixels, row by row."""
    cube = []
    for level in octave:
        p = np.pad(level.image[0, 0].numpy().astype(np.float64), 1, mode="edge")
        height, width = p.shape[0] - 2, p.shape[1] - 2
        values = np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                w = p[y : y + 3, x : x + 3]
                xx, yy = w[1, 0] - 2 * w[1, 1] + w[1, 2], w[0, 1] - 2 * w[1, 1] + w[2, 1]
                xy = (w[0, 0] - w[0, 2] - w[2, 0] + w[2, 2]) / 4
                values[y, x] = abs(xx * yy - xy * xy) * level.sigma**4
        cube.append(np.maximum(values - threshold, 0))
    cube = np.stack(cube)
    for k in (1, 2, 3):
        found = []
        for y in range(5, height - 5):
            for x in range(5, width - 5):
                near = cube[k - 1 : k + 2, y - 1 : y + 2, x - 1 : x + 2]
                if 0 < cube[k, y, x] == near.max():
                    total = near.sum()
                    sigmas = np.array([level.sigma for level in octave[k - 1 : k + 2]])
                    found.append(
                        (
                            x + (near.sum(axis=(0, 1)) @ [-1, 0, 1]) / total,
                            y + (near.sum(axis=(0, 2)) @ [-1, 0, 1]) / total,
                            near.sum(axis=(1, 2)) @ sigmas / total,
                            cube[k, y, x],
                        )
                    )
        yield np.array(found)


@pytest.mark.parametrize("threshold", [0.0, 28.41])
def test_detection_by_brute_force(octaves, threshold):
    octave = octaves[1]
    height, width = octave[0].image.shape[2:]
    expected = [found for found in slow_detections(octave, threshold) if len(found)]
    found = list(detections(octave, threshold))
    assert [len(frames) for _, frames, _ in found] == [len(e) for e in expected]
    for (below, frames, scores), level in zip(found, expected, strict=True):
        assert any(below is octave[k] for k in (0, 1, 2))
        places = frames[:, :2, 2].numpy() * (width, height)
        assert np.allclose(places, level[:, :2], atol=1e-3)
        assert np.allclose(frames[:, 0, 0].numpy() * min(width, height), level[:, 2], rtol=1e-4)
        assert (frames[:, 0, 0] == frames[:, 1, 1]).all()
        assert np.allclose(scores.numpy(), level[:, 3], rtol=1e-3, atol=0.5)


def test_equal_neighbours_are_both_maxima():
    image = torch.zeros(1, 1, 24, 30)
    image[0, 0, 12, 10] = image[0, 0, 12, 16] = 90  # mirror images of each other
    flat = [Level(image * w, 1.6, 1.0) for w in (0.5, 0.9, 1.0, 0.9, 0.5)]
    (_, frames, scores), *_ = (d for d in detections(flat, 0) if len(d[1]) > 1)
    strongest = scores == scores.max()
    assert sorted((frames[strongest, 0, 2] * 30).tolist()) == pytest.approx([10, 16], abs=0.5)
    assert response(flat[2])[12, 10] == response(flat[2])[12, 16]


def test_a_patch_pixel_by_pixel(octaves):
    level = octaves[0][1]
    height, width = level.image.shape[2:]
    frame = torch.tensor([[0.03, 0.0, 0.4], [0.01, 0.025, 0.55], [0, 0, 1]])
    found = patches(level.image, frame[None])[0, 0].numpy()
    pixels = level.image[0, 0].numpy()
    for i, j in ((0, 0), (5, 20), (31, 31), (16, 3)):
        u, v = j / 15.5 - 1, i / 15.5 - 1
        shape = frame[:2, :2].numpy() * 5.192 * height  # the shorter side
        x, y = frame[:2, 2].numpy() * (width, height) + shape @ (u, v)
        x, y = x * (width - 1) / width, y * (height - 1) / height
        a, b = int(x), int(y)
        p, q = x - a, y - b
        read = (1 - q) * ((1 - p) * pixels[b, a] + p * pixels[b, a + 1])
        read += q * ((1 - p) * pixels[b + 1, a] + p * pixels[b + 1, a + 1])
        assert found[i, j] == pytest.approx(read, abs=0.02)


def test_upright_shapes_are_turned_alone():
    shapes = torch.randn(50, 2, 2, generator=torch.Generator().manual_seed(3))
    shapes = shapes[torch.linalg.det(shapes) > 0.1]
    found = upright(shapes)
    assert (found[:, 0, 1] == 0).all()
    assert torch.allclose(torch.linalg.det(found), torch.ones(len(found)), atol=1e-4)
    area = torch.linalg.det(shapes)[:, None, None]
    assert torch.allclose(found @ found.mT, shapes @ shapes.mT / area, atol=1e-3, rtol=1e-3)


def test_frames_that_leave_the_image():
    frames = torch.eye(3).repeat(4, 1, 1)
    frames[:, 0, 0] = frames[:, 1, 1] = 0.1 / 5.192  # a tenth of the shorter side
    frames[:, :2, 2] = torch.tensor([[0.5, 0.5], [0.0999, 0.5], [0.5, 0.9001], [0.1001, 0.8999]])
    assert inside(frames).tolist() == [True, False, False, True]
    frames[0, 0, 0] *= 6
    assert elongation(frames).tolist() == pytest.approx([6, 1, 1, 1])


def test_features_are_the_frames_shaped_and_described(method, state, image, octaves):
    found = method.extract(image)
    height, width = image.shape[:2]
    expected = []
    for octave in octaves:
        for below, frames, scores in detections(octave, 28.41):
            values = affnet(patches(below.image, frames))
            shapes = torch.zeros(len(frames), 2, 2)
            shapes[:, 0, 0], shapes[:, 1, 0] = 1 + values[:, 0], values[:, 1]
            shapes[:, 1, 1] = 1 + values[:, 2]
            frames[:, :2, :2] = upright(shapes) @ frames[:, :2, :2]
            expected += [(f, s) for f, s in zip(frames, scores, strict=True)]
    frames, scores = (torch.stack(parts) for parts in zip(*expected, strict=True))
    kept = inside(frames)
    assert 0 < kept.sum() < len(kept)
    frames, scores = frames[kept], scores[kept]
    assert np.allclose(found.keypoints, frames[:, :2, 2] * torch.tensor([width, height]), atol=1e-4)
    assert np.allclose(found.affine_shapes, frames[:, :2, :2] * height, atol=1e-4)
    assert np.allclose(found.scores, scores)
    assert np.allclose(found.scales**2, np.linalg.det(found.affine_shapes), rtol=1e-4)
    levels = [level for octave in octaves for level in octave]
    for k in range(0, len(found), 5):
        wanted = found.scales[k] * 5.192 / 32  # pixels of the image in one of the patch
        level = min(levels, key=lambda v: abs(v.sigma * v.step - wanted))
        descriptor = hardnet(state, patches(level.image, frames[k : k + 1]))[0]
        assert np.allclose(found.descriptors[k], descriptor, atol=1e-4)


@pytest.mark.parametrize("size", [(31, 60), (60, 40)])
def test_nothing_to_see(method, size):
    assert len(method.extract(np.full((*size, 3), 90, np.uint8))) == 0


@pytest.mark.slow
@needs(SEQUENCES, COUNTS)
@pytest.mark.parametrize("k", [1, 2])
def test_features_are_as_many_as_the_authors(method, k):
    """HardNet's weights don't matter to them, AffNet's are bundled."""
    found = method.extract(read_image(SEQUENCES / "v_dogman" / f"{k}.ppm"))
    official = int(row_of(COUNTS, method="hesaffnet", sequence="v_dogman")[f"features_{k}"])
    assert len(found) == pytest.approx(official, rel=0.002)


def test_without_weights_or_kornia_one_line_names_the_command(tmp_path, monkeypatch):
    runtime = Runtime(cache=tmp_path)
    with pytest.raises(D2EvalError, match="d2eval fetch hesaffnet_hardnet'"):
        HesAffNetHardNet(HesAffNetConfig(), runtime)
    assert HesAffNetHardNet.weights_state(runtime).startswith("missing: HardNet++.pth, run")
    monkeypatch.setattr(networks, "has_kornia", lambda: False)
    with pytest.raises(D2EvalError, match=r"needs kornia.*pip install"):
        HesAffNetHardNet(HesAffNetConfig(), runtime)
