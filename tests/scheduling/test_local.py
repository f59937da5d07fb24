"""Workers that are processes of this machine, and are killed."""

import pickle

import pytest
from scheduled_units import FileJob, Kept

from d2eval.foundation.errors import D2EvalError
from d2eval.scheduling.executor import LOST_ATTEMPTS, Executor
from d2eval.scheduling.local import LocalWorkers
from d2eval.scheduling.work import Block


@pytest.fixture
def workers():
    workers = LocalWorkers(2)
    yield workers
    workers.close()


def test_killed_workers_are_replaced_and_no_unit_is_lost(workers, tmp_path, capsys):
    executor = Executor(workers, pickle.dumps(FileJob(tmp_path)))
    units = ["killed-1", *(f"unit-{k}" for k in range(40))]
    executor.ahead("files", units, Kept(), "files")
    assert all((tmp_path / unit).read_text() == "made\n" for unit in units)
    assert capsys.readouterr().err == ""


def test_a_block_goes_to_the_worker_that_should_do_it(workers, tmp_path):
    job = pickle.dumps(FileJob(tmp_path))
    assert workers.free == ["0", "1"]
    workers.submit(1, job, Block("files", ("a",), "1"))
    assert workers.free == ["0"]
    ((_, first),) = finished(workers)
    # unless it failed there
    workers.submit(2, job, Block("files", ("b",), "1", avoid=(first.worker,)))
    assert workers.free == ["1"]
    ((_, other),) = finished(workers)
    assert (first.done, other.done, first.worker == other.worker) == (1, 1, False)


def finished(workers):
    while not (found := workers.wait()):
        pass
    return found


@pytest.mark.slow
def test_a_unit_that_kills_every_worker(workers, tmp_path):
    executor = Executor(workers, pickle.dumps(FileJob(tmp_path)))
    with pytest.raises(D2EvalError, match=r"process \d+ was ended by SIGKILL; finished work is"):
        executor.ahead("files", ["deadly-1", "unit-1"], Kept(), "files")
    assert len((tmp_path / "deadly-1.tries").read_text().split()) == LOST_ATTEMPTS
    assert (tmp_path / "unit-1").read_text() == "made\n"
