"""Every cell of the tables that ship, from the rows that ship, by plain pandas."""

import io
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from report_tables import TABLES

from d2eval.foundation.files.bundled import bundled
from d2eval.runs.measured import SHIPPED_RUNS

PUBLISHED = bundled("results/published")


@pytest.fixture(scope="module")
def shipped():
    """The CSV of a benchmark's table, as text, and the lines of runs."""

    def load(benchmark):
        table = TABLES[benchmark](SHIPPED_RUNS)
        frame = pd.read_csv(io.StringIO(table.csv), dtype=str, keep_default_na=False)
        return frame, frame[frame["label"] != ""]

    return load


def rows(benchmark, run, name):
    return pd.read_csv(SHIPPED_RUNS / benchmark / run / name)


def number(text):
    return float(text) if text else math.nan


def same(text, value):
    return number(text) == pytest.approx(value, rel=2e-8, abs=1e-9, nan_ok=True)


def area(errors, threshold):
    """Under recall over error, by the trapezoids of SuperGlue's evaluation."""
    errors = np.sort(errors)
    x, y = [0.0], [0.0]
    for rank, error in enumerate(errors[errors < threshold], 1):
        x.append(error)
        y.append(rank / len(errors))
    x.append(threshold)
    y.append(y[-1])
    return sum((b - a) * (c + d) / 2 for a, b, c, d in zip(x, x[1:], y, y[1:])) / threshold  # noqa: B905


def test_hpatches(shipped):
    table, measured = shipped("hpatches")
    assert len(measured) == len(list((SHIPPED_RUNS / "hpatches").iterdir()))
    for _, line in measured.iterrows():
        pairs = rows("hpatches", line["label"], "pairs.csv")
        first = pairs.drop_duplicates("sequence")
        images = len(first) + len(pairs)
        features = (first["features_1"].sum() + pairs["features_k"].sum()) / images
        expected = {"features": features, "matches": pairs["matches"].mean()}
        for t in (1, 3, 5, 10):
            expected[f"mma_{t}px"] = pairs[f"mma_{t}px"].mean()
        for name in ("matching_score", "repeatability"):
            expected[name] = pairs[name].mean()
        for t in (1, 3, 5):
            expected[f"h_auc_{t}px"] = area(pairs["corner_error_px"].to_numpy(), t)
        for name, value in expected.items():
            assert same(line[f"{name}_measured"], value), name
            if name != "features":
                assert number(line[f"{name}_low"]) < value < number(line[f"{name}_high"])
        seconds = [*first["seconds_1"], *pairs["seconds_k"]]
        peaks = [*first["peak_memory_mib_1"], *pairs["peak_memory_mib_k"]]
        assert same(line["seconds_per_image"], np.mean(seconds))
        assert same(line["peak_memory_mib"], max(peaks))
        assert [line["dataset"]] == list(pairs["dataset"].unique())
        assert [line["weights"]] == list(pairs["weights"].unique())
    curves = pd.read_csv(PUBLISHED / "hpatches_curves.csv")
    curves = curves[(curves["split"] == "overall") & curves["source"].str.startswith("official")]
    printed = pd.read_csv(PUBLISHED / "hpatches.csv").set_index("method")
    for _, line in table[table["section"] == "paper"].iterrows():
        assert line["features_published"] == printed.loc[line["row"], "features"]
        assert line["matches_published"] == printed.loc[line["row"], "matches"]
        exact = curves[curves["mean_features"] == number(line["features_published_exact"])]
        assert len(exact) == 1
        assert same(line["matches_published_exact"], exact["mean_matches"].item())
        for t in (1, 3, 5, 10):
            published = exact[f"mma_{t}px"].item()
            assert same(line[f"mma_{t}px_published"], published)
            difference = number(line[f"mma_{t}px_measured"]) - published
            assert number(line[f"mma_{t}px_difference"]) == pytest.approx(
                difference, abs=1e-6, nan_ok=True
            )
        for name in ("features", "matches"):
            difference = number(line[f"{name}_measured_shared"]) - number(
                line[f"{name}_published_shared"]
            )
            assert number(line[f"{name}_difference"]) == pytest.approx(
                difference, abs=1e-5, nan_ok=True
            )
    elsewhere = {"section", "row", "method", "label", "top_k", "shared_sequences"}
    shared = {name for name in table if name.endswith("_shared")}  # of test_shared
    names = {*expected, "features"}
    numbers = {
        f"{name}_{kind}"
        for name in names
        for kind in ("published", "published_exact", "measured", "low", "high", "difference")
    }
    costs = {"seconds_per_image", "peak_memory_mib", "dataset", "weights", "leak"}
    assert {*table.columns} <= elsewhere | shared | numbers | costs


