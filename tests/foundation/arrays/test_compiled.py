"""numba's cache: used where there is one, and no more than a loss of time where there isn't."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from places import REPOSITORY

MODULE = """
from d2eval.foundation.arrays.compiled import compiled

@compiled(nogil=True)
def twice(x):
    return 2 * x
"""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The folder of numba's cache."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "of_a_test.py").write_text(MODULE)
    yield tmp_path / "numba"
    sys.modules.pop("of_a_test", None)


def run() -> bool:
    """Compiles and runs as a new process would; whether the code was in the cache."""
    sys.modules.pop("of_a_test", None)
    importlib.invalidate_caches()
    function = importlib.import_module("of_a_test").twice
    assert function(21) == 42
    return bool(function.stats.cache_hits)


def test_code_is_kept(cache):
    assert [run(), run()] == [False, True]
    assert {path.suffix for path in cache.rglob("*.nb*")} == {".nbi", ".nbc"}


@pytest.mark.parametrize("kind", [pytest.param(".nbi", marks=pytest.mark.slow), ".nbc"])
def test_damaged_code_is_compiled_again(cache, kind):
    run()
    (path,) = cache.rglob(f"*{kind}")
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    copies = [b"", whole[: len(whole) // 2], bytes(len(whole)), whole[:-500] + bytes(500)]
    for at in rng.integers(len(whole), size=6):
        copies.append(whole[:at] + bytes([whole[at] ^ 64]) + whole[at + 1 :])
    for data in copies:
        path.write_bytes(data)
        assert not run()
        assert run()  # mended
    path.unlink()
    path.mkdir()
    assert not run()


@pytest.mark.parametrize("fails", ["_save_index", "_save_data"])
def test_a_full_disk_costs_only_time(cache, monkeypatch, fails):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, fails, full)
    assert [run(), run()] == [False, False]


def test_no_folder_for_a_cache(cache, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "/dev/null/none")
    for name in ("InTreeCacheLocator", "UserWideCacheLocator"):
        locator = getattr(numba.core.caching, name, None)
        if locator is None:  # called so by earlier versions
            locator = getattr(numba.core.caching, f"_{name}")
        monkeypatch.setattr(locator, "get_cache_path", lambda self: "/dev/null/none")
    assert [run(), run()] == [False, False]


@pytest.fixture
def container(tmp_path):
    """A copy of the program beside whose modules nothing can be written, and no home folder."""
    root = tmp_path / "program"
    for name in ("d2eval", "methods"):
        shutil.copytree(
            REPOSITORY / name, root / name,
            ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"),
        )  # fmt: skip
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_bytes(b"")  # so that even root can't make one
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/dev/null/none")
    hidden = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "D2EVAL_CACHE")
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    return root, {**kept, **nowhere, "PYTHONPATH": str(root)}


def test_a_container_without_any_folder_to_write_imports_all_that_is_compiled(container, tmp_path):
    root, environment = container
    text = (path for path in root.rglob("*.py") if "@compiled(" in path.read_text())
    parts = [".".join(path.relative_to(root).with_suffix("").parts) for path in text]
    modules = [name for name in parts if name != "d2eval.foundation.arrays.compiled"]
    assert len(modules) > 4
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(modules)}"],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


DRAW = """
import sys
from d2eval.cli import main
sys.argv = ["d2eval", "methods", "--help", "--cache", sys.argv[1]]
code = main()
from of_a_test import twice
assert twice(21) == 42
import matplotlib, matplotlib.font_manager
sys.exit(code)
"""


@pytest.mark.parametrize("writable", [pytest.param(True, marks=pytest.mark.slow), False])
def test_caches_lie_below_the_cache_folder_or_nowhere(container, tmp_path, writable):
    root, environment = container
    (root / "of_a_test.py").write_text(MODULE)
    cache = tmp_path / "cache" if writable else Path("/dev/null/cache")
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(cache)],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if writable:
        assert "temporary cache" not in done.stderr  # as matplotlib says where it finds no folder
        assert list((cache / "numba").rglob("*.nbi"))
        assert list((cache / "matplotlib").rglob("*.json"))
