"""VGG16's maps and global descriptors against plain PyTorch and loops."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import sha256_of
from methods.vgg16.layers import CONVOLUTIONS
from methods.vgg16_dense.matlab import read_netvlad
from methods.vgg16_dense.method import Vgg16Config, Vgg16Dense, network_size, preprocess, resize
from methods.vgg16_dense.netvlad import NetVlad, gem, netvlad_of
from methods.vgg16_dense.trunk import Image, Vgg16, convolutions_of, map_sizes
from methods.vgg16_dense.weights import BUNDLED, choose_weights, load_weights

IMAGE = np.random.default_rng(0).integers(0, 256, (100, 67, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_weights(choose_weights(BUNDLED)[0])


@pytest.fixture(scope="module")
def bundled() -> Vgg16Dense:
    return Vgg16Dense(Vgg16Config(), Runtime())


def slow_maps(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> list[np.ndarray]:
    """(H, W, 3) to conv5_3 and pool3, (rows, columns, channels), written out once more."""
    x = pixels.permute(2, 0, 1)[None]
    for block, layers in enumerate((2, 2, 3, 3, 3), 1):
        for layer in range(1, layers + 1):
            name = f"conv{block}_{layer}"
            weight, bias = (state[f"{name}.{part}"].float() for part in ("weight", "bias"))
            x = functional.conv2d(x, weight, bias, padding=1)
            if name != "conv5_3":
                x = x.clamp(min=0)
        if block < 5:
            x = functional.max_pool2d(x, 2)
        if block == 3:
            fine = x
    return [each[0].permute(1, 2, 0).numpy() for each in (x, fine)]


# Sizes


@pytest.mark.parametrize(
    ("size", "coarse", "fine"),
    [
        ((1200, 1600), (75, 100), (150, 200)),
        ((1600, 1200), (100, 75), (200, 150)),
        ((360, 540), (22, 33), (45, 67)),
        ((31, 16), (1, 1), (3, 2)),
        ((15, 400), (0, 0), (0, 0)),
        ((1, 1), (0, 0), (0, 0)),
    ],
)
def test_map_sizes(size, coarse, fine):
    assert map_sizes(*size) == (coarse, fine)


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((4032, 3024), (1600, 1200)),  # the queries
        ((3024, 4032), (1200, 1600)),
        ((1600, 1200), (1600, 1200)),  # the cutouts
        ((1920, 1000), (1920, 1000)),  # as many pixels: not shrunk, although longer
        ((1921, 1000), (1600, 833)),  # 832.9 rounded up
        ((540, 360), (540, 360)),
        ((2_000_000, 1), (1600, 1)),
    ],
)
def test_what_the_network_sees(size, seen):
    assert network_size(size) == seen


def keys(x: np.ndarray) -> np.ndarray:
    """Keys's cubic kernel, a = -0.5."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def test_shrinking_is_bicubic_and_averages():
    found = resize(IMAGE, (27, 40))
    assert found.shape == (40, 27, 3)
    for row, column in ((20, 13), (11, 7)):  # far from the border, where MATLAB mirrors
        x = (column + 0.5) * 67 / 27 - 0.5 - np.arange(67)
        y = (row + 0.5) * 100 / 40 - 0.5 - np.arange(100)
        weights = [keys(side * scale) for side, scale in ((y, 40 / 100), (x, 27 / 67))]
        both = np.outer(*(side / side.sum() for side in weights))
        expected = (both[:, :, None] * IMAGE).sum(axis=(0, 1))
        assert found[row, column] == pytest.approx(expected, abs=2e-3)
    assert np.array_equal(resize(IMAGE, (67, 100)), IMAGE)


