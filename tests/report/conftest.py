import csv
import json
from collections.abc import Callable
from pathlib import Path
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
    ) -> Path:
        folder = runs / "hpatches" / label
        folder.mkdir()
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
