"""Training data by name, and several sources as one."""

import numpy as np
import pytest
from PIL import Image

from d2eval.foundation.errors import D2EvalError
from methods.d2net.training.data.pairs import PairSource, TrainingPair
from methods.d2net.training.data.sources import MixedPairs, held_out_photos, open_source, parse
from methods.d2net.training.data.views import Views


class Numbered(PairSource):
    """Pairs that say where they come from."""

    def __init__(self, name, length):
        self.name, self.length = name, length

    def __len__(self):
        return self.length

    def describe(self):
        return {"length": self.length}

    def draw(self, index, rng):
        if not 0 <= index < self.length:
            raise IndexError(index)
        blank, cells = np.zeros((8, 8, 3), np.uint8), np.zeros((1, 2), np.int64)
        return TrainingPair(f"{self.name}{index}", blank, blank, cells, cells)


def test_several_sources_stand_one_after_the_other():
    mixed = MixedPairs([Numbered("a", 2), Numbered("b", 0), Numbered("c", 3)])
    names = [mixed.draw(index, np.random.default_rng(0)).name for index in range(len(mixed))]
    assert names == ["a0", "a1", "c0", "c1", "c2"]


@pytest.fixture
def photos(tmp_path):
    for number in range(23):
        shade = np.full((70, 90, 3), number, np.uint8)
        Image.fromarray(shade).save(tmp_path / f"{number:02}.png")
    return tmp_path


def test_held_out_photos_are_not_trained_on(photos):
    data = f"homographies:{photos}"
    shown = {}
    for validation in (False, True):
        source = open_source(data, validation, None if validation else Views(per_photo=2))
        drawn = [source.draw(k, np.random.default_rng(k)) for k in range(len(source))]
        assert len(source) == (3 if validation else 40)
        shown[validation] = {pair.name for pair in drawn if pair is not None}
    assert shown[True] == {"00.png", "10.png", "20.png"}
    assert len(shown[False]) == 20
    assert not shown[True] & shown[False]
    assert [path.name for path in held_out_photos([data])] == ["00.png", "10.png", "20.png"]


def test_views_are_those_that_were_asked_for(photos):
    data = f"homographies:{photos}"
    usual = open_source(data, True).draw(1, np.random.default_rng(5)).image_1
    plain = open_source(data, True, Views(light=0.0)).draw(1, np.random.default_rng(5)).image_1
    assert len(np.unique(plain)) == 1 < len(np.unique(usual))  # a shade, and it lit


def test_other_files_are_other_data(photos):
    def described():
        return open_source(f"homographies:{photos}", False).describe()

    before = described()
    assert described() == before
    (photos / "05.png").write_bytes((photos / "05.png").read_bytes() + b"more")
    assert described()["files"] != before["files"]


@pytest.mark.parametrize("text", ["", "homographies", "homographies:", "photos:/x", "/a/folder"])
def test_what_is_no_source_is_refused(text):
    with pytest.raises(D2EvalError, match="is not KIND:PATH with KIND one of homographies"):
        parse(text)