def test_preprocessing():
    image = np.full((1, 1, 3), (10, 100, 200), np.uint8)
    expected = {
        "caffe": [200 - 103.939, 100 - 116.779, 10 - 123.68],
        "netvlad": [10 - 123.68, 100 - 116.779, 200 - 103.939],
        "torch": [(10 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224,
                  (200 / 255 - 0.406) / 0.225],
    }  # fmt: skip
    for how, values in expected.items():
        found = preprocess(image, (1, 1), how)
        assert found.dtype == torch.float32
        assert found[0, 0].tolist() == pytest.approx(values, rel=1e-5)


# The network


def test_maps_agree_with_plain_pytorch(state, bundled):
    pixels = preprocess(IMAGE, (67, 100), "caffe")
    coarse, fine = slow_maps(state, pixels)
    found = bundled.maps(IMAGE)
    assert found.coarse.shape == (6, 4, 512)
    assert found.fine.shape == (12, 8, 256)
    assert (found.coarse_stride, found.fine_stride, found.fine_offset) == (16, 8, 3.5)
    assert found.image_size == found.network_size == (67, 100)
    for one, other in ((found.coarse, coarse), (found.fine, fine)):
        assert np.abs(one - other / np.linalg.norm(other, axis=2, keepdims=True)).max() < 1e-5
    assert (coarse < 0).any()  # there is no ReLU after conv5_3


@pytest.mark.slow
def test_strips_give_the_same_maps(state):
    network = Vgg16(state)
    pixels = preprocess(np.concatenate([IMAGE, IMAGE]), (67, 200), "caffe")

    def strips(memory_limit):
        strip_bytes = network.strip_bytes((200, 67), memory_limit)
        return len(list(network.maps(Image(pixels), strip_bytes, ())))

    assert (strips(None), strips(0)) == (1, 7)
    whole = network(pixels)
    in_strips = network(pixels, memory_limit=0)
    for one, other in zip(in_strips, whole, strict=True):
        assert (one - other).abs().max() < 1e-3  # of values up to 47
        assert other.abs().max() > 10


def test_maps_of_vgg16_are_flat_where_the_image_is():
    generator = torch.Generator().manual_seed(2)
    random = {}
    for name, _, inputs, outputs in CONVOLUTIONS:
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator)
        random[f"{name}.weight"] = weight * (2 / 9 / inputs) ** 0.5
        random[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    image = np.random.default_rng(0).integers(0, 256, (190, 330, 3), dtype=np.uint8)
    image[:, 60:] = (200, 30, 60)
    coarse, fine = Vgg16(random)(preprocess(image, (330, 190), "caffe"))
    # Pixels from column 60 on are constant. Cell i of the fine map sees those from 8 i - 18 to
    # 8 i + 25, of the coarse map from 16 i - 90 to 16 i + 105.
    assert torch.equal(fine[:, 10:38], fine[:, 10:11].expand(-1, 28, -1))
    assert torch.equal(fine[3:21, 10:38], fine[3:4, 10:11].expand(18, 28, -1))
    assert torch.equal(coarse[:, 10:15], coarse[:, 10:11].expand(-1, 5, -1))


def test_cells_lie_where_fine_points_says(state, bundled):
    # A mirrored image in a mirrored network gives mirrored maps: cell i of n lies at s i + o, cell
    # n - 1 - i at the mirrored place, so that o is (s - 1) / 2.
    mirrored = {
        name: tensor.flip(3) if tensor.ndim == 4 else tensor for name, tensor in state.items()
    }
    pixels = preprocess(IMAGE[:48, :64], (64, 48), "caffe")
    expected = bundled._network(pixels)
    found = Vgg16(mirrored)(pixels.flip(1))
    for one, other in zip(found, expected, strict=True):
        assert (one.flip(1) - other).abs().max() < 1e-3


def test_a_large_image_is_seen_smaller(bundled, monkeypatch):
    monkeypatch.setattr("methods.vgg16_dense.method.MAX_AREA", 4000)
    monkeypatch.setattr("methods.vgg16_dense.method.SHRUNK_LONG_SIDE", 50)
    found = bundled.maps(IMAGE)
    assert (found.image_size, found.network_size) == ((67, 100), (34, 50))
    assert found.fine.shape == (6, 4, 256)
    # Cell 0 is seen at 3.5, 2 original pixels for each.
    assert found.fine_points(np.array([0]))[0, 1] == pytest.approx(4 * 2 - 0.5)


@pytest.mark.parametrize("size", [(1, 1), (15, 40), (40, 15)])
def test_an_image_without_cells(bundled, size):
    image = IMAGE[: size[0], : size[1]]
    found = bundled.maps(image)
    assert found.coarse.shape == (0, 0, 512)
    assert found.fine.shape == (0, 0, 256)
    with pytest.raises(D2EvalError, match=r"has no global descriptor; it takes 16x16"):
        bundled.global_descriptor(image)


def test_a_flat_image(bundled):
    found = bundled.maps(np.full((32, 40, 3), 128, np.uint8))
    assert found.coarse.shape == (2, 2, 512)


# Weights


def test_the_bundled_weights_say_that_they_stand_in(bundled):
    paths, info = choose_weights("bundled")
    assert info.stand_in
    assert "stand-in" in info.description
    assert info == bundled.weights
    assert Vgg16Dense.weights_state(Runtime()) == info.name
    assert all(path.is_file() for path in paths)
    upper = load_file(paths[1])
    assert {tensor.dtype for tensor in upper.values()} == {torch.float16}
    assert sum(tensor.numel() for tensor in upper.values()) == 7_079_424


def test_the_key_follows_the_weights_and_options(state, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "methods.vgg16_dense.method.Vgg16", lambda state, device: None
    )  # is slow to build
    path = tmp_path / "vgg.safetensors"
    save_file(state, path)

    def key(weights: str, **options) -> str:
        config = Vgg16Config(weights=weights, **options)
        return Vgg16Dense(config, Runtime()).identity("vgg16_dense", config).key

    assert choose_weights(str(path))[1].sha256 == sha256_of(path)
    found = [
        key("bundled"), key(str(path)), key("bundled", pooling="gem"),
        key("bundled", preprocessing="torch"),
    ]  # fmt: skip
    assert len(set(found)) == 4
    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / "other.safetensors")
    assert key(str(moved)) == found[1]


