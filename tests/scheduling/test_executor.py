"""Units on workers: each is made once, and what fails is tried elsewhere and told once."""

import pickle
from collections import Counter

import pytest
from progress_lines import without_progress
from scheduled_units import FileJob, HereWorkers, Kept

from d2eval.evaluation.benchmark import Request, benchmark_class
from d2eval.evaluation.evaluate import run_benchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal import progress
from d2eval.scheduling import work
from d2eval.scheduling.choice import open_workers
from d2eval.scheduling.executor import ATTEMPTS, HERE, LARGEST, LOST_ATTEMPTS, Executor
from d2eval.scheduling.plan import Planned
from d2eval.scheduling.work import Block, Outcome


def tries(folder, unit):
    return (folder / unit).with_suffix(".tries").read_text().split()


def send(folder, units, workers=None, kept=None):
    executor = Executor(workers or HereWorkers(), pickle.dumps(FileJob(folder)))
    return executor.ahead("files", units, kept or Kept(), "files")


def test_without_workers_nothing_is_sent():
    kept = Kept(fresh=True)
    assert HERE.ahead("files", ["a"], kept, "files") == 0
    assert kept.anew == []  # what is to be made anew still is


def test_every_unit_is_made_once(tmp_path, capsys):
    units, kept = [f"unit-{k}" for k in range(300)], Kept(fresh=True)
    workers = HereWorkers()
    assert send(tmp_path, units, workers, kept) == len(units)
    assert Counter((tmp_path / unit).read_text() for unit in units) == {"made\n": len(units)}
    assert kept.anew == ["files"]
    sizes = [len(block.units) for block in workers.blocks]
    assert sizes[:2] == [1, 1]  # how long one takes isn't known yet
    assert 30 < max(sizes) <= LARGEST
    assert sizes[-1] == 1  # at the end each worker has a share
    # each of the two goes through a stretch of its own, until one is at its end
    given = {name: [b.units for b in workers.blocks if b.to == name] for name in "01"}
    for name, stretch in (("0", units[:150]), ("1", units[150:])):
        assert len(given[name]) >= 3
        begun = [unit for own in given[name][:3] for unit in own]
        assert begun == stretch[: len(begun)]
    assert capsys.readouterr().err == ""


def test_how_far_the_run_is_stands_in_the_stage_s_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_S", 0.01)
    monkeypatch.setattr(progress, "NEXT_S", 0.01)
    said, asked, workers = [], [], HereWorkers()
    monkeypatch.setattr(progress, "tell", said.append)

    def plan():
        asked.append(len(workers.blocks))
        return [Planned("poses", 2, 2), Planned("files", 9), Planned("scores", 9)]

    executor = Executor(workers, pickle.dumps(FileJob(tmp_path)), plan)
    for kind in ("slow", "slow-again"):
        executor.ahead("files", [f"{kind}-{k}" for k in range(9)], Kept(), "files")
    assert asked == [0]  # once, when the first stage began
    # nor do blocks that are sent within half a minute have many names
    assert {block.shown for block in workers.blocks} == {"files, stage 2 of 3"}
    assert any("; stage 2 of 3, over 0:0" in line for line in said)
    # a line that tests leave out, as it depends on the machine
    assert without_progress("".join(f"{line}\n" for line in said)) == ""


def test_what_the_run_does_by_itself_says_it_too(shown_in_all):
    plan = [Planned("files", 9, 0, 60.0), Planned("points", 1, 0, 30.0, is_shared=False)]
    for workers in (None, HereWorkers()):
        with Executor(workers).planned(lambda: plan).stage("points"), progress.Progress("x"):
            pass
    assert shown_in_all == [("x", "stage 2 of 2, about 0:30 left in all")] * 2


def test_a_long_block_gives_back_what_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "LONGEST_S", 0.12)
    units = tuple(f"slow-{k}" for k in range(6))
    outcome = work.run_block(pickle.dumps(FileJob(tmp_path)), Block("files", units))
    assert outcome.fault is None
    assert 0 < outcome.done < len(units)
    assert send(tmp_path, units[outcome.done :]) == len(units) - outcome.done
    assert all((tmp_path / unit).read_text() == "made\n" for unit in units)


def test_what_fails_is_tried_again_and_told_once(tmp_path, capsys):
    units = [f"unit-{k}" for k in range(9)]
    units[3:3] = ["broken-1", "once-1"]
    assert send(tmp_path, units) == len(units) - 1
    assert len(tries(tmp_path, "broken-1")) == ATTEMPTS
    assert len(tries(tmp_path, "once-1")) == 2
    assert not (tmp_path / "broken-1").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: files: 1 of 11 units failed on workers: ")
    assert line.endswith("broken-1: is broken; tried here once more")


