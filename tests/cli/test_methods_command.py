import re
import sys
from importlib.util import find_spec

import pytest

from d2eval.cli import main
from d2eval.contracts.method import registered


@pytest.fixture
def listed(tmp_path, capsys):
    """The lines that ``d2eval methods`` prints, by their first word."""

    def listed(*arguments: str) -> dict[str, str]:
        assert main(["methods", "--cache", str(tmp_path), *arguments]) == 0
        out, error = capsys.readouterr()
        assert error == ""
        return {line.split()[0]: line for line in reversed(out.splitlines()) if line}

    return listed


def install(folder, entry_points: str, **modules: str) -> None:
    """Lays out a package of another author as an installer would."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[d2eval.methods]\n{entry_points}")


def cells(line: str) -> list[str]:
    return re.split(r"  +", line)


def test_every_method_has_its_line(listed):
    lines = listed()
    assert set(registered()) < set(lines)
    assert cells(lines["d2_ss"]) == [
        "d2_ss", "512", "bundled stand-in", "BSD-3-Clause-Clear", "Dusmanu et al., CVPR 2019",
    ]  # fmt: skip
    assert cells(lines["rootsift"]) == [
        "rootsift", "128", "none needed", "BSD-3-Clause", "Arandjelovic & Zisserman, CVPR 2012",
    ]  # fmt: skip
    assert "  Barroso-Laguna et al., ICCV 2019" in lines["keynet_hardtfeat"]
    assert lines["lightglue"].endswith("  Lindenberger et al., ICCV 2023")
    assert lines["mnn"].endswith("  -")


def test_the_columns_are_aligned(listed):
    lines = listed()
    starts = {lines[name].index(text) for name, text in (
        ("method", "licence"), ("d2_ss", "BSD-3"), ("r2d2", "CC BY"), ("ratio", "BSD-3"),
    )}  # fmt: skip
    assert len(starts) == 1
    assert max(len(lines[name]) for name in [*registered(), *registered("matchers")]) <= 100


def test_what_is_missing_stands_whole_below_the_table_with_the_command(listed):
    lines = listed()
    assert cells(lines["r2d2"])[1:4] == ["128", "missing", "CC BY-NC-SA 3.0"]
    assert lines["r2d2:"].endswith("run 'd2eval fetch r2d2 --accept-license'")
    fetched = "run 'd2eval fetch lightglue'"
    installed = 'run: pip install "d2eval[modern]"'  # what lacks first, said first
    assert lines["lightglue:"].endswith(fetched if find_spec("kornia") else installed)
    assert lines["d2_ss_trained:"] == "d2_ss_trained: trained here, homographies of BSDS500"
    assert "d2_ss:" not in lines


def test_all_that_is_known_of_some(capsys, tmp_path):
    names = ["rootsift", "ratio", "methods.TEMPLATE:MyFeature"]
    assert main(["methods", *names, "--cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "rootsift: DoG + RootSIFT (COLMAP)", "  dimensions: 128", "  weights: none needed",
        "  licence: BSD-3-Clause", "  paper: Arandjelovic & Zisserman, CVPR 2012",
        "  paper: Lowe, IJCV 2004", "  paper: Schonberger & Frahm, CVPR 2016",
        "ratio: nearest neighbours by Lowe's ratio test, one way", "  dimensions: -",
        "  weights: none needed", "  licence: BSD-3-Clause", "  paper: Lowe, IJCV 2004",
        "methods.TEMPLATE:MyFeature: template: Shi-Tomasi corners + normalised 16x16 patches",
        "  dimensions: 256", "  weights: none needed", "  licence: BSD-3-Clause",
    ]  # fmt: skip
    assert main(["methods", "r2d2", "superpoint", "--cache", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (
        "\n  trained on: web images, Aachen/database\n" in out and "trained on: not stated" in out
    )
    assert main(["methods", "rotsift"]) == 2
    assert "did you mean rootsift" in capsys.readouterr().err


def test_the_other_ways_are_in_the_footer(listed):
    text = "\n".join(listed().values())
    assert "precomputed:DIR" in text
    assert "module:Class" in text


BROKEN = {
    "syntax": ("outside_syntax:Feature", "def", "can't be imported (SyntaxError: "),
    "missing": ("outside_nothing:Feature", None, "No module named 'outside_nothing'"),
    "no_class": ("outside_empty:Feature", "", "has no attribute 'Feature'"),
    "not_method": ("outside_dict:Feature", "Feature = {}", "is not a d2eval.Method"),
    "no_description": (
        "outside_bare:Feature",
        "from d2eval import Method\nclass Feature(Method):\n    descriptor_dim = 8\n",
        "AttributeError: ",
    ),
    "raises": (
        "outside_raises:Feature",
        "raise RuntimeError('needs a licence\\nand more')",
        "can't be imported (RuntimeError: needs a licence)",
    ),
}


def test_broken_entry_points_are_shown_and_the_others_stay(listed, tmp_path, monkeypatch):
    modules = {
        target.partition(":")[0]: text for target, text, _ in BROKEN.values() if text is not None
    }
    install(
        tmp_path,
        "".join(f"{name} = {target}\n" for name, (target, *_) in BROKEN.items()),
        **modules,
    )
    monkeypatch.syspath_prepend(tmp_path)
    lines = listed()
    for name, (_, _, reason) in BROKEN.items():
        assert "  broken  " in lines[name]
        assert lines[f"{name}:"].startswith(f"{name}: broken: ")
        assert reason in lines[f"{name}:"]
    assert "  none needed  " in lines["rootsift"]
    for name in modules:
        sys.modules.pop(name, None)


def test_a_name_that_two_packages_claim_is_one_line(tmp_path, monkeypatch, capsys):
    install(tmp_path, "rootsift = outside_sift:Feature\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["methods"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("d2eval: method 'rootsift' is claimed by methods.rootsift:RootSIFT and")
    assert error.count("\n") == 1