def with_indices(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    names = {name: index for name, index, _, _ in CONVOLUTIONS}
    return {
        f"{prefix}{names[name]}.{part}": tensor
        for key, tensor in state.items()
        for name, _, part in [key.partition(".")]
    }


@pytest.mark.parametrize("prefix", ["features.", "base_model.base.", "encoder.", ""])
def test_names_of_other_files(prefix, state):
    named = with_indices(state, prefix)
    found = convolutions_of({"classifier.0.weight": torch.ones(2), **named})
    assert list(found) == [name for name, _, _, _ in CONVOLUTIONS]
    for name, (weight, bias) in found.items():
        assert torch.equal(weight, state[f"{name}.weight"])
        assert torch.equal(bias, state[f"{name}.bias"])


@pytest.mark.slow
def test_a_file_of_another_layout_gives_the_same_maps(state, bundled, tmp_path):
    path = tmp_path / "vgg.pth"
    torch.save({"state_dict": with_indices(state, "features.")}, path)
    found = Vgg16Dense(Vgg16Config(weights=str(path)), Runtime())
    assert found.weights is not None
    assert not found.weights.stand_in
    small = IMAGE[:40, :40]
    assert np.array_equal(found.maps(small).coarse, bundled.maps(small).coarse)


def without(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


BROKEN = {
    "missing": (lambda s: without(s, "conv5_2.bias"), r"conv5_2\.bias is missing"),
    "no first": (lambda s: without(s, "conv1_1.weight"), "no conv1_1 of VGG16"),
    "shape": (lambda s: {**s, "conv2_1.weight": torch.ones(3)}, r"conv2_1\.weight is \(3,\), not"),
    "NaN": (lambda s: {**s, "conv5_3.bias": s["conv5_3.bias"] * torch.nan}, "NaN or infinite"),
    "half a NetVLAD": (lambda s: {**s, "centroids": torch.ones(4, 512)}, "conv.weight is missing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_weights_that_do_not_fit(kind, state, tmp_path):
    change, message = BROKEN[kind]
    path = tmp_path / "broken.pth"
    torch.save(change(state), path)
    with pytest.raises(D2EvalError, match=message) as caught:
        Vgg16Dense(Vgg16Config(weights=str(path)), Runtime())
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(D2EvalError, match=r"nowhere\.pth: no such weights file"):
        Vgg16Dense(Vgg16Config(weights=str(tmp_path / "nowhere.pth")), Runtime())


# Global descriptors


def test_gem_by_hand():
    # Means of cubes: (1 + 8) / 2 and, the negative one as nothing, 27 / 2.
    expected = np.array([4.5, 13.5]) ** (1 / 3)
    found = gem(torch.tensor([[1.0, 3.0], [2.0, -5.0]])).numpy()
    assert found == pytest.approx(expected / np.linalg.norm(expected), rel=1e-5)


def test_the_bundled_descriptor_is_gem_of_conv5_3(state, bundled):
    coarse, _ = slow_maps(state, preprocess(IMAGE, (67, 100), "caffe"))
    expected = (np.maximum(coarse, 1e-6).astype(np.float64) ** 3).mean(axis=(0, 1)) ** (1 / 3)
    found = bundled.global_descriptor(IMAGE)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def slow_netvlad(x: np.ndarray, assignment, bias, centroids) -> np.ndarray:
    blocks = np.zeros(centroids.shape)
    for row in x:
        row = row / np.linalg.norm(row)
        scores = np.exp([weights @ row + offset for weights, offset in zip(assignment, bias)])  # noqa: B905
        for k, score in enumerate(scores / scores.sum()):
            blocks[k] += score * (row - centroids[k])
    blocks /= np.linalg.norm(blocks, axis=1, keepdims=True)
    return blocks.ravel() / np.linalg.norm(blocks)


def parameters(clusters: int, channels: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [(7, channels), (clusters, channels), (clusters,), (clusters, channels),
              (6, clusters * channels), (6,)]  # fmt: skip
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("names", [("pool.", "WPCA.0."), ("net_vlad.", "pca_layer.")])
@pytest.mark.parametrize("extras", [True, False])
def test_netvlad_agrees_with_loops(names, extras):
    x, assignment, bias, centroids, whitening, offset = parameters(3, 5)
    expected = slow_netvlad(x, assignment, bias if extras else np.zeros(3), centroids)
    pool, white = names
    state = {f"{pool}conv.weight": assignment[:, :, None, None], f"{pool}centroids": centroids}
    if extras:
        state |= {f"{pool}conv.bias": bias, f"{white}weight": whitening[:, :, None, None],
                  f"{white}bias": offset}  # fmt: skip
        expected = whitening @ expected + offset
        expected /= np.linalg.norm(expected)
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    found = netvlad_of(tensors, 5, "cpu")
    assert isinstance(found, NetVlad)
    assert found(torch.from_numpy(x)).numpy() == pytest.approx(expected, abs=1e-5)


def test_weights_without_netvlad():
    assert netvlad_of({"conv1_1.weight": torch.ones(3)}, 5, "cpu") is None
    with pytest.raises(D2EvalError, match="holds no NetVLAD parameters"):
        Vgg16Dense(Vgg16Config(pooling="netvlad"), Runtime())


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("conv.weight", (3, 4, 1, 1), r"conv\.weight is \(3, 4, 1, 1\), not \(3, 5\)"),
        ("conv.bias", (2,), r"conv\.bias is \(2,\), not \(3,\)"),
        ("centroids", (3, 6), r"centroids is \(3, 6\), not \(3, 5\)"),
        ("pca_layer.weight", (6, 14), r"pca_layer\.weight is \(6, 14\), not \(6, 15\)"),
    ],
)
def test_netvlad_of_another_shape(name, shape, message):
    _, assignment, bias, centroids, whitening, offset = map(torch.from_numpy, parameters(3, 5))
    state = {"conv.weight": assignment, "conv.bias": bias, "centroids": centroids,
             "pca_layer.weight": whitening, "pca_layer.bias": offset}  # fmt: skip
    with pytest.raises(D2EvalError, match=message):
        netvlad_of({**state, name: torch.ones(shape)}, 5, "cpu")
    with pytest.raises(D2EvalError, match="NaN or infinite"):
        netvlad_of({**state, name: state[name] * torch.inf}, 5, "cpu")
    with pytest.raises(D2EvalError, match=r"pca_layer\.bias is missing"):
        netvlad_of(without(state, "pca_layer.bias"), 5, "cpu")


def test_netvlad_by_path_is_taken(state, tmp_path, monkeypatch):
    _, assignment, bias, centroids, _, _ = parameters(4, 512)
    path = tmp_path / "netvlad.safetensors"
    named = {"pool.conv.weight": assignment, "pool.conv.bias": bias, "pool.centroids": centroids}
    tensors = {name: torch.from_numpy(array) for name, array in named.items()}
    save_file({**with_indices(state, "encoder."), **tensors}, path)
    method = Vgg16Dense(Vgg16Config(weights=str(path)), Runtime())
    found = method.global_descriptor(IMAGE)
    coarse, _ = slow_maps(state, preprocess(IMAGE, (67, 100), "caffe"))
    expected = slow_netvlad(coarse.reshape(-1, 512), assignment, bias, centroids)
    assert found == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr("methods.vgg16_dense.method.Vgg16", lambda *_: method._network)
    gem_alone = Vgg16Dense(Vgg16Config(weights=str(path), pooling="gem"), Runtime())
    assert gem_alone.global_descriptor(IMAGE).shape == (512,)


# NetVLAD's MATLAB file


def layers_of(clusters: int, channels: int) -> tuple[list[dict], list[np.ndarray]]:
    """A network of 34 layers as MATLAB holds it, with tiny convolutions."""
    rng = np.random.default_rng(1)
    layers: list[dict] = [{"type": "other"} for _ in range(34)]

    def cell(*parts: np.ndarray) -> np.ndarray:
        found = np.empty(2, object)
        found[:] = parts
        return found

    for _, index, _, _ in CONVOLUTIONS:
        weight, bias = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(1, 4))
        layers[index]["weights"] = cell(weight.astype(np.float32), bias.astype(np.float32))
    assignment, centroids = rng.normal(size=(2, channels, clusters)).astype(np.float32)
    whitening = rng.normal(size=(1, 1, channels * clusters, 6)).astype(np.float32)
    offset = rng.normal(size=(1, 6)).astype(np.float32)
    layers[30]["weights"] = cell(assignment, -centroids)
    layers[33]["weights"] = cell(whitening, offset)
    return layers, [assignment, centroids, whitening, offset]


def save_network(path: Path, layers: list[dict]) -> None:
    cells = np.empty(len(layers), object)
    cells[:] = layers
    scipy.io.savemat(path, {"net": {"layers": cells}})


def test_netvlads_own_file(tmp_path):
    layers, (assignment, centroids, whitening, offset) = layers_of(3, 5)
    save_network(tmp_path / "net.mat", layers)
    state = read_netvlad(tmp_path / "net.mat")
    for name, index, _, _ in CONVOLUTIONS:
        weight, bias = layers[index]["weights"]
        assert state[f"{name}.weight"].shape == (4, 2, 3, 3)
        assert state[f"{name}.weight"][3, 1, 0, 2] == float(weight[0, 2, 1, 3])
        assert state[f"{name}.bias"].tolist() == bias[0].tolist()
    x = np.random.default_rng(2).normal(size=(7, 5)).astype(np.float32)
    pooled = slow_netvlad(x, assignment.T, np.zeros(3), centroids.T)
    # hloc keeps (channels, clusters) and whitens them channel by channel.
    expected = pooled.reshape(3, 5).T.ravel() @ whitening[0, 0] + offset[0]
    found = netvlad_of(state, 5, "cpu")
    assert found is not None
    assert found(torch.from_numpy(x)).numpy() == pytest.approx(
        expected / np.linalg.norm(expected), abs=1e-5
    )
    save_network(tmp_path / "unwhitened.mat", layers[:31])
    found = netvlad_of(read_netvlad(tmp_path / "unwhitened.mat"), 5, "cpu")
    assert found is not None
    assert found(torch.from_numpy(x)).numpy() == pytest.approx(pooled, abs=1e-5)


def test_netvlad_of_whole_numbers_is_refused(tmp_path):
    layers, _ = layers_of(3, 5)
    layers[30]["weights"][1] = layers[30]["weights"][1].astype(np.int16)
    save_network(tmp_path / "whole.mat", layers)
    with pytest.raises(D2EvalError, match=r"whole\.mat: .*layer 31 holds whole numbers"):
        read_netvlad(tmp_path / "whole.mat")


def test_files_that_are_no_netvlad(tmp_path):
    layers, _ = layers_of(3, 5)
    layers[30]["weights"] = layers[28]["weights"]
    save_network(tmp_path / "other.mat", layers)
    scipy.io.savemat(tmp_path / "none.mat", {"x": 1})
    (tmp_path / "text.mat").write_text("<html>404</html>")
    for name in ("other.mat", "none.mat", "text.mat"):
        with pytest.raises(D2EvalError, match=f"{name}: no NetVLAD network") as caught:
            Vgg16Dense(Vgg16Config(weights=str(tmp_path / name)), Runtime())
        assert "\n" not in str(caught.value)
