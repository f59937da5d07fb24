"""Features and matches of real HPatches sequences beside the D2-Net authors' results."""

import csv
from pathlib import Path

import numpy as np
from places import DATA, REFERENCE

from d2eval.contracts.features import Features
from d2eval.contracts.method import Method
from d2eval.foundation.images.decoding import read_image

SEQUENCES = DATA / "hpatches-sequences-release"
COUNTS = REFERENCE / "hpatches_official_counts.csv"
REAL = ("v_graffiti", "v_churchill", "v_dogman", "v_bird")  # the others in there are stand-ins


def row_of(path: Path, **wanted: str) -> dict[str, str]:
    """The first row with these values."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return next(row for row in rows if all(row[k] == v for k, v in wanted.items()))


def mutual_nearest(one: Features, other: Features) -> np.ndarray:
    similar = one.descriptors @ other.descriptors.T
    best, back = similar.argmax(axis=1), similar.argmax(axis=0)
    mutual = back[best] == np.arange(len(one))
    return np.stack([np.flatnonzero(mutual), best[mutual]], axis=1)


def check_counts(
    method: Method,
    official: str,
    sequence: str,
    images: int = 6,
    features_within: float = 0.005,
    matches_within: float = 0.02,
) -> list[float]:
    """MMA at 3 pixels of pairs of the first images; prints counts beside the official ones."""
    counted = row_of(COUNTS, method=official, sequence=sequence)
    accuracies = []
    for k in range(1, images + 1):
        (path,) = (p for p in (SEQUENCES / sequence).glob(f"{k}.*"))
        features = method.extract(read_image(path))
        counts = [("features", len(features), features_within)]
        if k == 1:
            first = features
        else:
            matches = mutual_nearest(first, features)
            counts.append(("matches", len(matches), matches_within))
            points = np.c_[first.keypoints[matches[:, 0]], np.ones(len(matches))]
            moved = points @ np.loadtxt(SEQUENCES / sequence / f"H_1_{k}").T
            errors = np.linalg.norm(
                moved[:, :2] / moved[:, 2:] - features.keypoints[matches[:, 1]], axis=1
            )
            accuracies.append(float((errors <= 3).mean()))
        for what, ours, tolerance in counts:
            theirs = int(counted[f"{what}_{k}"])
            print(f"{sequence:12} {what:8} {k} {ours:6} {theirs:6} {ours / theirs - 1:+.3%}")
            assert abs(ours / theirs - 1) <= tolerance
    return accuracies
