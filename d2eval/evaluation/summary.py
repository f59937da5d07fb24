"""A summary's rows: means over pairs, and as text."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from d2eval.evaluation.dataset import OVERALL
from d2eval.runs.folder import Row

COSTS = ("seconds_1", "seconds_k", "peak_memory_mib_1", "peak_memory_mib_k")
SHARES = ("mma", "auc", "h_auc", "h_accuracy")  # what their columns begin with


def mean(values: Sequence[float]) -> float:
    """The exact mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan


def means(rows: Sequence[Row], images: Sequence[Row]) -> list[Row]:
    """Means of all numbers over all pairs, and over those of each split where there are several.

    A pair has its ``split``; an image ``split``, ``features``, ``seconds``, ``peak_memory_mib``.
    """
    splits = list(dict.fromkeys(row["split"] for row in rows))
    numbers = {
        f"mean_{name}": name
        for name, value in rows[0].items()
        if isinstance(value, int | float) and name not in COSTS
    }
    shown = [OVERALL, *(splits if len(splits) > 1 else [])]
    return [summary_row(split, rows, images, numbers) for split in shown]


def summary_row(
    split: str,
    rows: Sequence[Row],
    images: Sequence[Row],
    averaged: Mapping[str, str],
    further: Callable[[Sequence[Row]], Row] = lambda _: {},
) -> Row:
    """A split's row: means over its pairs, what else follows from them, and its images' costs.

    ``averaged`` are columns -> those of the pairs that they are means of. Seconds and peak memory
    are of the images of which they are known.
    """
    pairs = [row for row in rows if split in (OVERALL, row["split"])]
    seen = [image for image in images if split in (OVERALL, image["split"])]
    known = [image for image in seen if not math.isnan(image["seconds"])]
    return {
        "split": split,
        "images": len(seen),
        "pairs": len(pairs),
        "mean_features": mean([image["features"] for image in seen]),
        **{column: mean([row[name] for row in pairs]) for column, name in averaged.items()},
        **further(pairs),
        "seconds_per_image": mean([image["seconds"] for image in known]),
        "peak_memory_mib": max((i["peak_memory_mib"] for i in known), default=math.nan),
    }


def aligned(summary: Sequence[Row], shown: Mapping[str, str]) -> list[str]:
    """Lines of text in columns.

    ``shown`` are columns -> their titles; empty: all.
    """
    titles = dict(shown) or {name: name for name in summary[0]}
    lines = [list(titles.values())]
    lines += [[_cell(name, row.get(name, "")) for name in titles] for row in summary]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]


def _cell(name: str, value: Any) -> str:
    """A share or an area with three places, another number with one; "-" where nothing is known."""
    if not isinstance(value, float):
        return str(value)
    places = 3 if name.startswith(SHARES) else 1
    return "-" if math.isnan(value) else f"{value:.{places}f}"
