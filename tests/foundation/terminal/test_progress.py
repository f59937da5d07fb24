import io
import re
import sys
import time
from itertools import pairwise

import pytest

from d2eval.foundation.terminal import progress as module
from d2eval.foundation.terminal.progress import Progress, clock, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """The lines that are said where there is no terminal, the first one after 20 ms."""
    monkeypatch.setattr(module, "FIRST_S", 0.02)
    monkeypatch.setattr(module, "NEXT_S", 0.02)
    said: list[str] = []
    monkeypatch.setattr(module, "tell", said.append)
    return said


def waited(condition) -> bool:
    """Whether it holds before a minute is over."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def test_the_first_line_comes_soon_and_the_others_ever_more_seldom(first_line_s) -> None:
    assert 5 <= first_line_s <= 15
    assert module.NEXT_S <= 60
    assert 0 < module.GROWTH <= 0.2


def test_quick_work_says_nothing(monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress([1, 2, 3], "quick")) == [1, 2, 3]
    assert stream.getvalue() == ""


def test_a_log_gets_done_total_and_time_left(log) -> None:
    for item in progress(iter(range(4)), "mine: features", 4):
        if item == 2:
            assert waited(lambda: any("2 of 4" in line for line in log))
    first, *_, last = log
    assert re.fullmatch(r"mine: features: \d of 4, 0:\d\d(, about \d+:\d\d left)?", first)
    assert re.search(r"2 of 4, 0:\d\d, about \d+:\d\d left", "\n".join(log))
    assert re.fullmatch(r"mine: features: done, 4, 0:\d\d", last)


def test_work_without_parts_is_not_silent(log) -> None:
    with Progress("triangulation"):
        assert waited(lambda: len(log) >= 3)
    assert set(log[:3]) <= {f"triangulation: 0:{second:02}" for second in range(60)}


def test_the_time_left_is_by_the_pace_of_late() -> None:
    """90 of 100 were in the store; of the other ten, each takes 5 s."""
    bar = Progress("x", 100, done=0)
    assert bar._line(92, 10.0, pace=1 / 5) == "x: 92 of 100, 0:10, about 0:40 left"
    assert bar._line(0, 10.0, pace=0.0) == "x: 0 of 100, 0:10"
    assert bar._line(100, 10.0, pace=1.0) == "x: 100 of 100, 0:10"


def test_a_part_of_something_larger_says_how_far_that_is() -> None:
    with module.part_of(lambda left: f"{left} of 1000 s left in all"):
        bar = Progress("x", 100)
    assert bar._line(92, 10.0, pace=1 / 5) == (
        "x: 92 of 100, 0:10, about 0:40 left; 40.0 of 1000 s left in all"
    )
    assert bar._line(0, 10.0, pace=0.0) == "x: 0 of 100, 0:10; None of 1000 s left in all"
    assert Progress("y", 100)._line(92, 10.0, pace=1 / 5) == "y: 92 of 100, 0:10, about 0:40 left"


@pytest.mark.parametrize("total", [3, None])
def test_a_terminal_shows_it_too(monkeypatch, total) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with module.part_of(lambda left: "stage 2 of 5"), Progress("x", total):
        assert waited(lambda: "stage 2 of 5" in stream.getvalue())


def test_bytes_are_megabytes() -> None:
    bar = Progress("d2_tf.pth", 30_000_000, done=10_000_000, is_bytes=True)
    line = bar._line(12_300_000, 75.0, 1e5)
    assert line == "d2_tf.pth: 12.3 MB of 30.0 MB, 1:15, about 2:57 left"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (800, "13:20"), (3723, "1:02:03")]
)
def test_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_lines_grow_apart(monkeypatch, first_line_s) -> None:
    """On a clock of our own: a night of work leaves tens of lines, not thousands."""
    now, said = [0.0], []
    monkeypatch.setattr(module, "FIRST_S", first_line_s)

    class Waiting:
        def wait(self, seconds: float) -> bool:
            now[0] += seconds
            return now[0] > 12 * 3600

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "tell", lambda line: said.append(now[0]))
    bar = Progress("x", 10)
    bar._start, bar._ended = 0.0, Waiting()
    bar._speak()
    assert said[0] == module.FIRST_S
    assert said[1] - said[0] == module.NEXT_S
    assert all(b - a <= max(module.NEXT_S, 0.11 * b) for a, b in pairwise(said))
    assert 20 < len(said) < 100


def test_a_terminal_shows_what_is_done_and_is_left_clean(monkeypatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    for item in progress(["a", "b"], "rendering the \x1bsample"):
        if item == "a":
            assert r"rendering the \x1bsample:   0%" in stream.getvalue()
    assert stream.getvalue().rsplit("\r", 2)[1].strip() == ""


def test_a_terminal_shows_work_without_parts_with_a_clock(monkeypatch) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("triangulation"):
        assert waited(lambda: stream.getvalue().count("triangulation: 00:0") >= 3)


@pytest.mark.parametrize("kind", [io.StringIO, Terminal, None])
def test_closed_output_does_not_end_the_work(monkeypatch, kind) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    stream = kind() if kind else None
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("x", 3) as under_way:
        under_way.advance()
        time.sleep(0.1)
        under_way.advance()


def test_output_that_is_closed_meanwhile_does_not_end_the_work(monkeypatch) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("x", 3) as under_way:
        stream.close()
        time.sleep(0.1)
        under_way.advance(2)


def test_a_failure_goes_through(log) -> None:
    with pytest.raises(KeyError), Progress("x", 3):
        assert waited(lambda: log)
        raise KeyError
    assert not any("done" in line for line in log)
