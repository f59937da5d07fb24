"""What a wheel holds, and under which names it gets among other packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

from d2eval.foundation.files.bundled import INSTALLED, bundled

LOOK = """
from d2eval.contracts.protocol import load_protocol
from d2eval.runs.measured import SHIPPED_RUNS
from d2eval.runs.published import presentation
from d2eval.sample.photos import load_photo
load_protocol("inloc_demo"), presentation("aachen"), load_photo("coffee")
print(*sorted(SHIPPED_RUNS.iterdir()), sep="\\n")
"""


@pytest.fixture(scope="module")
def contents() -> dict[str, Path]:
    """The wheel's files: where each gets -> where it lies here."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    found = wheel.WheelBuilder(str(REPOSITORY)).recurse_included_files()
    return {file.distribution_path: Path(file.path) for file in found}


def test_a_wheel_takes_no_names_but_its_own(contents):
    assert {name.split("/")[0] for name in contents} == {"d2eval", "methods"}


def test_modules_lie_where_they_lie_in_a_checkout(contents):
    """Where one lies elsewhere, `pip install -e` refuses the project."""
    modules = {name: path for name, path in contents.items() if name.endswith(".py")}
    for name, path in modules.items():
        assert path.relative_to(REPOSITORY).as_posix() == name


def test_a_wheel_holds_what_a_checkout_has(contents):
    sources = {path.relative_to(REPOSITORY).as_posix() for path in contents.values()}
    for folder in ("benchmarks", "results/published", "results/shipped/runs"):
        files = (path for path in (REPOSITORY / folder).rglob("*") if path.is_file())
        own = [path for path in files if path.suffix != ".py"]
        assert own
        assert {path.relative_to(REPOSITORY).as_posix() for path in own} <= sources
    assert {"d2eval/py.typed", "methods/py.typed", "methods/registry.toml"} <= contents.keys()
    page = ("template.html", "style.css", "script.js", "results.schema.json")
    assert {f"d2eval/report/page/{name}" for name in page} <= contents.keys()
    assert not any("__pycache__" in name for name in contents)


def test_an_installed_wheel_finds_its_data_from_any_folder(contents, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    for name, path in contents.items():
        if not name.endswith(".safetensors"):
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, site / name)
    for folder in ("benchmarks", "results/published"):  # of a project of the user's own
        (elsewhere / folder).mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = site / "d2eval" / INSTALLED / "results/shipped/runs"
    shipped = sorted(path.name for path in (REPOSITORY / "results/shipped/runs").iterdir())
    assert done.stdout.splitlines() == [str(runs / name) for name in shipped]


def test_a_checkout_finds_its_data_where_users_edit_them():
    assert bundled("benchmarks") == REPOSITORY / "benchmarks"
