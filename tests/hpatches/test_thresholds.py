"""Thresholds that a user adds to the benchmark's file, or takes out of it."""

import pytest

from d2eval.cli import main
from d2eval.contracts.protocol import ProtocolFile, load_protocol
from d2eval.hpatches import protocol
from d2eval.hpatches.report import published


@pytest.mark.parametrize(
    "thresholds",
    [
        [*range(1, 16), 20],
        *(pytest.param(few, marks=pytest.mark.slow) for few in ([1, 3, 5, 10, 25], [2, 3])),
    ],
)
def test_a_run_ends_with_its_table_and_curves(tiny_hpatches, tmp_path, monkeypatch, thresholds):
    content = load_protocol("hpatches").content
    edited = ProtocolFile(content | {"thresholds_px": thresholds})
    for module in (published, protocol):
        monkeypatch.setattr(module, "load_protocol", lambda _: edited)
    monkeypatch.setitem(published.presentation("hpatches")["figure"], "thresholds_px", thresholds)
    where = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "runs")]
    line = ["hpatches", "--method", "rootsift", "--data", str(tiny_hpatches), *where]
    assert main(line) == 0
    folder = tmp_path / "runs/hpatches/rootsift"
    header = (folder / "summary.csv").read_text().splitlines()[0].split(",")
    assert {f"mma_{t}px" for t in thresholds} <= set(header)
    assert (folder / "hpatches.md").is_file()
    assert (folder / "mma.svg").is_file()
