"""Methods on kornia's networks: what is said without kornia, and of weights that don't fit."""

import hashlib
import re

import pytest
import torch
from safetensors.torch import save_file

from d2eval.contracts.method import Runtime, method_class
from d2eval.foundation.errors import D2EvalError
from methods.modern import networks

NAMES = ["disk", "aliked", "xfeat", "keynet_hardtfeat"]


@pytest.mark.parametrize("name", NAMES)
def test_without_kornia_one_line_names_the_command(name, monkeypatch):
    monkeypatch.setattr(networks, "has_kornia", lambda: False)
    cls = method_class(name)
    assert cls.weights_state(Runtime()) == 'missing: kornia; run: pip install "d2eval[modern]"'
    with pytest.raises(D2EvalError, match=re.escape('run: pip install "d2eval[modern]"')):
        cls(cls.Config(), Runtime())


@pytest.mark.parametrize("name", NAMES)
def test_bundled_weights_are_those_on_record(name):
    path = method_class(name).bundle.path
    record = (path.parent / "README.md").read_text()
    assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" in record


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    fits = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    state = fits.state_dict()
    networks.load_into(fits, state, path, "cpu")
    wrong = {
        "lacks 1.running_var": {k: v for k, v in state.items() if k != "1.running_var"},
        "has more.weight": {**state, "more.weight": torch.zeros(1)},
        "size mismatch": {**state, "0.weight": torch.zeros(2, 1, 5, 5)},
    }
    for reason, tensors in wrong.items():
        with pytest.raises(D2EvalError, match=f"other.safetensors: .*{reason}"):
            networks.load_into(fits, tensors, path, "cpu")


def test_missing_file_is_named(tmp_path):
    pytest.importorskip("kornia")
    cls = method_class("xfeat")
    with pytest.raises(D2EvalError, match=r"nothing\.pth: no such weights file"):
        cls(cls.Config(weights=str(tmp_path / "nothing.pth")), Runtime())
    other = tmp_path / "disk.safetensors"
    save_file({"conv.weight": torch.zeros(2, 2)}, other)
    with pytest.raises(D2EvalError, match=r"disk\.safetensors: weights of another network"):
        cls(cls.Config(weights=str(other)), Runtime())