@pytest.mark.parametrize("longest_s", [9, 0.12])  # all were made when writing fails; some were
def test_where_writing_fails_at_the_end_all_is_tried_again(tmp_path, monkeypatch, longest_s):
    monkeypatch.setattr(work, "LONGEST_S", longest_s)
    units = tuple(f"slow-{k}" for k in range(6))
    (tmp_path / "full").touch()
    outcome = work.run_block(pickle.dumps(FileJob(tmp_path)), Block("files", units))
    assert (outcome.done, outcome.fault) == (0, "mistake")
    assert (tmp_path / units[0]).exists()
    (tmp_path / "full").touch()
    assert send(tmp_path, units) > len(units)
    assert not (tmp_path / "full").exists()


def test_of_many_that_fail_some_are_told_in_full(tmp_path, capsys):
    send(tmp_path, [f"broken-{k}" for k in range(7)])
    (line,) = capsys.readouterr().err.splitlines()
    assert "7 of 7 units failed on workers" in line
    assert line.count("is broken") == 3
    assert "; and 4 more; " in line


def test_a_failure_where_all_is_made_anew_ends_the_run(tmp_path):
    # What is stored of it from before would be taken for new.
    kept = Kept(fresh=True)
    with pytest.raises(D2EvalError, match=r"files: 1 of 2 units failed .*broken-1: is broken"):
        send(tmp_path, ["a", "broken-1"], kept=kept)
    assert kept.anew == []


def test_less_memory_is_asked_for_where_there_is_too_little(tmp_path):
    assert send(tmp_path, ["large-1", "unit-1"]) == 2
    assert tries(tmp_path, "large-1") == ["1.0", "0.5", "0.25"]
    assert tries(tmp_path, "unit-1") == ["1.0"]


class Lossy(HereWorkers):
    """Loses whoever does a unit called deadly."""

    def submit(self, number, job, block):
        if any(unit.startswith("deadly") for unit in block.units):
            self.blocks.append(block)
            self.ended.append((number, Outcome("somewhere", fault="lost", message="was killed")))
        else:
            super().submit(number, job, block)


def test_a_unit_that_takes_its_workers_with_it_ends_the_run(tmp_path):
    # Done here, it would take the run with it.
    workers = Lossy()
    with pytest.raises(D2EvalError, match=r"1 of 21 units failed .*somewhere: was killed; finish"):
        send(tmp_path, ["deadly-1", *(f"unit-{k}" for k in range(20))], workers)
    assert sum("deadly-1" in block.units for block in workers.blocks) == LOST_ATTEMPTS
    assert len(list(tmp_path.glob("unit-?"))) + len(list(tmp_path.glob("unit-??"))) == 20


class OneFails(HereWorkers):
    """Every other block is done by a worker whose disk is full, if may be."""

    def submit(self, number, job, block):
        if number % 2 and "full" not in block.avoid:
            self.blocks.append(block)
            self.ended.append((number, Outcome("full", fault="mistake", message="no space")))
        else:
            super().submit(number, job, block)


def test_a_worker_that_only_fails_gets_no_more(tmp_path, capsys):
    workers = OneFails()
    assert send(tmp_path, [f"slow-{k}" for k in range(24)], workers) == 24
    assert sum(Counter(tries(tmp_path, f"slow-{k}"))["1.0"] for k in range(24)) == 24
    begun = [block for block in workers.blocks if not block.attempt]
    assert all("full" in block.avoid for block in begun[8:])
    assert capsys.readouterr().err == ""


def test_a_bug_on_a_worker_is_told_with_its_last_line(tmp_path, capsys):
    send(tmp_path, [3])  # a unit that is no text
    assert "TypeError: " in capsys.readouterr().err


def test_what_is_no_scheduler():
    for text in ("local:0", "local:", "here", "/no/such/file"):
        with (
            pytest.raises(D2EvalError, match=rf"^--scheduler {text}: must be local:N"),
            open_workers(text),
        ):
            pass


def test_a_benchmark_without_units_for_workers(tmp_path, monkeypatch):
    cls = benchmark_class("cifar10")
    benchmark = cls()
    monkeypatch.setattr(cls, "words", lambda *_: ["some"])
    monkeypatch.setattr(cls, "load", lambda *_, **__: None)
    monkeypatch.setattr(cls, "report", lambda *_: [])
    with pytest.raises(D2EvalError, match="cifar10: has no work for workers; leave --sched"):
        run_benchmark(benchmark, tmp_path, Request(None), HereWorkers())
