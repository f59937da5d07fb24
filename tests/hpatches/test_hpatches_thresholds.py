"""Thresholds that a user adds to the benchmark's file, or takes out of it."""

import json

import pytest

from d2eval import protocol
from d2eval.cli import main
from d2eval.hpatches import benchmark as benchmark_module
from d2eval.protocol import load_protocol


@pytest.mark.parametrize("thresholds", [[*range(1, 16), 20], [1, 3, 5, 10, 25], [2, 3]])
def test_a_run_ends_with_its_table_and_curves(tiny_hpatches, tmp_path, monkeypatch, thresholds):
    real = load_protocol("hpatches")
    content = json.loads(json.dumps(real.content)) | {"thresholds_px": thresholds}
    content["plot"]["thresholds_px"] = thresholds
    edited = protocol.ProtocolFile(real.path, "0" * 64, content)
    for name in ("cli.hpatches", "report.hpatches_table", "report.curves"):
        module = __import__(f"d2eval.{name}", fromlist=["x"])
        if hasattr(module, "load_protocol"):
            monkeypatch.setattr(module, "load_protocol", lambda _: edited)
    monkeypatch.setattr(protocol, "load_protocol", lambda _: edited)
    monkeypatch.setattr(benchmark_module, "load_protocol", lambda _: edited)
    where = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "runs")]
    line = ["hpatches", "--method", "rootsift", "--data", str(tiny_hpatches), *where]
    assert main(line) == 0
    folder = tmp_path / "runs/hpatches/rootsift"
    header = (folder / "summary.csv").read_text().splitlines()[0].split(",")
    assert {f"mma_{t}px" for t in thresholds} <= set(header)
    assert (folder / "hpatches.md").is_file()
    assert (folder / "mma.svg").is_file()
