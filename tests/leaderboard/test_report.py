"""``d2eval report``: the page and results.json, from runs and from other people's files."""

import json
import re
import shutil

import pandas as pd
import pytest

from d2eval import compare
from d2eval.cli import main
from d2eval.leaderboard.collect import collect
from d2eval.report.page.html import page_html
from d2eval.report.page.results import read_results, results_text, together
from d2eval.runs.measured import SHIPPED_RUNS

PAIR = ("d2_ss_trained", "d2_ms_trained")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A few of the runs that ship."""
    root = tmp_path_factory.mktemp("few")
    for name in ("hpatches/d2_ss_trained", "hpatches/d2_ms_trained", "aachen/d2_ss"):
        shutil.copytree(SHIPPED_RUNS / name, root / name)
    return root


@pytest.fixture(scope="module")
def report(few):
    return collect("ours", [few], lambda line: pytest.fail(line))


def benchmark(report, name):
    return next(own for own in report["benchmarks"] if own["name"] == name)


def named(table):
    return pd.DataFrame(table["rows"], columns=table["columns"])


def island(page):
    """What the page's script reads, as a browser finds it: up to the first end of the element."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.S)
    return json.loads(found[1])["reports"]


@pytest.fixture
def written(report, tmp_path):
    """Writes a report, changed; gives its path."""

    def write(change=lambda content: None, name="theirs.json"):
        content = json.loads(results_text([report]))
        change(content)
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write


def test_numbers_recomputed_from_rows(report):
    own = benchmark(report, "hpatches")
    place = next(
        i for i, m in enumerate(own["measures"]) if (m["metric"], m["threshold"]) == ("mma", 3.0)
    )
    assert own["measures"][place]["title"] == "MMA@3px"
    assert own["subsets"]["v"] == "Viewpoint"
    numbers = named(own["numbers"])
    paper = pd.read_csv(SHIPPED_RUNS.parents[1] / "published/hpatches_curves.csv")
    paper = paper.set_index(["method", "split"])["mma_3px"]
    for index, run in enumerate(own["runs"]):
        rows = pd.read_csv(SHIPPED_RUNS / "hpatches" / run["label"] / "pairs.csv")
        assert run["badges"] == ["partial", "stand-in weights"]
        assert run["command"][:2] == ["d2eval", "hpatches"]
        for subset in ("overall", "i", "v"):
            chosen = rows if subset == "overall" else rows[rows["split"] == subset]
            of = numbers[(numbers["run"] == index) & (numbers["measure"] == place)]
            (row,) = of[of["subset"] == subset].itertuples()
            assert row.measured == pytest.approx(chosen["mma_3px"].mean())
            curve = {"d2_ss_trained": "d2-net-trained", "d2_ms_trained": "d2-net-trained-ms"}
            assert row.published == paper[curve[run["label"]], subset]
            assert row.difference == pytest.approx(row.measured - row.published)
        column = own["items"]["values"][index][
            [m["title"] for m in own["items"]["measures"]].index("MMA@3px")
        ]
        assert column == pytest.approx(rows["mma_3px"].tolist(), rel=1e-4)


def test_a_published_number_without_a_run_is_a_row_of_its_own(report):
    numbers = named(benchmark(report, "hpatches")["numbers"])
    alone = numbers[numbers["run"].isna()]
    assert {"SuperPoint", "DELF"} <= set(alone["row"])
    assert alone["measured"].isna().all()
    assert not set(alone["method"]) & set(PAIR)


def test_failures_say_why(report):
    own = benchmark(report, "aachen")
    queries = pd.read_csv(SHIPPED_RUNS / "aachen/d2_ss/queries.csv")
    lacking = queries[queries["registered"] == 0]
    wanted = [[0, name, why] for name, why in zip(lacking["name"], lacking["reason"], strict=True)]
    assert own["items"]["reasons"] == wanted and wanted


def test_comparisons_are_those_of_compare(report):
    own = benchmark(report, "hpatches")
    found = named(own["comparisons"])
    titles = [m["title"] for m in own["items"]["measures"]]
    labels = [run["label"] for run in own["runs"]]
    line = found[(found["subset"] == "overall") & (found["measure"] == titles.index("MMA@3px"))]
    (line,) = line.to_dict("records")
    first, second = labels[line["first"]], labels[line["second"]]
    said = compare(first, second, benchmark="hpatches", runs=SHIPPED_RUNS)
    said = said[(said["subset"] == "overall") & (said["metric"] == "mma")]
    said = said[said["threshold"] == 3].iloc[0]
    assert [line["low"], line["high"], line["p"]] == pytest.approx(
        [said["low"], said["high"], said["p_value"]], rel=1e-4
    )


