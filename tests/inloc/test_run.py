"""Whole runs on a small real set in InLoc's layout, and what they leave behind."""

import csv
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from inloc_folder import InlocFolder
from inloc_hololens import HOLOLENS, needs_data
from places import SHARED, needs

from d2eval.contracts.method import Runtime
from d2eval.evaluation.benchmark import Evaluated, Request
from d2eval.foundation.errors import D2EvalError
from d2eval.inloc import parts
from d2eval.inloc.inloc import Inloc, InlocOptions
from d2eval.inloc.poses.estimators import FeatureEstimator
from d2eval.inloc.poses.maps_estimator import DenseEstimator
from d2eval.inloc.verification import dense_pv
from d2eval.pipeline.extraction import MethodChoice
from d2eval.report.figures import Sources
from d2eval.runs.folder import RunName
from d2eval.runs.measured import RunPlace

PAIRS = HOLOLENS / "pairs-query-oracle10.txt"
WEIGHTS = SHARED / "weights/d2_vgg16_hed.pth"
FEW, CUTOUTS = ["IMG_0011.JPG", "IMG_0063.JPG"], 3  # queries, and cutouts of each
ROOTSIFT = MethodChoice("rootsift")
WRITTEN = ("queries.csv", "candidates.csv", "summary.csv")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def evaluate(
    root: Path,
    strategy: str,
    verified: bool = False,
    protocol: str = "inloc",
    sparse: MethodChoice | None = ROOTSIFT,
    only: list[str] | None = None,
    workers: int = 1,
    data: Path = HOLOLENS,
    pairs: Path | None = PAIRS,
    cutouts: int = 10,
) -> Evaluated:
    """Runs a row with the cache in ``root``; of ``only`` these queries and so many cutouts."""
    options = InlocOptions(protocol, strategy, verified, retrieval=pairs)
    benchmark = Inloc(options)
    dataset = benchmark.load(data)
    if only:
        dataset = replace(
            dataset,
            queries={name: dataset.queries[name] for name in only},
            references={name: dataset.references[name] for name in only},
            retrieval={name: dataset.retrieval[name][:cutouts] for name in only},
        )
    runtime = Runtime(cache=root / "cache")
    request = Request(sparse, runtime=runtime, output=root / "runs", workers=workers)
    name = RunName(f"{strategy}{'_pv' if verified else ''}")
    return benchmark.run(dataset, request, name)


def localized(result: Evaluated, metres: float, of: int = 16) -> int:
    """Of all queries together."""
    ((count, queries),) = [
        (row["localized"], row["queries"])
        for row in result.summary
        if row["floor"] == "all" and row["position_m"] == metres
    ]
    assert queries == of
    return count


def written(result: Evaluated) -> dict[str, bytes]:
    return {name: (result.folder / name).read_bytes() for name in WRITTEN}


# On the small real set


KEYS = [("sparse", False), ("sparse", True), ("direct", False), ("direct", True), ("pooled", False)]


@dataclass(frozen=True)
class Finished:
    """RootSIFT in every strategy, over one cache; to be looked at only."""

    root: Path
    results: dict[tuple[str, bool], Evaluated] = field(default_factory=dict)
    written: dict[tuple[str, bool], dict[str, bytes]] = field(default_factory=dict)


def finish(root: Path, **choices) -> Finished:
    finished = Finished(root)
    for strategy, verified in KEYS:
        protocol = "inloc_hloc" if strategy == "pooled" else "inloc"
        done = evaluate(root, strategy, verified, protocol, **choices)
        finished.results[strategy, verified] = done
        finished.written[strategy, verified] = written(done)
    return finished


@pytest.fixture(scope="module")
def rootsift(tmp_path_factory) -> Finished:
    """Of a few queries and cutouts."""
    return finish(tmp_path_factory.mktemp("few"), only=FEW, cutouts=CUTOUTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Finished:
    return finish(tmp_path_factory.mktemp("hololens"))


@needs_data
@pytest.mark.parametrize("key", KEYS)
def test_a_few_queries_are_localized_where_they_were_taken(rootsift, key):
    assert localized(rootsift.results[key], 0.25, of=len(FEW)) == len(FEW)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "least"),
    [
        (("sparse", False), 15), (("sparse", True), 16), (("direct", False), 15),
        (("pooled", False), 16),
    ],
)  # fmt: skip
def test_queries_are_localized_where_they_were_taken(whole, key, least):
    for metres in (0.25, 0.5, 1.0):
        assert localized(whole.results[key], metres) >= min(least, 15)
    assert localized(whole.results[key], 1.0) >= least


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["sparse", "direct"])
def test_verified_poses_are_at_least_as_good(whole, strategy):
    plain, verified = (whole.results[strategy, choice] for choice in (False, True))
    for metres in (0.1, 0.25, 0.5, 1.0):
        assert localized(verified, metres) >= localized(plain, metres)


