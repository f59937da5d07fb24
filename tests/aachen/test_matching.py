import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from packed_units import packed

import d2eval.pipeline.pairs
from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import FeatureMatching
from d2eval.aachen.order import near_each_other
from d2eval.contracts.features import make_features
from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import load_image_file
from d2eval.foundation.machine.resources import Cost
from d2eval.pipeline import recent_features
from d2eval.pipeline.ahead import one_by_one
from d2eval.pipeline.pairs import open_matcher
from d2eval.pipeline.store import Store, StoredFeatures

SIZE = (12, 10)
NAMES = [f"db/{k}.png" for k in range(6)]
QUERY = "query/q.png"
MATCHER = open_matcher(None, MatcherChoice("mnn"), Runtime())


class Source:
    """Features by the image's content; counts how often each image is read."""

    label = "by content"
    extracted = 0

    def __init__(self):
        self.reads = []

    def features(self, items, workers):
        return one_by_one(self.read, items, workers)

    def read(self, image, name):
        self.reads.append(name)
        pixels = image.decode()
        rng = np.random.default_rng(int(image.sha256[:8], 16))
        n = 20 + rng.integers(20)
        descriptors = rng.normal(size=(n, 16))
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        features = make_features(
            rng.uniform(0.5, 9, (n, 2)), rng.random(n), descriptors,
            (pixels.shape[1], pixels.shape[0]), origin="corner",
        )  # fmt: skip
        return StoredFeatures(features, f"key-{image.sha256}", Cost(0.25, 100.0))

    def describe(self):
        return {}

    def headline(self):
        return self.label


@pytest.fixture
def dataset(tmp_path):
    names = [*NAMES, QUERY]
    for k, name in enumerate(names):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((*SIZE[::-1], 3), 30 * k, np.uint8))
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL", width=SIZE[0], height=SIZE[1], params=[10, 6, 5, 0], camera_id=1
    )
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]][::-1]
    pairs += [(QUERY, "db/0.png"), ("db/3.png", QUERY)]
    return Dataset(
        root=tmp_path, images_folder=tmp_path / "images",
        image_ids={name: k for k, name in enumerate(names, 1)},
        cameras=dict.fromkeys(names, camera), poses={}, queries={QUERY: "night"},
        pairs=tuple(pairs), merged_pairs=0, references={}, notes=(), completeness="sample",
    )  # fmt: skip


def match(dataset, cache: Path):
    source = Source()
    keypoints = FeatureMatching(source, MATCHER).keypoints(dataset, 0)
    source.reads.clear()
    found = FeatureMatching(source, MATCHER).matches(dataset, keypoints, Store(cache))
    return {pair: matches.tolist() for pair, matches in found}, source


def slow_matches(dataset, first, other):
    source = Source()

    def descriptors(name):
        return collect(source, dataset, name).features.descriptors.astype(np.float64)

    similarity = descriptors(first) @ descriptors(other).T
    return [
        [i, int(np.argmax(row))] for i, row in enumerate(similarity)
        if np.argmax(similarity[:, np.argmax(row)]) == i
    ]  # fmt: skip


def collect(source, dataset, name):
    return source.read(load_image_file(dataset.images_folder / name), name)


def test_matches_of_every_pair_slow(dataset, tmp_path):
    found, _ = match(dataset, tmp_path / "cache")
    assert set(found) == set(dataset.pairs)
    for (first, other), matches in found.items():
        assert matches == slow_matches(dataset, first, other)
        assert matches


@pytest.mark.parametrize("limit", [1, 5000])
def test_little_memory_changes_nothing(dataset, tmp_path, monkeypatch, limit):
    usual, source = match(dataset, tmp_path / "usual")
    assert sorted(source.reads) == sorted([*NAMES, QUERY])  # once each
    monkeypatch.setattr(recent_features, "CACHE_BYTES", limit)
    little, source = match(dataset, tmp_path / "little")
    assert little == usual
    assert list(little) == list(usual)
    assert len(source.reads) > len(NAMES) + 1  # what was dropped is read again
    # Two images at a time suffice: no pair reads more than both.
    assert len(source.reads) <= 2 * len(dataset.pairs)


