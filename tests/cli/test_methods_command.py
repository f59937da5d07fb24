import sys

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
        return {line.split()[0]: line for line in out.splitlines() if line}

    return listed


def install(folder, entry_points: str, **modules: str) -> None:
    """Lays out a package of another author as an installer would."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[d2eval.methods]\n{entry_points}")


def test_every_method_has_its_line(listed):
    lines = listed()
    assert set(registered()) < set(lines)
    assert "  128  DoG + RootSIFT (COLMAP)" in lines["rootsift"]
    assert lines["rootsift"].endswith("  none needed")
    assert lines["d2_ss"].endswith("  bundled stand-in")
    assert "  512  D2-Net, single scale, trained" in lines["d2_ss_trained"]
    assert lines["d2_ss_trained"].endswith("  trained here, homographies of BSDS500")


def test_the_columns_are_aligned(listed):
    lines = listed()
    starts = {lines[name].index(text) for name, text in (
        ("method", "description"), ("d2_ss", "D2-Net"), ("rootsift", "DoG"),
    )}  # fmt: skip
    assert len(starts) == 1


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
        assert "  broken: " in lines[name]
        assert reason in lines[name]
    assert lines["rootsift"].endswith("none needed")
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