@needs_data
@pytest.mark.parametrize("key", [("sparse", False), ("sparse", True), ("direct", False)])
def test_the_first_candidate_is_the_chosen_one(rootsift, key):
    folder = rootsift.results[key].folder
    candidates = read_csv(folder / "candidates.csv")
    first = {row["query"]: row for row in candidates if row["rank"] == "1"}
    queries = read_csv(folder / "queries.csv")
    assert set(first) == {row["name"] for row in queries}
    for row in queries:
        shared = set(row) & set(first[row["name"]])
        assert {"cutout", "inliers", "score", "position_m", "qw", "tx"} <= shared
        for name in shared:
            assert row[name] == first[row["name"]][name], name
    assert len(candidates) == CUTOUTS * len(FEW)
    if key[1]:
        for query in first:
            scores = [float(row["pv_score"]) for row in candidates if row["query"] == query]
            assert scores == sorted(scores, reverse=True)


@needs_data
@pytest.mark.parametrize("key", [("direct", False), ("sparse", False), ("pooled", False)])
def test_pictures_of_matches_show_the_inliers_of_rows(rootsift, key):
    folder = rootsift.results[key].folder
    rows = read_csv(folder / "candidates.csv")
    sources = Sources(rootsift.root / "cache")
    figure = Inloc().view([RunPlace("own", folder)], FEW[0], sources)
    best = [row for row in rows if row["query"] == FEW[0]][:3]
    assert len(figure.axes) == len(best)
    for axes, row in zip(figure.axes, best, strict=True):
        assert row["cutout"] in axes.get_title(loc="left")
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        explained, others, without = (int(t.rpartition(": ")[2].replace(",", "")) for t in texts)
        matches, points, inliers = (int(row[name]) for name in ("matches", "points", "inliers"))
        if key[0] == "direct":
            assert (explained, explained + others) == (inliers, points)
            assert explained + others + without == matches
        elif key[0] == "sparse":  # P3P had those alone that homographies verified
            assert inliers <= explained and explained + others + without == matches
        else:  # the row counts those of all cutouts
            assert 0 < explained <= inliers and explained + others + without <= matches
    shipped = rootsift.root / "shipped"  # without its candidates: the answer alone
    shutil.copytree(folder, shipped, ignore=shutil.ignore_patterns("candidates.csv"))
    assert len(Inloc().view([RunPlace("own", shipped)], FEW[0], sources).axes) == 1
    shutil.rmtree(shipped)


@needs_data
def test_the_submission_holds_the_chosen_poses(rootsift):
    folder = rootsift.results["sparse", True].folder
    lines = [line.split() for line in (folder / "InLoc_sparse_pv.txt").read_text().splitlines()]
    rows = read_csv(folder / "queries.csv")
    assert [words[0] for words in lines] == [row["name"] for row in rows]
    for words, row in zip(lines, rows, strict=True):
        pose = [float(row[name]) for name in ("qw", "qx", "qy", "qz", "tx", "ty", "tz")]
        assert [float(word) for word in words[1:]] == pytest.approx(pose, abs=1e-6)


@needs_data
@pytest.mark.parametrize("key", [("sparse", True), ("direct", False)])
def test_again_nothing_is_estimated_and_the_bytes_are_the_same(rootsift, key, monkeypatch):
    def never(*args: object) -> None:
        raise AssertionError("estimated again")

    monkeypatch.setattr(FeatureEstimator, "candidates", never)
    monkeypatch.setattr(parts, "verify_pose", never)
    again = evaluate(rootsift.root, *key, only=FEW, cutouts=CUTOUTS)
    assert written(again) == rootsift.written[key]
    assert again.notes == ()


@needs_data
def test_stages_say_how_far_the_run_is(rootsift, shown_in_all):
    evaluate(rootsift.root, "sparse", True, only=FEW, cutouts=CUTOUTS)
    assert [own for own in shown_in_all if own[1]] == [
        ("rootsift: features", "stage 1 of 3"),
        ("sparse: poses", "stage 2 of 3"),
        ("sparse: verification by views", "stage 3 of 3"),
    ]


