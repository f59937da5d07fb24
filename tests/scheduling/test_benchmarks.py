"""Rows that workers had a part in are those of one process, but for costs."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from packed_units import packed_names
from scheduled_units import HereWorkers

from d2eval.cli import main
from d2eval.contracts.method import Runtime
from d2eval.evaluation.benchmark import Request, benchmark_class
from d2eval.evaluation.evaluate import run_benchmark
from d2eval.pipeline.extraction import MethodChoice

COSTS = ("seconds", "peak_memory_mib", "stored_mb")
ROOTSIFT = MethodChoice("rootsift", {"first_octave": 0})  # a fifth of the features


def rows(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Of each table of rows, without the columns of costs."""
    found = {}
    for path in sorted(folder.glob("*/*/*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found[path.name] = [
                {key: cell for key, cell in row.items() if not key.startswith(COSTS)}
                for row in csv.DictReader(file)
                if row.get("metric") not in COSTS
            ]
    return found


def files(cache: Path) -> list[str]:
    """The units that are stored in files of their own."""
    kinds = ("features", "maps")
    return sorted(
        path.relative_to(cache).as_posix() for kind in kinds for path in cache.glob(f"{kind}/*/*")
    )


def packed(cache: Path) -> set[str]:
    """Names of the units in packs, but for hashes of images, which are by path."""
    kinds = [path for path in cache.iterdir() if path.name != "hashes"]
    return set().union(*map(packed_names, kinds))


@pytest.mark.slow
def test_hpatches(tiny_hpatches, tmp_path, no_figures):
    cls = benchmark_class("hpatches")
    for place, workers in (("one", None), ("sent", HereWorkers())):
        runtime = Runtime(cache=tmp_path / place / "cache")
        request = Request(ROOTSIFT, runtime=runtime, output=tmp_path / place / "runs", workers=0)
        run_benchmark(cls(), tiny_hpatches, request, workers)
    assert {block.stage for block in workers.blocks} == {"features", "matches"}
    one, sent = (tmp_path / place for place in ("one", "sent"))
    assert rows(sent / "runs") == rows(one / "runs")
    assert rows(one / "runs")["pairs.csv"]
    assert files(sent / "cache") == files(one / "cache")
    assert packed(sent / "cache") == packed(one / "cache")
    # made anew, all is made once more, and by the workers alone
    before = {name: (sent / "cache" / name).stat().st_mtime_ns for name in files(sent / "cache")}
    fresh = replace(request, runtime=replace(request.runtime, fresh=True))
    run_benchmark(cls(), tiny_hpatches, fresh, HereWorkers())
    after = {name: (sent / "cache" / name).stat().st_mtime_ns for name in files(sent / "cache")}
    assert all(after[name] > before[name] for name in before)
    assert len(packed(sent / "cache")) == 10
    assert rows(sent / "runs") == rows(one / "runs")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["aachen", "--method", "rootsift", "--first-octave", "0"],
        ["aachen", "--method", "rootsift", "--first-octave", "0", "--protocol", "aachen_hloc"],
        ["aachen", "--strategy", "dense"],
        ["inloc", "--method", "rootsift", "--first-octave", "0", "--strategy", "merge"],
        ["inloc", "--method", "rootsift", "--first-octave", "0", "--strategy", "direct"],
    ],
    ids=["aachen", "hloc", "dense_sfm", "merge", "direct"],
)
def test_two_processes(words, tmp_path, no_figures):
    for place, more in (("one", []), ("two", ["--scheduler", "local:2"])):
        where = ["--cache", tmp_path / place / "cache", "--output", tmp_path / place / "runs"]
        assert main([*words, *map(str, where), *more]) == 0
    one, two = tmp_path / "one", tmp_path / "two"
    assert rows(two / "runs") == rows(one / "runs")
    assert rows(one / "runs")["queries.csv"]
    assert files(two / "cache") == files(one / "cache")
    names = packed(two / "cache"), packed(one / "cache")
    if words[0] == "inloc":  # the time of a scan's file is in a key, and each cache has its own
        names = tuple(map(len, names))
    assert names[0] == names[1]
