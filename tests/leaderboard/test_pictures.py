"""Which pictures a page has: the worst and best of each run, as far as it has room."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from d2eval.evaluation.pairs import PairsBenchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.leaderboard.items import item_table
from d2eval.leaderboard.pictures import Album, Shown, add_pictures
from d2eval.report.figures import new_figure, picture_uri
from d2eval.runs.items import Measure, RunItems, Series
from d2eval.runs.measured import Run, RunPlace

VALUES = {"a": {"1": 0.2, "2": 0.1, "3": 0.9}, "b": {"1": 0.5, "2": 0.6, "3": 0.7}}


class Drawn(PairsBenchmark):
    """One whose pictures are drawn from what is at hand for run a alone."""

    name = "drawn"
    load = check = sample = score = None  # type: ignore[assignment]

    def view(self, runs, item, sources):
        assert sources.data == Path("there") and sources.brief
        if runs[0].label == "b":
            raise D2EvalError("features aren't in the cache")
        return new_figure(2, 1)


Drawn.__abstractmethods__ = frozenset()


@pytest.fixture
def shown():
    items = []
    for label, values in VALUES.items():
        own = {(name,): value for name, value in values.items()}
        series = Series("overall", Measure("mma"), own)
        run = Run(label, "orb", "", "complete", "none needed", stand_in=False)
        items.append(RunItems(run, {}, "pair", "pair", {k: k[0] for k in own}, [], series, {}))
    items.append(None)
    benchmark = Drawn()
    places = [RunPlace(label, Path()) for label in "abc"]
    content = {"items": item_table(items, benchmark.item_name)}
    return Shown(content, benchmark, places, items)


def added(shown, count, room, first=()):
    add_pictures([shown], Album(count, Path("cache"), {"drawn": Path("there")}, first), room)
    table = shown.content["items"]
    json.dumps(table)
    return [(run, table["names"][item]) for run, item, _ in table["pictures"]], table["unpictured"]


def test_the_worst_then_the_best_each_once_and_why_there_is_none(shown):
    chosen, reasons = added(shown, 2, 10**6)
    assert chosen == [(0, "2"), (0, "3"), (0, "1")]  # the second best is the second worst
    assert reasons == [[1, "features aren't in the cache"]]
    uri = shown.content["items"]["pictures"][0][2]
    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    assert Image.open(io.BytesIO(data)).width == pytest.approx(720, rel=0.1)


def test_no_more_than_there_is_room_for(shown):
    added(shown, 1, 10**6)
    size = len(shown.content["items"]["pictures"][0][2])
    shown.content["items"]["pictures"].clear()
    chosen, reasons = added(shown, 2, size + size // 2)
    assert chosen == [(0, "2")]
    assert reasons[0] == [0, "the page has no room for it"]
    shown.content["items"]["pictures"].clear()
    assert added(shown, 0, 10**6) == ([], [])


def test_runs_that_come_first_have_all_of_theirs_before_the_others(shown, monkeypatch):
    monkeypatch.setattr(Drawn, "view", lambda *_: new_figure(2, 1))
    chosen, _ = added(shown, 1, 10**6, ["b"])
    assert chosen == [(1, "1"), (1, "3"), (0, "2"), (0, "3")]
    shown.content["items"]["pictures"].clear()
    chosen, _ = added(shown, 1, 10**6)
    assert chosen == [(0, "2"), (1, "1"), (0, "3"), (1, "3")]


def test_benchmarks_take_turns(shown, monkeypatch):
    monkeypatch.setattr(Drawn, "view", lambda *_: new_figure(2, 1))
    content = {"items": item_table(shown.items, shown.benchmark.item_name)}
    other = Shown(content, shown.benchmark, shown.places, shown.items)
    size = len(picture_uri(new_figure(2, 1)))
    add_pictures([shown, other], Album(1, Path("cache"), {}, ["b"]), 4 * size)
    for part in (shown, other):  # b's worst, then its best, and nothing is left for a
        assert [run for run, *_ in part.content["items"]["pictures"]] == [1, 1]
        assert part.content["items"]["unpictured"] == [[0, "the page has no room for it"]]


def test_one_that_is_not_there_cannot_come_first(shown):
    with pytest.raises(D2EvalError, match="no run is called d; there are a, b, c"):
        added(shown, 1, 10**6, ["d"])
