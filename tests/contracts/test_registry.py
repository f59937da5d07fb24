import csv
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import d2eval
from d2eval.cli import main
from d2eval.contracts import registry
from d2eval.contracts.method import Method, method_class, registered
from d2eval.foundation.errors import D2EvalError

TEMPLATE = Path(str(files("methods") / "TEMPLATE.py"))


def install(folder: Path, distribution: str, module: str, text: str, **methods: str) -> None:
    """Lays out a package of another author as an installer would: a module and its metadata."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(text)
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {module}:{attribute}\n" for name, attribute in methods.items()]
    (info / "entry_points.txt").write_text("[d2eval.methods]\n" + "".join(lines))


def python(*arguments: str, path: Path | None = None, cwd: Path | None = None):
    """Runs another Python, to which the packages under ``path`` are installed."""
    search = [str(path)] if path else []
    search.append(str(Path(d2eval.__file__).parents[1]))
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
    )  # fmt: skip


def test_registered_names_lead_to_methods():
    assert {"d2_ss", "d2_ms", "rootsift", "upright_rootsift"} <= set(registered())
    for name in registered():
        assert issubclass(method_class(name), Method)


def test_module_and_class():
    assert method_class("methods.TEMPLATE:MyFeature").__name__ == "MyFeature"
    assert method_class("methods.rootsift:RootSIFT") is method_class("rootsift")


@pytest.mark.parametrize(
    ("name", "near"), [("d2ss", "d2_ss"), ("rotsift", "rootsift"), ("D2_MS_trained", "d2_ms")]
)
def test_an_unknown_name_suggests_the_nearest(name, near):
    with pytest.raises(D2EvalError, match=f"unknown method '{name}'; did you mean .*{near}"):
        method_class(name)


def test_a_name_near_to_none_lists_all():
    with pytest.raises(
        D2EvalError, match=r"unknown method 'xyz'; known: d2_ss, .*'d2eval methods'"
    ):
        method_class("xyz")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nothing.at_all:Feature", "can't be imported (ModuleNotFoundError: No module named"),
        ("methods.rootsift:Nothing", "can't be imported (AttributeError: module"),
        ("methods.rootsift:", "can't be imported"),
        (":Feature", "can't be imported (ValueError: "),
        ("methods.rootsift:SiftConfig", "is not a d2eval.Method"),
        ("methods.rootsift:cv2", "is not a d2eval.Method"),
    ],
)
def test_a_target_that_is_no_method(target, reason):
    with pytest.raises(D2EvalError) as caught:
        method_class(target)
    assert str(caught.value).startswith(f"method {target!r}: {target} ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ["./a/mine.py:Mine", "mine.py"])
def test_a_file_is_no_module(name):
    with pytest.raises(D2EvalError, match="write mine:CLASS, where"):
        method_class(name)


def registry_file(folder: Path, monkeypatch, text: str) -> Path:
    """A copy of the repository's registry with more lines, in its place."""
    path = folder / "registry.toml"
    path.write_text(text)
    monkeypatch.setattr(registry, "_path", lambda: path)
    return path


OWN = (TEMPLATE.parent / "registry.toml").read_text()


