import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

THRESHOLDS = range(1, 16)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    (folder / "hpatches").mkdir(parents=True)
    return folder


@pytest.fixture
def write_run(runs: Path) -> Callable[..., Path]:
    """Writes a run's folder as the evaluation does; MMA at t px is 0.02 t + 0.1 / 0.2 / 0.3."""

    def write(
        label: str,
        method: str,
        *,
        dataset: str = "complete",
        weights: str = "none",
        features: float = 3000.5,
        matches: float = 1000.25,
        top_k: int | None = None,
        empty: tuple[str, ...] = (),
        pairs: Sequence[tuple[str, int, int, int]] = (),
    ) -> Path:
        folder = runs / "hpatches" / label
        folder.mkdir()
        header = ["sequence", "image", "split", "features_1", "features_k", "matches"]
        rows = [(name, k, name[0], *counts) for k, (name, *counts) in enumerate(pairs, 2)]
        write_rows(folder / "pairs.csv", header, rows)
        with (folder / "summary.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["method", "split", "images", "pairs", "mean_features", "mean_matches"]
                + [f"mma_{t}px" for t in THRESHOLDS]
                + ["matching_score", "dataset", "weights"]
            )
            for split, base in (("overall", 0.1), ("i", 0.2), ("v", 0.3)):
                counts: list[Any] = [42, 35, features, matches]
                numbers = [*(round(base + 0.02 * t, 6) for t in THRESHOLDS), 0.25]
                if split in empty:
                    counts, numbers = [0, 0, "", ""], [""] * len(numbers)
                writer.writerow([label, split, *counts, *numbers, dataset, weights])
        manifest = {
            "benchmark": "hpatches",
            "label": label,
            "method": method,
            "top_k": top_k,
            "dataset": {"completeness": dataset, "sequences": 7},
            "weights": None
            if weights == "none"
            else {
                "name": "d2",
                "description": weights,
                "sha256": "0" * 64,
                "stand_in": "stand-in" in weights,
            },
        }
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def write_aachen_run(runs: Path) -> Callable[..., Path]:
    """Writes the rows of an Aachen run as the evaluation does; no model and no matches.

    ``counts`` has for each (epoch, split) the localized queries by threshold, or None without
    reference poses; each split has 98 queries, of which 95 are registered.
    """

    def write(
        label: str,
        method: str,
        counts: dict[tuple[str, str], list[int] | None],
        *,
        protocol: str = "aachen",
        dataset: str = "complete",
        weights: str = "none",
        holdout: int | None = None,
        queries: Sequence[Mapping[str, Any]] = (),
    ) -> Path:
        folder = runs / "aachen" / label
        folder.mkdir(parents=True)
        rows = []
        for (epoch, split), localized in counts.items():
            for index, threshold in enumerate(AACHEN_THRESHOLDS[epoch]):
                scored: list[Any] = [""] * 6
                if localized is not None:
                    percent = 100 * localized[index] / 98
                    low, high = max(0.0, percent - 10), min(100.0, percent + 10)
                    scored = [localized[index], percent, low, high, 0.125, 0.75]
                shared = [method, protocol, epoch, split, *threshold, 98, 95]
                rows.append([*shared, *scored, 11432.5, dataset, weights])
        write_rows(folder / "summary.csv", AACHEN_SUMMARY, rows)
        named = [[query.get(column, "") for column in AACHEN_QUERIES] for query in queries]
        write_rows(folder / "queries.csv", AACHEN_QUERIES, named)
        manifest = {
            "benchmark": "aachen",
            "protocol": protocol,
            "label": label,
            "method": method,
            "holdout": holdout,
            "dataset": {"completeness": dataset},
            "weights": None if weights == "none" else {"stand_in": "stand-in" in weights},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    return write


AACHEN_THRESHOLDS = {
    "2019": [(0.5, 2.0), (1.0, 5.0), (5.0, 10.0), (10.0, 25.0)],
    "2020": [(0.25, 2.0), (0.5, 5.0), (5.0, 10.0)],
}
AACHEN_SUMMARY = [
    "method", "protocol", "epoch", "split", "position_m", "rotation_deg", "queries", "registered",
    "localized", "percent", "percent_low", "percent_high", "median_position_m",
    "median_rotation_deg", "mean_features", "dataset", "weights",
]  # fmt: skip
AACHEN_QUERIES = [
    "name", "split", "registered", "features", "visible_points", "inliers", "mean_reprojection_px",
    "position_m", "rotation_deg", "qw", "qx", "qy", "qz", "tx", "ty", "tz", "ref_qw", "ref_qx",
    "ref_qy", "ref_qz", "ref_tx", "ref_ty", "ref_tz", "reason", "protocol", "dataset", "weights",
]  # fmt: skip


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def write_inloc_run(runs: Path) -> Callable[..., Path]:
    """Writes the rows of an InLoc run as the evaluation does; no views.

    ``counts`` has for each floor the localized queries at 0.25, 0.5, 1, 0.05 and 0.1 m, or None
    without reference poses; there are 329 queries, 198 on DUC1 and 131 on DUC2. All have a pose.
    ``errors`` has floor, metres and degrees of each query; ``reasons``, by index, of those without
    a pose, why.
    """

    def write(
        label: str,
        kind: tuple[str, str, str],
        counts: Mapping[str, list[int] | None],
        *,
        protocol: str = "inloc",
        dataset: str = "complete",
        weights: str = "none",
        errors: Sequence[tuple[str, float, float]] = (),
        reasons: Mapping[int, str] = MappingProxyType({}),
    ) -> Path:
        folder = runs / "inloc" / label
        folder.mkdir(parents=True)
        rows = []
        for floor, localized in counts.items():
            queries = {"all": 329, "DUC1": 198, "DUC2": 131}[floor]
            for index, threshold in enumerate(INLOC_THRESHOLDS):
                scored: list[Any] = [""] * 6
                if localized is not None:
                    percent = 100 * localized[index] / queries
                    low, high = max(0.0, percent - 10), min(100.0, percent + 10)
                    scored = [localized[index], percent, low, high, 0.125, 0.75]
                shared = [label, protocol, floor, *threshold, queries, queries]
                rows.append([*shared, *scored, 15.04, dataset, weights])
        write_rows(folder / "summary.csv", INLOC_SUMMARY, rows)
        named = [
            [
                *(f"IMG_{i:04}.JPG", floor, int(floor != ""), int(i not in reasons)),
                *(metres, degrees, "1" if floor else "", reasons.get(i, "")),
            ]
            for i, (floor, metres, degrees) in enumerate(errors)
        ]
        write_rows(folder / "queries.csv", INLOC_QUERIES, named)
        strategy, method, verification = kind
        own = None if weights == "none" else {"stand_in": "stand-in" in weights}
        features = {strategy: {"method": method}}
        if strategy == "merge":
            features = {"dense": {"method": "vgg16_dense"}, "sparse": {"method": method}}
        manifest = {
            "benchmark": "inloc",
            "protocol": protocol,
            "label": label,
            "method": " and ".join(entry["method"] for entry in features.values()),
            "row": {"strategy": strategy, "verification": verification, "features": features},
            "dataset": {"completeness": dataset},
            "weights": dict.fromkeys(features, own),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    return write


INLOC_THRESHOLDS = [(0.25, 10.0), (0.5, 10.0), (1.0, 10.0), (0.05, 5.0), (0.1, 10.0)]
INLOC_SUMMARY = [
    "row", "protocol", "floor", "position_m", "rotation_deg", "queries", "posed", "localized",
    "percent", "percent_low", "percent_high", "median_position_m", "median_rotation_deg",
    "stored_mb", "dataset", "weights",
]  # fmt: skip
INLOC_QUERIES = [
    "name", "floor", "scored", "posed", "position_m", "rotation_deg", "ref_qw", "reason",
]  # fmt: skip
