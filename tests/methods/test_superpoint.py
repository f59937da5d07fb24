"""SuperPoint with random weights: its network layer by layer, its detection by brute force."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from methods.modern.superpoint import Network, SuperPoint, SuperPointConfig, heatmap, keypoints

AUTHORS_SHAPES = {  # of superpoint_v1.pth
    "conv1a": (64, 1, 3, 3), "conv1b": (64, 64, 3, 3), "conv2a": (64, 64, 3, 3),
    "conv2b": (64, 64, 3, 3), "conv3a": (128, 64, 3, 3), "conv3b": (128, 128, 3, 3),
    "conv4a": (128, 128, 3, 3), "conv4b": (128, 128, 3, 3), "convPa": (256, 128, 3, 3),
    "convPb": (65, 256, 1, 1), "convDa": (256, 128, 3, 3), "convDb": (256, 256, 1, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def state():
    """The authors' names and shapes; values that keep variance, so that there are corners."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in AUTHORS_SHAPES.items():
        deviation = (2 / np.prod(shape[1:])) ** 0.5
        tensors[f"{name}.weight"] = torch.randn(shape, generator=generator) * deviation
        tensors[f"{name}.bias"] = torch.randn(shape[0], generator=generator) * 0.1
    tensors["convPb.weight"] *= 4  # confident ones, too
    return tensors


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("superpoint") / "superpoint_v1.pth"
    torch.save(state, path)
    return str(path)


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).integers(0, 256, (8, 11, 3), dtype=np.uint8)
    return np.ascontiguousarray(noise.repeat(9, axis=0).repeat(9, axis=1)[:70, :95])


def plain(state, gray):
    """(65, h, w) logits and (256, h, w) unit descriptors, as the paper draws the layers."""

    def layer(maps, name, padding=1):
        return functional.conv2d(maps, state[f"{name}.weight"], state[f"{name}.bias"], 1, padding)

    maps = gray
    for block in "1234":
        maps = layer(layer(maps, f"conv{block}a").relu(), f"conv{block}b").relu()
        maps = functional.max_pool2d(maps, 2) if block < "4" else maps
    logits = layer(layer(maps, "convPa").relu(), "convPb", 0)[0]
    coarse = layer(layer(maps, "convDa").relu(), "convDb", 0)[0]
    return logits, coarse / coarse.norm(dim=0)


def test_the_network_is_the_papers(state, image):
    network = Network()
    network.load_state_dict(state)
    gray = torch.from_numpy(image[None, None, :, :, 0]).float() / 255
    with torch.inference_mode():
        found = network(gray)
        expected = plain(state, gray)
    assert found[0].shape == (65, 8, 11)
    assert torch.allclose(found[0], expected[0], atol=1e-4)
    assert torch.allclose(found[1][0], expected[1], atol=1e-5)


def test_a_cell_of_the_heatmap():
    logits = torch.randn(65, 3, 4, generator=torch.Generator().manual_seed(1))
    heat = heatmap(logits).numpy()
    assert heat.shape == (24, 32)
    weights = np.exp(logits.numpy().astype(np.float64))
    for row, column in ((0, 0), (9, 14), (23, 31), (16, 7)):
        cell = weights[:, row // 8, column // 8]
        share = cell[row % 8 * 8 + column % 8] / (cell.sum() + 1e-5)
        assert heat[row, column] == pytest.approx(share, rel=1e-5)


def slowly(heat, threshold, distance):
    """Strongest first, row by row; one that is near a kept one is left out."""
    height, width = heat.shape
    pixels = [(-heat[y, x], y, x) for y in range(height) for x in range(width)]
    kept = []
    for strength, y, x in sorted(pixels):
        near = any(max(abs(x - a), abs(y - b)) <= distance for a, b in kept)
        if -strength >= threshold and not near:
            kept.append((x, y))
    return kept


@pytest.mark.parametrize("distance", [0, 1, 4])
def test_suppression_by_brute_force(distance):
    generator = np.random.default_rng(2)
    heat = generator.integers(0, 9, (24, 31)).astype(np.float32) / 8  # many ties
    points, scores = keypoints(heat, 0.5, distance)
    assert [tuple(p) for p in points.tolist()] == slowly(heat, 0.5, distance)
    assert (scores == heat[points[:, 1], points[:, 0]]).all()
    assert scores.min() == 0.5  # the threshold counts as confident
    empty, none = keypoints(heat, 1.5, distance)
    assert (empty.shape, none.shape) == ((0, 2), (0,))


def test_features_by_brute_force(state, weights, image):
    found = SuperPoint(SuperPointConfig(weights=weights), Runtime()).extract(image)
    height, width = image.shape[:2]
    # Of grey values OpenCV's are: .299 R + .587 G + .114 B, rounded
    gray = np.floor(image @ [0.299, 0.587, 0.114] + 0.5)
    logits, coarse = plain(state, torch.from_numpy(gray[None, None] / 255).float())
    exp = np.exp(logits.numpy())
    share = exp[:64] / (exp.sum(axis=0) + 1e-5)
    heat = share.reshape(8, 8, 8, 11).transpose(2, 0, 3, 1).reshape(64, 88)
    kept = [(x, y) for x, y in slowly(heat, 0.015, 4) if 4 <= x < width - 4 and 4 <= y < height - 4]
    assert len(kept) > 20
    assert [tuple(p) for p in found.keypoints.astype(int).tolist()] == kept
    assert np.allclose(found.scores, [heat[y, x] for x, y in kept], rtol=1e-3)
    for (x, y), descriptor in list(zip(kept, found.descriptors, strict=True))[:20]:
        column, row = x / width * 10, y / height * 7  # of 11 and 8 cells
        a, b = int(column), int(row)
        u, v = column - a, row - b
        read = (1 - v) * ((1 - u) * coarse[:, b, a] + u * coarse[:, b, a + 1])
        read += v * ((1 - u) * coarse[:, b + 1, a] + u * coarse[:, b + 1, a + 1])
        assert np.allclose(descriptor, read / read.norm(), atol=1e-4)


def test_a_border_of_its_own(weights, image):
    near, far = (
        SuperPoint(SuperPointConfig(weights=weights, border=b), Runtime()).extract(image).keypoints
        for b in (0, 20)
    )
    assert near.min() < 4
    assert far.min() >= 20
    assert {tuple(p) for p in far.tolist()} < {tuple(p) for p in near.tolist()}


def test_without_weights_one_line_names_the_command(tmp_path):
    with pytest.raises(D2EvalError, match="d2eval fetch superpoint --accept-license"):
        SuperPoint(SuperPointConfig(), Runtime(cache=tmp_path))
    assert SuperPoint.weights_state(Runtime(cache=tmp_path)).startswith("missing: superpoint_v1")


def test_another_networks_weights_are_refused(state, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({**state, "convDb.weight": torch.zeros(128, 256, 1, 1)}, path)
    with pytest.raises(D2EvalError, match=r"other\.pth: weights of another network"):
        SuperPoint(SuperPointConfig(weights=str(path)), Runtime())
