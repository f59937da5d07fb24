"""Features of image files on workers, which are in other folders than the command."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from scheduled_units import HereWorkers

from d2eval.contracts.method import Runtime
from d2eval.contracts.source import unknown_source
from d2eval.foundation.errors import D2EvalError
from d2eval.pipeline.extraction import MethodChoice
from d2eval.pipeline.job import FeaturesJob, extract_on_workers

JOB = FeaturesJob(MethodChoice("upright_rootsift"), Runtime(cache=Path("cache")), workers=0)


@dataclass
class Elsewhere(HereWorkers):
    """Workers in a folder of their own."""

    move: object = None

    def submit(self, number, job, block):
        self.move("theirs")
        super().submit(number, job, block)
        self.move("..")


def test_paths_hold_from_any_folder(tiny_hpatches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("theirs").mkdir()
    Path("images").symlink_to(tiny_hpatches)
    source = JOB.method.open(JOB.runtime)
    paths = [Path("images/i_tiny/1.png"), Path("images/v_tiny/1.ppm")]
    extract_on_workers(Elsewhere(move=monkeypatch.chdir), JOB, source, paths)
    assert source.extracted == 2
    assert len(list(Path("cache/features").glob("*/*.h5"))) == 2
    assert list(Path("theirs").iterdir()) == []
    found = [unit for _, unit in source.features([(path, "") for path in paths], 0)]
    assert [len(unit.features) > 0 for unit in found] == [True, True]
    assert source.extracted == 2  # nothing was extracted again


def test_a_method_of_which_no_file_says_what_it_does(tmp_path):
    source = JOB.method.open(Runtime(cache=tmp_path))
    source.identity = replace(source.identity, source=unknown_source("it is a closure"))
    with pytest.raises(D2EvalError, match=r"^upright_rootsift: has no work for workers; leave"):
        extract_on_workers(HereWorkers(), JOB, source, [])