def test_intervals_of_hpatches_are_scipy_s(shipped):
    """The tails of seven clusters are 0.411 %: Student's 2.447 * sqrt(7 / 6) standard errors."""
    _, measured = shipped("hpatches")
    line = measured[measured["label"] == "d2_ms_trained"].iloc[0]
    means = rows("hpatches", "d2_ms_trained", "pairs.csv").groupby("sequence")["mma_3px"].mean()
    found = scipy.stats.bootstrap(
        (means.to_numpy(),), np.mean, n_resamples=9999, method="percentile", rng=3,
        confidence_level=1 - 2 * 0.00411,
    ).confidence_interval  # fmt: skip
    own = number(line["mma_3px_low"]), number(line["mma_3px_high"])
    assert own == pytest.approx(found, abs=0.05 * (found.high - found.low))


def check_medians(lines, queries):
    finite = queries[np.isfinite(queries["position_m"])]
    for name in ("position_m", "rotation_deg"):
        (text,) = lines[f"median_{name}"].unique()
        assert same(text, finite[name].median())


def check_localized(line, queries, strict):
    """The cells of a line that are counts of queries."""
    position, rotation = number(line["position_m"]), number(line["rotation_deg"])
    near = queries["position_m"] < position if strict else queries["position_m"] <= position
    count, total = int((near & (queries["rotation_deg"] <= rotation)).sum()), len(queries)
    assert (int(line["localized"]), int(line["queries"])) == (count, total)
    assert same(line["measured"], 100 * count / total)
    ends = scipy.stats.binomtest(count, total).proportion_ci(method="wilson")
    assert number(line["percent_low"]) == pytest.approx(100 * ends.low, abs=1e-6)
    assert number(line["percent_high"]) == pytest.approx(100 * ends.high, abs=1e-6)
    assert line["dataset"] == queries["dataset"].iloc[0]
    assert line["weights"] == queries["weights"].iloc[0]
    assert not line["difference"] and not line["site"]  # of a part of the benchmark


PERCENTS = {
    "aachen.csv": ["0.5m, 2deg", "1.0m, 5deg", "5.0m, 10deg", "10m, 25deg"],
    "aachen_2020.csv": ["0.25m, 2deg", "0.5m, 5deg", "5.0m, 10deg"],
    "aachen_hloc.csv": ["0.25m, 2deg", "0.5m, 5deg", "5.0m, 10deg"],
    "inloc.csv": ["0.25m", "0.5m", "1.0m"],
    "inloc_hloc.csv": ["0.25m", "0.5m", "1.0m"],
}


def published_percents(prefix):
    """(name as published, part or "") -> metres -> percent."""
    found = {}
    for name, columns in PERCENTS.items():
        if name.startswith(prefix):
            frame = pd.read_csv(PUBLISHED / name)
            for row in frame.to_dict("records"):
                part = row.get("split", row.get("floor", ""))
                metres = {float(c.split("m")[0]): row[c] for c in columns}
                found[name.removesuffix(".csv"), row["method"], part] = metres
    return found


def check_published(table, prefix, file_of):
    published = published_percents(prefix)
    lines = table[table["published"] != ""]
    shown = set()
    for _, line in lines.iterrows():
        key = file_of(line)
        shown.add(key)
        assert number(line["published"]) == published[key][number(line["position_m"])]
    assert shown == {*published}


def test_aachen(shipped):
    table, measured = shipped("aachen")
    assert len(measured) == len(list((SHIPPED_RUNS / "aachen").iterdir())) * (4 + 3 + 4 + 3)
    for (label, split), lines in measured.groupby(["label", "split"]):
        queries = rows("aachen", label, "queries.csv")
        own = queries[queries["split"] == split]
        check_medians(lines, own)
        stages = rows("aachen", label, "stages.csv").set_index("stage")
        images, features = stages.loc["features", ["images", "features"]]
        for line in lines.to_dict("records"):
            check_localized(line, own, strict=False)
            assert int(line["registered"]) == own["registered"].sum()
            assert same(line["features_measured"], features / images)

    def file_of(line):
        name = line["published_as"] or line["row"]
        if line["protocol"] == "aachen_hloc":
            return "aachen_hloc", name, line["split"]
        return ("aachen", name, "") if line["epoch"] == "2019" else ("aachen_2020", name, "night")

    check_published(table, "aachen", file_of)
    printed = pd.read_csv(PUBLISHED / "aachen.csv").set_index("method")["features"]
    for _, line in table[table["features_published"] != ""].iterrows():
        assert line["features_published"] == printed[line["row"]]


def test_inloc(shipped):
    table, measured = shipped("inloc")
    assert len(measured) > 300
    for label, of_run in measured.groupby("label"):
        queries, stages = (rows("inloc", label, f"{n}.csv") for n in ("queries", "stages"))
        kept = stages["stored_mb"].sum()
        for floor, lines in of_run.groupby("floor"):
            own = queries if floor == "all" else queries[queries["floor"] == floor]
            check_medians(lines, own)
            for line in lines.to_dict("records"):
                check_localized(line, own, strict=True)
                assert int(line["posed"]) == own["posed"].sum()
                assert number(line["stored_mb"]) == pytest.approx(kept, rel=1e-6)

    def file_of(line):
        name = line["published_as"] or line["row"]
        hloc = line["protocol"] == "inloc_hloc"
        return ("inloc_hloc", name, line["floor"]) if hloc else ("inloc", name, "")

    check_published(table, "inloc", file_of)
