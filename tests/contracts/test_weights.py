"""Weights files as people have them: layouts, number types, damage, and what is refused."""

import argparse
import json
import os
import re
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from d2eval.contracts.weights import load_state_dict, to_safetensors
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import sha256_of
from d2eval.foundation.formats.torchfiles import read_torch

VALUES = torch.arange(-12.0, 12.0).reshape(2, 3, 4)


def saved(path: Path, content: object, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


def refused(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(D2EvalError) as caught:
        load_state_dict(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


# Number types and layouts of tensors

NO_WEIGHTS = [
    torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64,
    torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


@pytest.mark.parametrize("dtype", NO_WEIGHTS, ids=str)
def test_numbers_that_would_be_cast_are_refused(tmp_path, dtype):
    tensors = {"good": VALUES, "a.weight": torch.ones(3).to(dtype)}
    paths = [saved(tmp_path / "a.pth", tensors)]
    if dtype != torch.complex128:  # which safetensors doesn't have
        paths.append(tmp_path / "a.safetensors")
        save_file(tensors, paths[-1])
    for path in paths:
        kind = str(dtype).removeprefix("torch.")
        assert f"a.weight holds {kind} values" in refused(path)


def test_numbers_of_16_bits_or_more_are_kept_as_they_are(tmp_path):
    kept = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    tensors = {str(dtype): (VALUES / 7).to(dtype) for dtype in kept}
    save_file(tensors, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.safetensors", saved(tmp_path / "a.pth", tensors)):
        found = load_state_dict(path)
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e39])
def test_numbers_that_are_not_finite_in_float32_are_refused(tmp_path, value):
    tensor = torch.tensor([0.0, value], dtype=torch.float64)
    message = refused(saved(tmp_path / "a.pth", {"model": {"a.bias": tensor}}))
    assert "NaN or infinite values in float32 (a.bias)" in message


def test_counters_are_no_weights_and_allowed(tmp_path):
    counter = torch.tensor(7)
    found = load_state_dict(
        saved(tmp_path / "a.pth", {"bn.num_batches_tracked": counter, "a": VALUES})
    )
    assert found["bn.num_batches_tracked"] == 7


LAYOUTS = {
    "parameter": lambda t: torch.nn.Parameter(t),
    "parameter without gradient": lambda t: torch.nn.Parameter(t, requires_grad=False),
    "strided": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "a part of a larger one": lambda t: torch.cat([t, t, t])[len(t) : 2 * len(t)],
    "sparse": lambda t: t.to_sparse(),
    "sparse with dense dimensions": lambda t: t.to_sparse(1),
    "compressed rows": lambda t: t.to_sparse_csr() if t.ndim == 2 else t,
    "compressed columns": lambda t: t.to_sparse_csc() if t.ndim == 2 else t,
}


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state")
@pytest.mark.parametrize("format", ["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_as_a_plain_tensor(tmp_path, layout, format):
    tensors = {"cube": VALUES, "matrix": VALUES[0], "repeated": torch.ones(1).expand(5)}
    changed = {name: LAYOUTS[layout](tensor) for name, tensor in tensors.items()}
    path = tmp_path / "a.pth"
    saved(path, {"model": changed}, _use_new_zipfile_serialization=format == "zip")
    found = load_state_dict(path)
    for name, tensor in tensors.items():
        assert type(found[name]) is torch.Tensor
        assert found[name].is_contiguous()
        assert not found[name].requires_grad
        assert found[name].untyped_storage().nbytes() == 4 * tensor.numel()
        assert found[name].data_ptr() % 64 == 0
        assert torch.equal(found[name], tensor)


def test_memory_is_aligned_whatever_the_file(tmp_path):
    tensors = {f"a{n}": torch.rand(n) for n in range(1, 9)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"note": "some text"})
    found = load_state_dict(tmp_path / "a.safetensors")
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values())


# What stands around the tensors


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module." * 2000]
)
def test_names_of_wrappers_are_left_out(tmp_path, prefix):
    tensors = {"a.weight": VALUES, "module.b": VALUES + 1}
    wrapped = {prefix + name: tensor for name, tensor in tensors.items()}
    assert load_state_dict(saved(tmp_path / "a.pth", {"model": wrapped})).keys() == tensors.keys()


def checkpoint_of_the_authors_script() -> dict[str, object]:
    """What d2-net's train.py saves (0a3356c, the end of an epoch)."""
    network = torch.nn.Conv2d(1, 2, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network(torch.ones(1, 1, 5, 5)).sum().backward()
    optimizer.step()
    args = argparse.Namespace(
        dataset_path="MegaDepth", use_validation=True, num_epochs=10, lr=1e-3, plot=False
    )
    losses = [np.mean([0.5, 0.75]), np.float32(0.25)]
    return {
        "args": args,
        "epoch_idx": 3,
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "train_loss_history": losses,
        "validation_loss_history": np.array(losses),
        "where": Path("checkpoints"),
    }


def renamed(path: Path, old: bytes, new: bytes) -> None:
    """Replaces a name in the pickle of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    assert any(old in data for name, data in members.items() if name.endswith("data.pkl"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            data = data.replace(old, new) if name.endswith("data.pkl") else data
            archive.writestr(name, data)


@pytest.mark.parametrize("numpy_module", ["numpy._core.multiarray", "numpy.core.multiarray"])
@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_the_authors_training_entries_are_read_over(tmp_path, format, numpy_module):
    content = checkpoint_of_the_authors_script()
    path = tmp_path / "d2.best.pth"
    saved(path, content, _use_new_zipfile_serialization=format == "zip")
    ours = np.mean([0.0]).__reduce__()[0].__module__.encode()  # by which this NumPy names it
    if format == "zip":
        renamed(path, ours + b"\n", numpy_module.encode() + b"\n")
    else:
        path.write_bytes(path.read_bytes().replace(ours + b"\n", numpy_module.encode() + b"\n"))
    assert numpy_module.encode() in path.read_bytes()
    found = load_state_dict(path)
    assert found.keys() == content["model"].keys()
    assert all(torch.equal(found[name], content["model"][name]) for name in found)
    read = read_torch(path, "weights", "")
    assert read["epoch_idx"] == 3
    assert not isinstance(read["args"], argparse.Namespace)  # nothing of other libraries is made


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_the_keys_of_checkpoints(tmp_path, key):
    path = saved(tmp_path / "a.pth", {"epoch": 1, key: {"a": VALUES}, "optimizer": {"b": VALUES}})
    assert load_state_dict(path).keys() == {"a"}


class Network(torch.nn.Module):
    """A network of the user's, pickled whole."""


def test_what_is_not_read_over_is_named(tmp_path):
    message = refused(saved(tmp_path / "a.pth", {"model": Network()}))
    assert "refused" in message
    assert f"it holds a {__name__}.Network" in message
    assert "save a state_dict" in message


# Damage, and files that declare more than they hold


@pytest.fixture
def whole(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {f"{n}.weight": torch.rand(64, 64, generator=generator) for n in range(4)}
    return saved(tmp_path / "a.pth", {"model": tensors})


@pytest.mark.parametrize("damage", ["zeros", "a bit"])
def test_damaged_values_do_not_pass_for_weights(whole, damage):
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    if damage == "zeros":
        content[middle : middle + 4096] = bytes(4096)
    else:
        content[middle] ^= 1
    whole.write_bytes(content)
    assert "broken weights" in refused(whole)
    assert "differs from its checksum" in refused(whole)


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_any_damage_is_one_line_or_harmless(tmp_path, format):
    path = tmp_path / "a.pth"
    content = {"model": {"a.weight": torch.rand(4, 4), "b": VALUES}, "loss": np.float64(1.5)}
    saved(path, content, _use_new_zipfile_serialization=format == "zip")
    original = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(original)
        for place in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        kept = rng.integers(1, len(damaged)) if rng.random() < 0.3 else len(damaged)
        path.write_bytes(damaged[:kept])
        try:
            found = load_state_dict(path)
        except D2EvalError as error:
            assert "\n" not in str(error)
        else:
            assert sum(tensor.numel() for tensor in found.values()) < 10_000


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\0" * 2**24)


def huge_sparse() -> torch.Tensor:
    return torch.sparse_coo_tensor([[0], [0]], [1.0], (2**30, 2**10))


DECLARED = {
    "repeated": lambda path: torch.save({"a": torch.ones(1).expand(2**30, 2**10)}, path),
    "sparse": lambda path: torch.save({"a": huge_sparse()}, path),
    "compressed": bomb,
}


@pytest.mark.parametrize("kind", DECLARED)
def test_files_that_declare_more_than_they_hold(tmp_path, kind):
    path = tmp_path / "a.pth"
    DECLARED[kind](path)
    assert path.stat().st_size < 2**16
    assert re.search("declares more bytes|holds more than 256 MiB", refused(path))


def test_a_text_without_end_takes_no_memory(tmp_path):
    path = saved(tmp_path / "a.pth", {"a": VALUES}, _use_new_zipfile_serialization=False)
    name = b"X\x01\x00\x00\x00a"  # its length in 4 bytes
    assert path.read_bytes().count(name) == 1
    path.write_bytes(path.read_bytes().replace(name, b"X\xff\xff\xff\xffa"))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, limits[1]))
    try:
        with pytest.raises(D2EvalError) as caught:
            load_state_dict(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert not isinstance(caught.value.__cause__, MemoryError)


def test_sparse_indices_out_of_range_are_refused(tmp_path):
    tensor = torch.sparse_coo_tensor([[0, 9]], [1.0, 2.0], (10,))
    smaller = torch.sparse_coo_tensor(
        tensor._indices(), tensor._values(), (5,), check_invariants=False, is_coalesced=True
    )
    message = refused(saved(tmp_path / "a.pth", {"a": smaller}))
    assert re.search("no sound sparse tensor|inconsistent with indices", message)
    whole = saved(tmp_path / "b.pth", {"a": VALUES.to_sparse()})  # the next one isn't affected
    assert torch.equal(load_state_dict(whole)["a"], VALUES)


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_a_name_without_end_is_refused_at_once(tmp_path, format):
    """PyTorch takes the square of its length to look at it, and the message would hold it."""
    path = tmp_path / "a.pth"
    name = b"q" * 3000
    if format == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02cmodule\n" + name + b"\n.")
            archive.writestr("a/version", b"3\n")
    else:
        saved(path, {"a": Unknown()}, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes().replace(b"\nUnknown\n", b"\n" + name + b"\n"))
    message = refused(path)
    assert message == f"{path}: refused: broken weights, or none of PyTorch's; get the file again"


class Unknown:
    """Nothing that is read over."""


def test_a_file_that_breaks_off_after_a_sparse_tensor_spoils_no_other(tmp_path):
    """As versions of PyTorch that check all of them would have it."""
    tensor = torch.sparse_coo_tensor([[0, 9]], [1.0, 2.0], (10,))
    smaller = torch.sparse_coo_tensor(
        tensor._indices(), tensor._values(), (5,), check_invariants=False, is_coalesced=True
    )
    assert "Unknown" in refused(saved(tmp_path / "a.pth", {"a": smaller, "b": Unknown()}))
    whole = saved(tmp_path / "b.pth", {"a": VALUES})
    with torch.sparse.check_sparse_tensor_invariants(True):
        assert torch.equal(load_state_dict(whole)["a"], VALUES)


def test_tensors_without_values_are_refused(tmp_path):
    path = saved(tmp_path / "a.pth", {"a": torch.empty(3, device="meta")})
    assert "a is no plain tensor with values" in refused(path)


HEADERS = {
    "more than it holds": {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    "a shape that overflows": {
        "a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}
    },
    "negative offsets": {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
    "digits without end": {"a": {"dtype": "F32", "shape": [10**15], "data_offsets": [0, 8]}},
    "another type": {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
    "no tensors": {},
}


@pytest.mark.parametrize("kind", HEADERS)
def test_safetensors_headers_that_lie(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    header = json.dumps(HEADERS[kind]).replace(str(10**15), "9" * 5000).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    refused(path)


@pytest.mark.parametrize("length", [2**63, 2**40, 10**8, 0])
def test_safetensors_headers_longer_than_the_file(tmp_path, length):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(100))
    refused(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    assert "pipe" in refused(path)
    with pytest.raises(D2EvalError, match="pipe"):
        sha256_of(path)


# Written files


def test_equal_tensors_give_equal_bytes(tmp_path):
    tensors = {f"{n}.weight": torch.rand(3, n) for n in range(1, 6)}
    metadata = {f"key {n}": "v\u00e4lue" * n for n in range(12)}
    content = to_safetensors(tensors, metadata)
    turned = [dict(reversed(held.items())) for held in (tensors, metadata)]
    assert all(to_safetensors(*turned) == content for _ in range(5))
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert int.from_bytes(content[:8], "little") % 8 == 0
    with safe_open(path, "pt") as file:
        assert file.metadata() == metadata
    found = load_state_dict(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
