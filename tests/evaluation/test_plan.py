"""What `--dry-run` says of a run: counts of what is stored, costs on record, nothing written."""

from dataclasses import replace
from pathlib import Path

import pytest

from d2eval.cli import main
from d2eval.contracts.method import Runtime
from d2eval.evaluation.benchmark import Request, benchmark_class
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images import decoding
from d2eval.pipeline import hashes
from d2eval.pipeline.extraction import MethodChoice
from d2eval.pipeline.planning import expected
from d2eval.scheduling.plan import Planned, plan_lines


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def test_what_is_stored_counts_and_gives_the_costs_of_the_rest(tiny_hpatches, tmp_path, capsys):
    benchmark = benchmark_class("hpatches")()
    dataset = benchmark.load(tiny_hpatches)
    options = {"first_octave": 0}
    request = Request(MethodChoice("rootsift", options), runtime=Runtime(cache=tmp_path / "cache"))
    features, matches, scores = benchmark.plan(dataset, request)
    assert features == Planned("features", 12)
    assert matches == Planned("matches", 10)
    assert scores.units == 10
    assert not (tmp_path / "cache").exists()

    parts = benchmark.parts(dataset, request)
    names = [dataset.name_of(path) for path in dataset.images]
    pairs = [(dataset.name_of(p.first), dataset.name_of(p.second)) for p in dataset.pairs]
    assert len(list(parts.work("features", names[:6]))) == 6
    assert len(list(parts.work("matches", pairs[:2]))) == 2
    before = tree(tmp_path)
    features, matches, _ = benchmark.plan(dataset, request)
    assert (features.stored, matches.stored) == (6, 2)
    assert features.seconds > 0
    assert matches.seconds > 0
    # images have one size, so that of those to come is the mean of those stored
    kept = [path.stat().st_size for path in (tmp_path / "cache/features").glob("*/*.h5")]
    assert features.size == sum(kept) / 6 * 6

    words = ["--method", "rootsift", "--first-octave", "0", "--dry-run"]
    where = ["--data", tiny_hpatches, "--cache", tmp_path / "cache", "--output", tmp_path / "runs"]
    assert main(["hpatches", *words, *map(str, where)]) == 0
    assert "features     12       6        6" in capsys.readouterr().out
    assert tree(tmp_path) == before


def test_a_run_that_begins_is_planned_without_reading_images(tiny_hpatches, tmp_path, monkeypatch):
    benchmark = benchmark_class("hpatches")()
    dataset = benchmark.load(tiny_hpatches)
    runtime = Runtime(cache=tmp_path / "cache")
    request = Request(MethodChoice("rootsift", {"first_octave": 0}), runtime=runtime)
    parts = benchmark.parts(dataset, request)
    names = [dataset.name_of(path) for path in dataset.images]
    monkeypatch.setattr(decoding, "TICK_NS", 0)  # hashes of files that have just changed are kept
    assert len(list(parts.work("features", names[:2]))) == 2
    parts._source.store.flush()
    monkeypatch.setattr(hashes, "load_image_file", None)
    features, matches, scores = expected("hpatches", parts, dataset)
    assert (features.units, features.stored, matches.stored, scores.units) == (12, 2, 0, 10)
    assert features.seconds > 0
    given = MethodChoice(f"precomputed:{tmp_path}")  # files of the user's, would have to be read
    given_parts = benchmark.parts(dataset, replace(request, method=given))
    assert expected("hpatches", given_parts, dataset) == ()


def test_a_plan_that_fails_ends_no_run(capsys):
    class Broken:
        def plan(self, dataset):
            raise dataset

    assert expected("broken", Broken(), D2EvalError("is said by the run")) == ()
    assert capsys.readouterr().err == ""
    assert expected("broken", Broken(), KeyError("units")) == ()
    assert (
        capsys.readouterr().err == "note: broken: can't be planned ('units'); no time left in all\n"
    )


def test_without_pairs_there_is_nothing_to_plan(tiny_hpatches, tmp_path):
    benchmark = benchmark_class("hpatches")()
    dataset = replace(benchmark.load(tiny_hpatches), pairs=())
    request = Request(MethodChoice("rootsift"), runtime=Runtime(cache=tmp_path / "cache"))
    with pytest.raises(D2EvalError, match="holds no pair of images"):
        benchmark.plan(dataset, request)


def test_what_is_not_on_record_is_unknown():
    made = Planned("features", 3, 1, seconds=61.0, size=2e6)
    unknown = Planned("matches", 2)
    header, *lines = plan_lines([made, unknown, Planned("poses", 4, 4)])
    assert header.split() == ["stage", "units", "stored", "to", "make", "time", "disk"]
    assert [line.split() for line in lines] == [
        ["features", "3", "1", "2", "1:01", "2.0", "MB"],
        ["matches", "2", "0", "2", "unknown", "unknown"],
        ["poses", "4", "4", "0", "-", "-"],
        ["all", "over", "1:01", "over", "2.0", "MB"],
    ]
    assert plan_lines([unknown])[-1].split() == ["all", "unknown", "unknown"]
