"""What a worker opens: its own device, and as many threads as it was told."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numba  # noqa: F401 - as where something compiled runs
import pytest
import torch

from d2eval.cli import main
from d2eval.contracts.method import Runtime
from d2eval.evaluation.benchmark import Request
from d2eval.evaluation.job import BenchmarkJob
from d2eval.foundation.machine.threads import VARIABLES


@dataclass(frozen=True)
class Opened:
    """A benchmark whose parts say with what they were opened."""

    def load(self, root: Path, *, sample: bool) -> None:
        return None

    def parts(self, dataset: None, request: Request) -> SimpleNamespace:
        return SimpleNamespace(runtime=request.runtime)


def opened(worker: int, runtime: Runtime) -> Runtime:
    return BenchmarkJob(Opened(), Path(), Request(None, runtime=runtime)).open(worker, 1.0).runtime


@pytest.fixture
def variables(monkeypatch):
    """The environment, and the libraries' threads, as they were before."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "7")
    threads = cv2.getNumThreads(), torch.get_num_threads()
    yield os.environ
    cv2.setNumThreads(threads[0])
    torch.set_num_threads(threads[1])


def test_each_worker_has_one_of_the_devices():
    runtime = Runtime("cpu", devices=("cpu", "cuda:1"))
    assert [opened(k, runtime).device for k in range(3)] == ["cpu", "cuda:1", "cpu"]
    assert opened(5, Runtime("cpu")).device == "cpu"


def test_threads_are_those_asked_for_or_those_of_the_process(variables):
    assert opened(0, Runtime()).threads == 7  # as whoever started the worker said
    assert opened(0, Runtime(threads=1)).threads == 1
    assert (cv2.getNumThreads(), torch.get_num_threads()) == (1, 1)


@pytest.mark.parametrize("count", ["\u00b2", "0", "99999999999", "9" * 5000])
def test_what_is_no_number_of_threads_is_one_line(count, variables, capsys):
    assert main(["hpatches", "--method", "rootsift", "--threads", count]) == 2
    assert "argument --threads: must be a number from 1 to 9999" in capsys.readouterr().err
    variables[VARIABLES[0]] = count
    assert opened(0, Runtime()).threads is None


def test_threads_on_the_command_line(tmp_path, variables, capsys):
    words = ["hpatches", "--method", "rootsift", "--data", str(tmp_path), "--threads", "1"]
    assert main(words) == 2  # there is no data
    assert {variables[name] for name in VARIABLES} == {"1"}
    assert cv2.getNumThreads() == 1
    assert main([*words, "--device", "cpu,cpu"]) == 2
    assert "--device cpu,cpu: several go with --scheduler local:N" in capsys.readouterr().err
