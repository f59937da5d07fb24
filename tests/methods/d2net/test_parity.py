"""D2-Net against what the authors' extractor and matcher gave on the same images and weights."""

import csv
from collections.abc import Iterator
from pathlib import Path

import d2net_borderline as borderline
import d2net_reference as reference
import pytest
import torch
from PIL import Image
from places import DATA, REFERENCE, SHARED

from d2eval.contracts.method import Runtime
from d2eval.contracts.weights import load_state_dict
from d2eval.evaluation.benchmark import Request
from d2eval.foundation.images.decoding import read_image
from d2eval.hpatches.hpatches import HPatches, HPatchesOptions
from d2eval.pipeline.extraction import MethodChoice
from d2eval.runs.folder import RunName

DATA = DATA / "hpatches-sequences-release"
WEIGHTS = SHARED / "weights/d2_vgg16_hed.pth"
EXPECTED = REFERENCE / "d2net_official_pairs.csv"
SEQUENCE = "i_mexico"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on a busy machine take many times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def expected_pairs(method: str) -> dict[int, dict[str, str]]:
    with EXPECTED.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["sequence"] == SEQUENCE]
    return {int(row["image"]): row for row in rows if row["method"] == method}


def assert_close_count(method: str, path: Path, ours: float, theirs: float) -> None:
    """Within 0.1 %, and whatever differs hangs on the last bits of an activation."""
    if ours == theirs:
        return
    assert abs(ours - theirs) <= 1e-3 * theirs, (path, ours, theirs)
    scales = reference.SINGLE_SCALE if method == "d2_ss" else reference.MULTI_SCALE
    pixels = reference.preprocess(read_image(path))
    pyramid = list(reference.levels(load_state_dict(WEIGHTS), pixels, scales, True))
    doubts = borderline.limits(pyramid, activation_error=1e-6)
    certain = sum(int(doubt.certain.sum()) for doubt in doubts)
    possible = sum(int(doubt.possible.sum()) for doubt in doubts)
    assert certain <= min(ours, theirs), (path, certain, ours, theirs)
    assert max(ours, theirs) <= possible, (path, possible, ours, theirs)


def with_blank_images(source: Path, target: Path, kept: int) -> Path:
    """A sequence whose images after the first ``kept`` are small and black."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).symlink_to(path.resolve())
    for number in range(kept + 1, 7):
        (blank,) = target.glob(f"{number}.*")
        blank.unlink()
        Image.new("RGB", (16, 16)).save(blank)
    return target


@pytest.mark.slow
@pytest.mark.parametrize(("method", "images"), [("d2_ss", 2), ("d2_ss", 6), ("d2_ms", 6)])
def test_pairs_agree_with_the_authors_extractor(method, images, tmp_path):
    for needed in (DATA / SEQUENCE, WEIGHTS, EXPECTED):
        if not needed.exists():
            pytest.skip(f"reference material is not there: {needed}")
    choice = MethodChoice(method, {"weights": str(WEIGHTS)})
    runtime = Runtime(cache=tmp_path / "cache")
    request = Request(choice, runtime=runtime, output=tmp_path / "runs")
    benchmark = HPatches(HPatchesOptions(sequences=SEQUENCE))
    folder = with_blank_images(DATA / SEQUENCE, tmp_path / "data" / SEQUENCE, images).parent
    dataset = benchmark.load(folder)
    result = benchmark.run(dataset, request, RunName(method))
    with (result.folder / "pairs.csv").open(newline="", encoding="utf-8") as file:
        found = {int(row["image"]): row for row in csv.DictReader(file)}
    expected = expected_pairs(method)
    assert set(found) == set(expected) == {2, 3, 4, 5, 6}
    for image in range(2, images + 1):
        ours, row = found[image], expected[image]
        for name, number in (("features_1", 1), ("features_k", image)):
            path = dataset.found.sequences[0].images[number - 1]
            assert_close_count(method, path, float(ours[name]), float(row[name]))
        assert float(ours["matches"]) == pytest.approx(float(row["matches"]), rel=5e-3), image
        for t in range(1, 11):
            name = f"mma_{t}px"
            assert float(ours[name]) == pytest.approx(float(row[name]), abs=3e-3), (image, name)
