from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inloc_folder import CUTOUTS as NAMES
from inloc_folder import Q1, Q2, InlocFolder
from PIL import Image

from d2eval.contracts.identity import Identity
from d2eval.contracts.weights import NOT_STATED
from d2eval.inloc.data.dataset import Dataset, load_dataset
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.retrieval_maps import rank, with_global_retrieval
from d2eval.inloc.protocol import load_benchmark
from d2eval.pipeline.store import Store


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


CUTOUTS = {
    "b": vector(1, 0, 0), "c": vector(0, 1, 0), "a": vector(1, 0, 0), "d": vector(0, 0.6, 0.8),
}  # fmt: skip


def test_best_first_and_ties_by_name():
    found = rank({"q": vector(0.8, 0.6, 0)}, CUTOUTS, 4)["q"]
    assert [item.cutout for item in found] == ["a", "b", "c", "d"]
    assert [item.score for item in found] == pytest.approx([0.8, 0.8, 0.6, 0.36])


def test_only_the_best():
    found = rank({"p": vector(0, 1, 0), "q": vector(0, -1, 0)}, CUTOUTS, 2)
    assert [item.cutout for item in found["p"]] == ["c", "d"]
    assert found["q"] == (Retrieved("a", 0.0), Retrieved("b", 0.0))


def test_nothing_to_rank():
    assert rank({"q": vector(1, 0)}, {}, 3) == {"q": ()}
    assert rank({}, CUTOUTS, 3) == {}


# Centred


def test_centering_takes_the_cutouts_mean_away_and_normalises_again():
    cutouts = {"a": vector(0.6, 0.8, 0), "b": vector(0.8, 0, 0.6), "c": vector(0.6, 0, -0.8)}
    query = vector(0.8, 0.6, 0)
    mean = sum(cutouts.values()) / 3
    expected = {}
    for name, descriptor in cutouts.items():
        one, other = query - mean, descriptor - mean
        expected[name] = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    found = rank({"q": query}, cutouts, 3, centered=True)["q"]
    assert [item.cutout for item in found] == sorted(expected, key=lambda name: -expected[name])
    for item in found:
        assert item.score == pytest.approx(expected[item.cutout], abs=1e-6)
    plain = rank({"q": query}, cutouts, 3)["q"]
    assert [item.cutout for item in plain] == ["a", "b", "c"]
    assert [item.cutout for item in found] == ["a", "b", "c"]
    assert plain[1].score == pytest.approx(0.64)
    assert found[2].score < found[1].score < 0 < found[0].score


def test_centered_copies_of_one_cutout_say_nothing():
    same = {"b": vector(0.6, 0.8), "a": vector(0.6, 0.8)}
    found = rank({"q": vector(1, 0)}, same, 2, centered=True)["q"]
    assert found == (Retrieved("a", 0.0), Retrieved("b", 0.0))


# Through the store


class Greys:
    """A network whose descriptor is a direction by the mean grey of the image."""

    centered = False

    def __init__(self) -> None:
        self.calls = 0

    def global_descriptor(self, image: np.ndarray) -> np.ndarray:
        self.calls += 1
        angle = image.mean() / 255 * np.pi / 2
        return vector(np.cos(angle), np.sin(angle))


def retrieve(root: Path, network: Any, name: str = "greys", top: int = 3) -> Dataset:
    dataset = load_dataset(root / "data", load_benchmark())
    return with_global_retrieval(
        dataset, network, Identity(name, 1, {}, NOT_STATED), Store(root / "cache"), top
    )


@pytest.fixture
def root(tmp_path) -> Path:
    """Queries of grey 40; cutouts of 0, 50, 100, 150."""
    InlocFolder(tmp_path / "data").write()
    return tmp_path


def test_the_nearest_cutouts_are_retrieved_instead_of_the_list(root):
    found = retrieve(root, Greys())
    for query in (Q1, Q2):
        assert [item.cutout for item in found.retrieval[query]] == [NAMES[1], NAMES[0], NAMES[2]]
        steps = [np.cos(np.deg2rad(90 * step / 255)) for step in (10, 40, 60)]
        assert [item.score for item in found.retrieval[query]] == pytest.approx(steps, abs=1e-5)
    assert found.notes[-1] == "cutouts were retrieved by global descriptors of greys"
    assert len(retrieve(root, Greys(), top=1).retrieval[Q1]) == 1


def test_descriptors_are_kept_by_the_image_s_content_and_the_network(root):
    network = Greys()
    first = retrieve(root, network)
    assert network.calls == 5  # both queries are one image
    assert retrieve(root, network).retrieval == first.retrieval
    assert network.calls == 5
    path = root / "data/database/cutouts" / NAMES[3]
    Image.new("RGB", (8, 6), (42, 42, 42)).save(path, format="JPEG")
    assert retrieve(root, network).retrieval[Q1][0].cutout == NAMES[3]
    assert network.calls == 6
    retrieve(root, network, "other")
    assert network.calls == 11