@needs_data
def test_what_was_killed_before_the_last_query_ends_with_the_same_bytes(rootsift, tmp_path):
    """Half from the store and half estimated now, as after a kill."""
    shutil.copytree(rootsift.root / "cache/features", tmp_path / "cache/features")
    evaluate(tmp_path, "sparse", True, only=FEW[:1], cutouts=CUTOUTS)
    resumed = evaluate(tmp_path, "sparse", True, only=FEW, cutouts=CUTOUTS)
    fresh = read_csv(rootsift.results["sparse", True].folder / "queries.csv")
    assert read_csv(resumed.folder / "queries.csv") == fresh


@needs_data
def test_the_number_of_threads_changes_nothing(tmp_path):
    found = []
    for workers in (0, 2):
        result = evaluate(
            tmp_path / str(workers), "sparse", only=FEW[:1], cutouts=2, workers=workers
        )
        found.append([(result.folder / name).read_bytes() for name in WRITTEN])
    assert found[0] == found[1]


@needs_data
def test_the_manifest_says_what_was_run(rootsift):
    result = rootsift.results["sparse", True]
    manifest = json.loads((result.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["row"]["strategy"] == "sparse"
    assert manifest["row"]["verification"] == "dense_pv"
    assert manifest["dataset"]["queries"] == manifest["dataset"]["references"] == len(FEW)
    stages = {row["stage"]: row for row in read_csv(result.folder / "stages.csv")}
    assert list(stages) == ["sparse features", "sparse poses", "sparse verification"]
    candidates = read_csv(result.folder / "candidates.csv")
    images = len({row["cutout"] for row in candidates}) + len(FEW)
    assert int(stages["sparse features"]["images"]) == images
    assert int(stages["sparse poses"]["candidates"]) == len(candidates) == CUTOUTS * len(FEW)
    assert manifest["peak_memory_mib"] > 100


@needs_data
@pytest.mark.slow
@needs(WEIGHTS)
def test_d2_net_localizes_them_too(tmp_path):
    sparse = MethodChoice("d2_ss", {"weights": str(WEIGHTS)})
    plain = evaluate(tmp_path, "sparse", sparse=sparse)
    verified = evaluate(tmp_path, "sparse", True, sparse=sparse)
    pooled = evaluate(tmp_path, "pooled", protocol="inloc_hloc", sparse=sparse)
    for metres in (0.25, 0.5, 1.0):
        assert localized(plain, metres) >= 15  # the reference's count
        assert localized(pooled, metres) >= 15
        assert localized(verified, metres) >= localized(plain, metres)


@needs_data
@pytest.mark.slow
def test_dense_maps_localize_them_too(tmp_path, monkeypatch):
    plain = evaluate(tmp_path, "dense", sparse=None)
    verified = evaluate(tmp_path, "dense", True, sparse=None)
    for metres in (0.25, 0.5, 1.0):
        assert localized(plain, metres) >= 15
        assert localized(verified, metres) == 16

    def never(*args: object) -> None:
        raise AssertionError("estimated again")

    monkeypatch.setattr(DenseEstimator, "candidates", never)
    monkeypatch.setattr(dense_pv, "render", never)
    assert written(evaluate(tmp_path, "dense", True, sparse=None)) == written(verified)


# On a folder of the tests' own


def test_no_pose_at_all_names_the_counts(tmp_path):
    root = InlocFolder(tmp_path / "data").write()
    counts = "no pose for any of 2 queries: 8 candidates with 0 matches, 0 verified, 0 with depth"
    with pytest.raises(D2EvalError, match=counts):
        evaluate(tmp_path, "sparse", data=root, pairs=None)
    assert not list((tmp_path / "runs").rglob("*.csv"))


def test_no_retrieval_at_all(tmp_path):
    folder = InlocFolder(tmp_path / "data")
    folder.scores = folder.scores[:0]
    with pytest.raises(D2EvalError, match=r"no retrieved cutouts.*--retrieval.*--global-retrieval"):
        evaluate(tmp_path, "sparse", data=folder.write(), pairs=None)


@pytest.mark.parametrize(
    ("protocol", "strategy", "verified", "table"),
    [
        ("inloc", "pooled", False, "pooled"),
        ("inloc_hloc", "sparse", False, "sparse"),
        ("inloc_hloc", "merge", False, "sparse"),
        ("inloc_hloc", "pooled", True, "dense_pv"),
    ],
)
def test_what_the_protocol_lacks_is_said_before_anything_is_extracted(
    tmp_path, protocol, strategy, verified, table
):
    root = InlocFolder(tmp_path / "data").write()
    with pytest.raises(D2EvalError, match=rf"{protocol}.toml: no table \[{table}\]"):
        evaluate(tmp_path, strategy, verified, protocol, data=root, pairs=None)
    assert not (tmp_path / "cache/features").exists()
