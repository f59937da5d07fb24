"""Which weights D2-Net takes, and what it refuses."""

import dataclasses
import json
import pickle
from pathlib import Path
from urllib.parse import urlsplit

import d2net_reference as reference
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from d2eval.contracts.method import Runtime
from d2eval.contracts.weightgroups import weights_groups
from d2eval.contracts.weights import load_state_dict
from d2eval.foundation.downloads.download import fetch_file
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import sha256_of
from methods.d2net.method import (
    D2Config,
    D2MultiScale,
    D2MultiScaleTrained,
    D2SingleScale,
    D2SingleScaleTrained,
)
from methods.d2net.weights import BUNDLED_FILE, TRAINED_FILE, choose_weights, load_weights

TRAINED = (D2SingleScaleTrained, D2MultiScaleTrained)
OFF_THE_SHELF = (D2SingleScale, D2MultiScale)
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)


def refuse_nothing(path: Path) -> None:
    pass


@pytest.fixture(scope="module")
def half() -> dict[str, torch.Tensor]:
    return {name: tensor.half() for name, tensor in reference.random_state(seed=1).items()}


@pytest.fixture(scope="module")
def half_file(half, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in half precision, in the authors' layout."""
    path = tmp_path_factory.mktemp("weights") / "half.pth"
    torch.save({"model": half}, path)
    return path


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def fetch(server, cache: Path, file: str, content: bytes) -> Path:
    """As `d2eval fetch d2net FILE` does."""
    server.files[file] = content
    return fetch_file(server.url(file), cache / "weights/d2net", file, refuse_nothing).path


def unverified(server, file: str) -> str:
    return f"{file} from {urlsplit(server.url()).netloc}, unverified"


@pytest.fixture
def authors(monkeypatch):
    """Says what the group of the authors' weights is."""

    def is_theirs(**changes: object) -> None:
        group = dataclasses.replace(weights_groups()["d2net"], **changes)
        monkeypatch.setattr("methods.d2net.weights.weights_groups", lambda: {"d2net": group})

    return is_theirs


def build(weights: object, method=D2SingleScale, cache=Path("no-such-cache"), **options):
    return method(D2Config(weights=str(weights), **options), Runtime(cache=cache))


def key_of(weights: object, **options) -> str:
    config = D2Config(weights=str(weights), **options)
    return D2SingleScale(config, Runtime()).identity("d2_ss", config).key


# Which file


def test_auto_is_bundled_until_the_official_file_is_fetched(server, cache):
    (path,), info = choose_weights("auto", "d2_ots.pth", cache)
    assert path.name == BUNDLED_FILE
    assert info.stand_in
    assert info.sha256 == sha256_of(path)
    assert "stand-in" in info.description

    fetched = fetch(server, cache, "d2_ots.pth", b"official")
    for choice in ("auto", "official"):
        (path,), info = choose_weights(choice, "d2_ots.pth", cache)
        assert path == fetched
        assert info.name == unverified(server, "d2_ots.pth")
        assert info.sha256 == sha256_of(fetched)
        assert not info.stand_in
    assert choose_weights("bundled", "d2_ots.pth", cache)[0][0].name == BUNDLED_FILE


def test_only_the_authors_address_or_checksum_makes_weights_official(server, cache, authors):
    fetch(server, cache, "d2_ots.pth", b"official")
    _, info = choose_weights("auto", "d2_ots.pth", cache)
    assert info.name == unverified(server, "d2_ots.pth")
    assert "'d2eval fetch d2net --force' compares" in info.description
    for known in ({"base_url": server.url()}, {"sha256": {"d2_ots.pth": info.sha256}}):
        authors(**known)
        _, info = choose_weights("auto", "d2_ots.pth", cache)
        assert (info.name, info.description) == ("official d2_ots.pth", "the authors' d2_ots.pth")
    authors(sha256={"d2_ots.pth": "0" * 64})
    assert "unverified" in choose_weights("official", "d2_ots.pth", cache)[1].name
    (cache / "weights/d2net/addresses.json").unlink()  # as of before they were recorded
    name = choose_weights("official", "d2_ots.pth", cache)[1].name
    assert name == "d2_ots.pth from an unrecorded source, unverified"


def test_another_official_file_does_not_stand_in(server, cache):
    fetch(server, cache, "d2_tf.pth", b"trained")
    assert choose_weights("auto", "d2_ots.pth", cache)[1].stand_in
    assert choose_weights("auto", "d2_tf.pth", cache)[1].name == unverified(server, "d2_tf.pth")


def test_trained_weights_without_phototourism_serve_where_the_papers_are_not_fetched(server, cache):
    other = fetch(server, cache, "d2_tf_no_phototourism.pth", b"fewer scenes")
    for choice in ("auto", "official"):
        (path,), info = choose_weights(choice, "d2_tf.pth", cache)
        assert path == other
        assert info.name == unverified(server, "d2_tf_no_phototourism.pth")
    assert choose_weights("auto", "d2_ots.pth", cache)[1].stand_in
    fetch(server, cache, "d2_tf.pth", b"trained")
    assert choose_weights("auto", "d2_tf.pth", cache)[1].name == unverified(server, "d2_tf.pth")


def test_the_bundled_trained_file_is_the_one_that_is_described():
    (_, path), info = choose_weights("bundled", "d2_tf.pth", Path("no-such-cache"))
    described = json.loads(path.with_name("d2_trained_bsds500.json").read_text())
    assert described["sha256"] == sha256_of(path)
    assert described["name"] == info.name


def test_a_path_is_taken_as_it_is(cache, tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"anything")
    found, info = choose_weights(str(path), "d2_ots.pth", cache)
    assert found == (path,)
    assert "mine.pth" in info.name
    assert info.sha256 == sha256_of(path)
    assert not info.stand_in


def test_a_home_folder_is_expanded(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.pth").write_bytes(b"anything")
    assert choose_weights("~/mine.pth", "d2_ots.pth", cache)[0] == (tmp_path / "mine.pth",)


@pytest.mark.parametrize("method", OFF_THE_SHELF)
def test_missing_official_weights_are_one_clear_error(method, cache):
    with pytest.raises(D2EvalError) as caught:
        build("official", method, cache)
    message = str(caught.value)
    assert "d2eval fetch d2net" in message
    assert "d2_ots.pth" in message
    assert "bundled" in message
    assert "\n" not in message


@pytest.mark.parametrize("method", TRAINED)
def test_trained_methods_without_the_authors_weights(method, cache):
    with pytest.raises(D2EvalError, match="d2eval fetch d2net"):
        build("official", method, cache)
    paths, info = choose_weights("auto", "d2_tf.pth", cache)
    assert [path.name for path in paths] == [BUNDLED_FILE, TRAINED_FILE]
    assert info.stand_in
    assert info.name == "trained here, homographies of BSDS500"
    assert "authors' trained" in info.description


def test_bundled_trained_weights_replace_the_last_layers_alone():
    (base,), _ = choose_weights("bundled", "d2_ots.pth", Path("no-such-cache"))
    paths, info = choose_weights("bundled", "d2_tf.pth", Path("no-such-cache"))
    untrained, own, both = load_file(base), load_file(paths[1]), load_weights(paths)
    assert {tensor.dtype for tensor in own.values()} == {torch.float16}
    assert info.sha256 not in (sha256_of(paths[0]), sha256_of(paths[1]))
    for name, tensor in both.items():
        assert torch.equal(tensor, own.get(name, untrained[name]))
        assert (name in own) == (not torch.equal(tensor, untrained[name]))
    assert both.keys() == untrained.keys()


def test_missing_path(cache, tmp_path):
    with pytest.raises(D2EvalError, match=r"nowhere\.pth: no such weights file"):
        build(tmp_path / "nowhere.pth")
    with pytest.raises(D2EvalError, match="no such weights file"):
        build(tmp_path)


@pytest.mark.parametrize("choice", ["auto", "official"])
def test_changed_official_weights_are_refused(choice, server, cache):
    path = fetch(server, cache, "d2_ots.pth", b"official")
    path.write_bytes(b"0fficial")
    with pytest.raises(D2EvalError, match=r"d2_ots\.pth: SHA-256.*d2eval fetch d2net"):
        build(choice, cache=cache)


@pytest.mark.parametrize("choice", ["auto", "official"])
def test_official_weights_without_a_record_are_refused(choice, cache):
    path = cache / "weights/d2net/d2_ots.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"from elsewhere")
    with pytest.raises(D2EvalError, match=r"checksums\.json.*d2eval fetch d2net"):
        build(choice, cache=cache)


def test_fetched_weights_are_used(server, cache, half_file):
    fetch(server, cache, "d2_ots.pth", half_file.read_bytes())
    fetch(server, cache, "d2_tf.pth", half_file.read_bytes())
    expected = build(half_file).extract(IMAGE)
    assert len(expected) > 0
    for method in (D2SingleScale, D2SingleScaleTrained):
        found = build("auto", method, cache).extract(IMAGE)
        assert np.array_equal(found.descriptors, expected.descriptors)


def test_state_of_weights(server, cache):
    assert "bundled" in D2SingleScale.weights_state(Runtime(cache=cache))
    assert "trained here" in D2SingleScaleTrained.weights_state(Runtime(cache=cache))
    fetch(server, cache, "d2_tf.pth", b"trained")
    assert "d2_tf.pth" in D2SingleScaleTrained.weights_state(Runtime(cache=cache))


# What is in the file


@pytest.mark.slow
def test_every_layout_gives_the_same_features(half, half_file, tmp_path):
    files = [half_file, tmp_path / "a.safetensors", tmp_path / "b.pth", tmp_path / "c.pth"]
    save_file(half, files[1])
    torch.save({name: tensor.float() for name, tensor in half.items()}, files[2])
    torch.save({"epoch": 3, "state_dict": half}, files[3])
    expected = reference.extract({n: t.float() for n, t in half.items()}, IMAGE)
    first = build(half_file).extract(IMAGE)
    assert len(first) == len(expected.scores) > 5
    assert np.abs(first.keypoints - expected.keypoints).max() < 1e-3
    for file in files[1:]:
        found = build(file).extract(IMAGE)
        for name in ("keypoints", "scores", "scales", "descriptors"):
            assert np.array_equal(getattr(found, name), getattr(first, name)), (file.name, name)


def test_bundled_weights_are_the_authors_architecture_in_half_precision():
    (path,), _ = choose_weights("bundled", "d2_ots.pth", Path("no-such-cache"))
    state = load_file(path)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert set(state) == set(reference.random_state(0))
    assert sum(tensor.numel() for tensor in state.values()) == 7_635_264


def without(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


def with_value(state: dict[str, torch.Tensor], name: str, value: float) -> dict[str, torch.Tensor]:
    changed = state[name].clone()
    changed.view(-1)[7] = value
    return {**state, name: changed}


CONV1, BIAS = reference.weight_name("conv1_1", "weight"), reference.weight_name("conv4_3", "bias")
BROKEN = {
    "missing tensor": (lambda s: without(s, BIAS), f"{BIAS} is missing"),
    "extra tensor": (lambda s: {**s, "fc.weight": torch.ones(2)}, "fc.weight is not part of"),
    "other names": (lambda s: {f"vgg.{i}": t for i, t in enumerate(s.values())}, "is missing"),
    "other shape": (lambda s: {**s, CONV1: torch.zeros(64, 1, 3, 3)}, r"\(64, 1, 3, 3\)"),
    "transposed": (lambda s: {**s, CONV1: s[CONV1].transpose(0, 1)}, r"\(3, 64, 3, 3\)"),
    "NaN": (lambda s: with_value(s, CONV1, float("nan")), "NaN or infinite"),
    "infinite": (lambda s: with_value(s, BIAS, float("-inf")), "NaN or infinite"),
    "no tensors": (lambda s: {"a": 1}, "no tensors"),
    "empty": (lambda s: {}, "no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_weights_that_do_not_fit_are_refused(kind, half, tmp_path):
    change, message = BROKEN[kind]
    path = tmp_path / "broken.pth"
    torch.save({"model": change(half)}, path)
    with pytest.raises(D2EvalError, match=message) as caught:
        build(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 1000, 0.5, 0.9999])
def test_truncated_files_are_refused(suffix, kept, half, half_file, tmp_path):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pth":
        whole = half_file
    else:
        save_file(half, whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(D2EvalError) as caught:
        build(cut)
    assert str(cut) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"<html>404</html>", b"\0" * 4096, bytes(range(256)) * 40])
def test_other_files_are_refused(suffix, content, tmp_path):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(D2EvalError, match="other"):
        build(path)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("layout", ["torch", "torch, beside tensors", "legacy", "pickle"])
def test_a_pickle_that_runs_code_is_refused(layout, half, tmp_path):
    created, path = tmp_path / "created", tmp_path / "malicious.pth"
    payload = Payload(created)
    if layout == "torch":
        torch.save({"model": payload}, path)
    elif layout == "torch, beside tensors":
        torch.save({"model": half, "note": payload}, path)
    elif layout == "legacy":
        torch.save({"model": payload}, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(payload, protocol=2))
    with pytest.raises(D2EvalError, match="refused") as caught:
        build(path)
    assert str(path) in str(caught.value)
    assert not created.exists()
    if layout != "pickle":
        torch.load(path, weights_only=False)
        assert created.exists()  # the file does what the test says


def test_load_state_dict_takes_the_format_that_it_is_told(half, tmp_path):
    path = tmp_path / "unnamed.part"
    save_file(half, path)
    assert set(load_state_dict(path, suffix=".safetensors")) == set(half)


# The key under which features are cached


def test_the_key_follows_what_decides_the_features(half, half_file, tmp_path, monkeypatch):
    monkeypatch.setattr("methods.d2net.method.D2Network", lambda *_: None)  # is slow to build
    copy = tmp_path / "elsewhere.pth"
    copy.write_bytes(half_file.read_bytes())
    other = tmp_path / "half.pth"  # the same name, one value differs
    torch.save({"model": with_value(half, CONV1, 0.5)}, other)
    key = key_of(half_file)
    assert key_of(copy) == key
    different = [
        key_of("bundled"),
        key_of(other),
        key_of(half_file, preprocessing="torch"),
        key_of(half_file, relu=False),
        key_of(half_file, max_edge=1024),
        key_of(half_file, max_sum_edges=2000),
    ]
    assert len({key, *different}) == 1 + len(different)


def test_the_key_follows_the_method(half_file):
    config = D2Config(weights=str(half_file))
    method = D2SingleScale(config, Runtime())
    assert method.identity("d2_ss", config).key != method.identity("d2_ms", config).key


@pytest.mark.parametrize("name", ["max_edge", "max_sum_edges"])
@pytest.mark.parametrize("value", [0, -5])
def test_limits_must_be_positive(name, value):
    with pytest.raises(D2EvalError, match=f"--{name.replace('_', '-')}"):
        D2Config(**{name: value})
