"""Runs on part of the sequences beside the published counts of the same ones."""

import csv

import pytest
from places import REFERENCE, needs
from report_tables import hpatches_table

import d2eval
from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.report.published import load_paper
from d2eval.hpatches.report.shared import mean_counts
from d2eval.runs.published import presentation, published_file

PARTIAL = "partial (3 of 108 sequences)"
OFFICIAL = REFERENCE / "hpatches_official_counts.csv"
# Of d2-net in the authors' results: features of images 1..6, matches of pairs (1, 2..6)
AJUNTAMENT = (1265 + 1183 + 1078 + 971 + 915 + 942, 727 + 405 + 268 + 261 + 282)
AUTANNES = (3054 + 3134 + 3263 + 3337 + 3203 + 3044, 1472 + 1298 + 853 + 868 + 1224)


def pairs_of(sequence: str, first: int, other: int, matches: int) -> list[tuple]:
    return [(sequence, first, other, matches)] * 5


def test_counts_over_all_sequences_are_the_published_ones():
    """Of features, the mean over all alone was published."""
    for row in load_paper():
        assert len(row.counts) == 108
        means = mean_counts(row.counts)
        for split, numbers in row.numbers.items():
            matches = numbers.get("mean_matches")
            assert means[split]["mean_matches"] == pytest.approx(matches, abs=5e-4)
        features = row.numbers["overall"].get("mean_features")
        assert means["overall"]["mean_features"] == pytest.approx(features, abs=5e-4)


@needs(OFFICIAL)
def test_counts_are_the_sums_of_the_authors_counts_of_images_and_pairs():
    with OFFICIAL.open(newline="") as file:
        official = {
            (row["method"], row["sequence"]): (
                sum(int(row[f"features_{k}"]) for k in range(1, 7)),
                sum(int(row[f"matches_{k}"]) for k in range(2, 7)),
            )
            for row in csv.DictReader(file)
        }
    curves = [row["curve"] for row in presentation("hpatches")["rows"]]
    ours = {
        (curve, sequence): counts
        for curve, row in zip(curves, load_paper(), strict=True)
        for sequence, counts in row.counts.items()
    }
    assert ours == official
    assert published_file("hpatches_counts.csv").stat().st_size < 100_000


@pytest.fixture
def partial(write_run):
    """A run of D2 SS on two sequences of the 108, and one that was never published."""
    rows = [
        *pairs_of("i_ajuntament", 1000, 1100, 400), *pairs_of("i_autannes", 3000, 3100, 1000),
        *pairs_of("v_mine", 9000, 9000, 9000),
    ]  # fmt: skip
    return write_run("part", "d2_ss", dataset=PARTIAL, pairs=rows)


def test_a_partial_run_is_compared_on_the_sequences_that_it_shares(runs, partial):
    table = hpatches_table(runs)
    (row,) = (r for r in csv.DictReader(table.csv.splitlines()) if r["label"])
    assert row["shared_sequences"] == "2"
    features, matches = (sum(pair) for pair in zip(AJUNTAMENT, AUTANNES, strict=True))
    assert float(row["features_published_shared"]) == pytest.approx(features / 12)
    assert float(row["features_measured_shared"]) == pytest.approx((6500 + 18500) / 12)
    assert float(row["matches_published_shared"]) == pytest.approx(matches / 10)
    assert float(row["matches_measured_shared"]) == 700
    assert float(row["matches_difference"]) == pytest.approx(700 - matches / 10)
    # of all that was measured and published: as it stands in its own columns
    assert (row["features_published_exact"], row["features_measured"]) == ("2994.068", "3000.5")
    assert float(row["mma_3px_difference"]) == pytest.approx(0.16 - 0.405687)
    assert "on the sequences that they share" in table.markdown
    assert f"| {features / 12:.1f} / 2083.3 " in table.markdown


def test_load_runs_says_which_sequences(runs, partial):
    frame = d2eval.load_runs(runs, "hpatches")
    own = frame[(frame["run"] == "part") & frame["subset"].str.startswith("shared_")]
    assert set(own["dataset"]) == {"2 shared sequences (i_ajuntament, i_autannes)"}
    found = {
        (r.source, r.subset, r.metric): r.value for r in own.itertuples() if r.subset[-2:] != "_v"
    }
    assert len(found) == len(own) == 8  # no sequence of split v is shared
    assert found["measured", "shared_i", "mean_matches"] == 700
    assert found["published", "shared_overall", "mean_features"] == pytest.approx(
        (AJUNTAMENT[0] + AUTANNES[0]) / 12
    )


def test_without_a_shared_sequence_nothing_is_compared(runs, write_run):
    write_run("mine", "d2_ss", dataset=PARTIAL, pairs=pairs_of("v_mine", 9, 9, 9))
    (row,) = (r for r in csv.DictReader(hpatches_table(runs).csv.splitlines()) if r["label"])
    assert (row["shared_sequences"], row["features_difference"]) == ("0", "")
    assert row["mma_3px_difference"]
    assert not d2eval.load_runs(runs, "hpatches")["subset"].str.startswith("shared_").any()


def test_complete_runs_and_those_beside_no_row_are_as_they_were(runs, write_run):
    write_run("whole", "d2_ss", features=3004.068)
    for label, more in (("top", {"top_k": 2000}), ("x", {"dataset": "sample"})):
        write_run(label, "d2_ss", **{"dataset": PARTIAL, **more})
    rows = {r["label"]: r for r in csv.DictReader(hpatches_table(runs).csv.splitlines())}
    assert rows["whole"]["features_difference"] == "10.0"
    for label in ("whole", "top", "x"):
        assert not rows[label]["shared_sequences"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("matches", "m"), "lacks matches"),
        (lambda text: text.replace("400", "many"), "not a number"),
    ],
)
def test_broken_pairs_are_one_line(runs, partial, change, message):
    path = partial / "pairs.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(D2EvalError, match=message) as error:
        hpatches_table(runs)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(D2EvalError, match=r"pairs\.csv: is missing"):
        hpatches_table(runs)