def test_the_command_writes_page_and_results_that_it_reads_again(few, tmp_path, capsys):
    page = tmp_path / "out/page.html"
    assert main(["report", "--runs", str(few), "--name", "A & B", "--output", str(page)]) == 0
    results = page.with_name("results.json")
    (first,) = read_results(results)
    assert first["name"] == "A & B" and "A &amp; B" in page.read_text()
    assert island(page.read_text()) == [first]
    both = tmp_path / "both.html"
    assert main(["report", "--from", str(results), str(results), "--output", str(both)]) == 0
    assert (tmp_path / "results.json").read_text() == results.read_text()  # the same is there once
    capsys.readouterr()
    assert main(["report", "--from", str(results), "--output", str(page)]) == 2
    assert "would be written over" in capsys.readouterr().err


def test_folders_of_which_one_has_no_runs_of_a_benchmark(tmp_path):
    for place, run in (("a", "hpatches/d2_ss"), ("b", "hpatches/d2_ms"), ("b", "aachen/d2_ms")):
        shutil.copytree(SHIPPED_RUNS / run, tmp_path / place / run)
    report = collect("ours", [tmp_path / "a", tmp_path / "b"], pytest.fail)
    labels = {own["name"]: [run["label"] for run in own["runs"]] for own in report["benchmarks"]}
    assert labels == {"hpatches": ["d2_ss", "b/d2_ms"], "aachen": ["d2_ms"]}


def test_one_leaderboard_of_several_people(report):
    other = {**report, "d2eval": "0.2.0"}
    found = together([report, other, {**report, "name": "theirs"}, report])
    assert [own["name"] for own in found] == ["ours", "ours (2)", "theirs"]


HOSTILE = "</script><script>alert(1)</script><!--<b onload=x>\u2028&quot;"


def test_what_names_hold_is_text(written):
    def change(content):
        (own,) = content["reports"]
        own["name"] = HOSTILE
        for each in own["benchmarks"]:
            each["runs"][0] |= {"label": HOSTILE, "weights": HOSTILE, "command": [HOSTILE]}
            each["runs"][0]["manifest"][HOSTILE] = HOSTILE

    reports = read_results(written(change))
    page = page_html(reports)
    assert island(page) == reports
    assert HOSTILE not in page and "<script>alert" not in page and "<b onload" not in page
    assert page.count("<script") == page.count("</script") == 2
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#|data:)", page)  # nothing from elsewhere
    assert "default-src 'none'" in page


def deep(content):
    own = content["reports"][0]["benchmarks"][0]["runs"][0]["manifest"]
    for _ in range(200):
        own["a"] = own = {}


def first_of(content, *keys):
    own = content["reports"][0]["benchmarks"][0]
    for key in keys:
        own = own[key]
    return own


BROKEN = {
    "no object": (lambda c: c.clear(), "lacks format"),
    "another file": (lambda c: c.update(format="other"), "is not 'd2eval-report'"),
    "a later schema": (lambda c: c.update(schema=99), "of schema 99"),
    "no report": (lambda c: c["reports"].clear(), "fewer than 1"),
    "a missing entry": (lambda c: first_of(c).pop("runs"), "lacks runs"),
    "an unknown entry": (lambda c: first_of(c).update(html="<b>"), "has 'html'"),
    "a style for a colour": (
        lambda c: first_of(c, "runs", 0).update(color="red;background:url(//x)"), "not the form",
    ),
    "text for a number": (lambda c: first_of(c, "numbers", "rows", 0).__setitem__(6, "9"), "is no"),
    "a short row": (lambda c: first_of(c, "numbers", "rows", 0).pop(), "fewer than 14"),
    "a run that isn't there": (
        lambda c: first_of(c, "numbers", "rows", 0).__setitem__(0, 99), "a run that isn't there",
    ),
    "a lost column": (lambda c: first_of(c, "items", "values", 0).pop(), "don't fit"),
    "no number": (lambda c: first_of(c, "runs", 0)["manifest"].update(x=float("nan")), "no number"),
    "no text": (lambda c: c["reports"][0].update(name="\ud800"), "no text"),
    "a huge number": (
        lambda c: first_of(c, "numbers", "rows", 0).__setitem__(6, 10**400), "is no number",
    ),
    "a picture from elsewhere": (
        lambda c: first_of(c, "items", "pictures").append([0, 0, "https://x/y"]), "not the form",
    ),
    "a picture of no pair": (
        lambda c: first_of(c, "items", "pictures").append([0, 999, "data:image/webp;base64,AA=="]),
        "a picture of what isn't there",
    ),
    "too deep": (deep, "nested too deep"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_and_hostile_files_are_one_line(name, written, tmp_path, capsys):
    change, said = BROKEN[name]
    path = written(change)
    output = tmp_path / "out/page.html"
    assert main(["report", "--from", str(path), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert said in error and path.name in error and error.count("\n") == 1
    assert not output.exists()


def test_torn_json_and_no_runs(tmp_path, written, capsys):
    path = written()
    path.write_text(path.read_text()[:1000])
    assert main(["report", "--from", str(path), "--output", str(tmp_path / "a.html")]) == 2
    assert "broken JSON" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    command = ["report", "--runs", str(tmp_path / "empty"), "--output", str(tmp_path / "a.html")]
    assert main(command) == 2
    assert "empty: no runs there" in capsys.readouterr().err