def test_a_line_at_the_end_is_a_method(tmp_path, monkeypatch):
    registry_file(tmp_path, monkeypatch, OWN + 'mine = "methods.TEMPLATE:MyFeature"\n')
    assert list(registered())[-1] == "mine"
    assert method_class("mine").__name__ == "MyFeature"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('mine = "a:B"\n' + OWN, r"mine stands in no table; move its line below \[methods\]"),
        (OWN + '[method]\nmine = "a:B"\n', r"unknown table \[method\]; did you mean \[methods\]"),
        (OWN + 'mine = "a.B"\n', r"\[methods\] mine = 'a.B': must be \"module:Class\""),
        (OWN + "mine = 3\n", r"\[methods\] mine = 3: must be"),
        (OWN + 'd2_ss = "a:B"\n', "not a TOML file"),
    ],
)
def test_a_broken_registry_is_one_line(tmp_path, monkeypatch, capsys, text, says):
    path = registry_file(tmp_path, monkeypatch, text)
    with pytest.raises(D2EvalError, match=says) as caught:
        registered()
    assert str(caught.value).startswith(f"{path}: ")
    assert main(["methods"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_method_in_the_table_of_another_kind(tmp_path, monkeypatch):
    text = OWN.replace("[trainers]", 'mine = "methods.TEMPLATE:MyFeature"\n[trainers]')
    path = registry_file(tmp_path, monkeypatch, text)
    with pytest.raises(D2EvalError) as caught:
        method_class("mine")
    assert f"{path} has it in the table [maps], not in [methods]" in str(caught.value)


def test_a_package_that_is_installed_later_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert "late" not in registered()
    install(tmp_path, "outside", "outside_module", "", late="Feature")
    assert registered()["late"] == "outside_module:Feature"


def test_two_packages_that_claim_one_name(tmp_path, monkeypatch):
    for package in ("first", "second"):
        install(tmp_path, package, f"{package}_module", "", taken="Feature")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        D2EvalError, match=r"'taken' is claimed by .* and .*uninstall or rename one"
    ):
        registered()


def test_a_package_that_claims_a_name_of_this_repository(tmp_path, monkeypatch):
    install(tmp_path, "outside", "outside_module", "", d2_ss="Feature")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        D2EvalError, match=r"claimed by methods\.d2net\.method:D2SingleScale and outside"
    ):
        registered()


CLASH = """
from dataclasses import dataclass
from d2eval.contracts.method import Method
from d2eval.contracts.options import option

@dataclass(frozen=True)
class Config:
    seed: int = option(3, "its own seed")

class Feature(Method):
    Config = Config
"""


def test_an_option_that_the_command_has_itself(tmp_path, monkeypatch, capsys):
    install(tmp_path, "outside", "outside_clash", CLASH, clash="Feature")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["hpatches", "--method", "clash"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "d2eval: method 'clash': its option --seed is one of this command's own"
    )
    assert error.count("\n") == 1
    sys.modules.pop("outside_clash")


def test_the_contract_imports_no_torch():
    heavy = "[m for m in ('torch', 'cv2', 'pycolmap', 'methods.d2net') if m in sys.modules]"
    done = python("-c", f"import sys, d2eval.contracts.method as m; m.registered(); print({heavy})")
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(words):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['d2eval', *{words}]\n"
        "try:\n"
        "    runpy.run_module('d2eval', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    heavy = ('torch', 'pandas', 'matplotlib', 'cv2', 'scipy', 'h5py')\n"
        "    print(end.code, [m for m in heavy if m in sys.modules], file=sys.stderr)\n"
    )
    done = python("-c", code)
    assert "usage: d2eval" in done.stdout
    assert done.stderr == "0 []\n"


def test_a_method_of_another_package_is_listed_and_evaluated(
    tmp_path, tiny_hpatches, monkeypatch, capsys, no_figures
):
    packages = tmp_path / "packages"
    install(
        packages, "outside", "outside_module", TEMPLATE.read_text(), outside_feature="MyFeature"
    )
    monkeypatch.syspath_prepend(packages)
    monkeypatch.chdir(tmp_path)
    assert main(["methods", "--cache", "cache"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = [line for line in out.splitlines() if line.startswith("outside_feature ")]
    assert line.split()[:5] == ["outside_feature", "256", "none", "needed", "BSD-3-Clause"]

    code = main(
        ["hpatches", "--method", "outside_feature", "--data", str(tiny_hpatches),
         "--num-features", "150", "--cache", "cache", "--output", "runs"]
    )  # fmt: skip
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert out.startswith("outside_feature: no weights needed\n")
    run = tmp_path / "runs" / "hpatches" / "outside_feature-num-features150"
    with (run / "summary.csv").open() as file:
        overall = next(csv.DictReader(file))
    assert (overall["method"], overall["pairs"]) == (run.name, "10")
    assert float(overall["mean_matches"]) > 20
    features = json.loads((run / "manifest.json").read_text())["features"]
    assert features["method"] == "outside_feature"
    assert features["config"] == {"num_features": 150, "quality": 0.01}
    sys.modules.pop("outside_module")
