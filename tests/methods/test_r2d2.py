"""R2D2's network and its pyramid, with random weights."""

import numpy as np
import pytest
import torch

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from methods.modern.r2d2 import Network, R2d2, R2d2Config


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with the authors' names and shapes."""
    torch.manual_seed(0)
    state = {f"module.{name}": value for name, value in Network().state_dict().items()}
    path = tmp_path_factory.mktemp("r2d2") / "r2d2.pt"
    torch.save({"net": "Quad_L2Net_ConfCFS()", "state_dict": state}, path)
    return path


def test_the_authors_layers():
    shapes = {n: tuple(t.shape) for n, t in Network().state_dict().items() if "num_" not in n}
    kernels = [shape for n, shape in shapes.items() if n.startswith("ops.") and len(shape) == 4]
    assert kernels == [
        (32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3),
        (128, 128, 3, 3), (128, 128, 2, 2), (128, 128, 2, 2), (128, 128, 2, 2),
    ]  # fmt: skip
    places = [int(n.split(".")[1]) for n in shapes if n.startswith("ops.") and n.endswith("weight")]
    assert places == [0, 3, 6, 9, 12, 15, 18, 20, 22]  # as in the authors' file


def test_maps_have_the_size_of_the_image_and_move_with_it():
    torch.manual_seed(1)
    network = Network().eval()
    image = torch.rand(1, 3, 90, 110)
    moved = image.roll((3, 5), (2, 3))
    with torch.inference_mode():
        first, second = network(image), network(moved)
    assert [tuple(m.shape) for m in first] == [(128, 90, 110), (90, 110), (90, 110)]
    for a, b in zip(first, second, strict=True):
        inner = a[..., 35:50, 35:70], b[..., 38:53, 40:75]
        assert torch.allclose(*inner, atol=1e-5)


def test_keypoints_of_all_scales_lie_in_the_image(weights):
    image = np.random.default_rng(0).integers(0, 256, (60, 300, 3), dtype=np.uint8)
    config = R2d2Config(reliability=0, repeatability=0, weights=str(weights), num_features=10**6)
    found = R2d2(config, Runtime()).extract(image)
    assert np.unique(found.scales).tolist() == [32.0]  # the next would be below 256
    config = R2d2Config(reliability=0, repeatability=0, weights=str(weights), min_size=150)
    found = R2d2(config, Runtime()).extract(image)
    assert np.allclose(np.unique(found.scales), 32 * 2 ** (np.arange(5) / 4))
    assert (np.diff(found.scores) <= 0).all()


def test_without_weights_one_line_names_the_command(tmp_path):
    with pytest.raises(D2EvalError, match="d2eval fetch r2d2 --accept-license"):
        R2d2(R2d2Config(), Runtime(cache=tmp_path))
    assert R2d2.weights_state(Runtime(cache=tmp_path)).startswith("missing")