@pytest.mark.parametrize("limit", [3500, 5000, 7000])
def test_images_are_read_as_the_limit_allows(dataset, tmp_path, monkeypatch, limit):
    # Slow: those used last stay, as many as fit; two always do, since none counts more than half.
    held, expected = [], []
    sizes = {
        n: min(collect(Source(), dataset, n).features.descriptors.nbytes, limit / 2)
        for n in [*NAMES, QUERY]
    }
    for pair in near_each_other(dataset.pairs):
        for name in pair:
            if name not in held:
                expected.append(name)
            held = [other for other in held if other != name] + [name]
            while sum(sizes[other] for other in held) > limit:
                held.pop(0)
    monkeypatch.setattr(recent_features, "CACHE_BYTES", limit)
    _, source = match(dataset, tmp_path / "cache")
    assert source.reads == expected


def test_a_resumed_run_makes_only_what_lacks(dataset, tmp_path, monkeypatch):
    usual, _ = match(dataset, tmp_path / "usual")
    assert packed(tmp_path / "usual/matches") == len(dataset.pairs)
    match(replace(dataset, pairs=dataset.pairs[:3] + dataset.pairs[4:]), tmp_path / "cache")
    made, real = [], d2eval.pipeline.pairs.matches_of
    monkeypatch.setattr(d2eval.pipeline.pairs, "matches_of", lambda *a: made.append(1) or real(*a))
    again, source = match(dataset, tmp_path / "cache")
    assert again == usual
    assert len(made) == 1
    assert len(source.reads) == 2  # features of finished pairs aren't read


def test_a_run_that_is_stopped_keeps_its_pairs(dataset, tmp_path):
    source = Source()
    keypoints = FeatureMatching(source, MATCHER).keypoints(dataset, 0)
    store = Store(tmp_path / "cache")
    found = FeatureMatching(source, MATCHER).matches(dataset, keypoints, store)
    for _ in range(4):
        next(found)
    found.close()
    assert packed(tmp_path / "cache/matches") == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_keypoints_of_every_image(dataset, workers):
    found = FeatureMatching(Source(), MATCHER).keypoints(dataset, workers)
    assert sorted(found) == sorted([*NAMES, QUERY])
    for name, image in found.items():
        data = (dataset.images_folder / name).read_bytes()
        assert image.sha256 == hashlib.sha256(data).hexdigest()
        unit = collect(Source(), dataset, name)
        assert image.key == unit.key
        np.testing.assert_array_equal(image.keypoints, unit.features.keypoints)
        own, corner = image.seen_by_colmap("own"), image.seen_by_colmap("corner")
        np.testing.assert_array_equal(own, unit.features.own_keypoints())
        np.testing.assert_array_equal(own, corner)  # as COLMAP itself counts
        center = replace(image, origin="center")
        np.testing.assert_array_equal(center.seen_by_colmap("own"), image.keypoints)
        np.testing.assert_array_equal(center.seen_by_colmap("corner"), corner)
        assert image.keypoints.dtype == np.float32
        assert (image.cost.seconds, image.cost.peak_memory_mib) == (0.25, 100.0)


def test_only_images_that_are_used(dataset):
    some = replace(dataset, pairs=(("db/2.png", "db/4.png"),))
    assert sorted(FeatureMatching(Source(), MATCHER).keypoints(some, 0)) == [
        "db/2.png",
        "db/4.png",
        QUERY,
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_of_another_size_than_its_intrinsics(dataset, workers):
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL", width=SIZE[1], height=SIZE[0], params=[10, 5, 6, 0], camera_id=9
    )
    turned = replace(dataset, cameras={**dataset.cameras, "db/3.png": camera})
    path = dataset.images_folder / "db/3.png"
    message = (
        f"{path}: is 12x10, but its intrinsics are for 10x12; use the original image or mend the "
        "intrinsics"
    )
    with pytest.raises(D2EvalError, match=f"^{re.escape(message)}$"):
        FeatureMatching(Source(), MATCHER).keypoints(turned, workers)


def test_unknown_costs_stay_unknown(dataset):
    class Precomputed(Source):
        def read(self, image, name):
            return replace(super().read(image, name), cost=Cost(math.nan, math.nan))

    found = FeatureMatching(Precomputed(), MATCHER).keypoints(dataset, 0)
    costs = [image.cost for image in found.values()]
    assert all(math.isnan(own.seconds) and math.isnan(own.peak_memory_mib) for own in costs)
