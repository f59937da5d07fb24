"""The queries of a measured Aachen run: ``queries.csv``, poses as ``cam_from_world``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pycolmap

from d2eval.aachen.columns import QUERIES
from d2eval.foundation.formats.poses import POSE_COLUMNS, pose_from_wxyz
from d2eval.localization.columns import THRESHOLD, chosen
from d2eval.runs.columns import names, number
from d2eval.runs.rows import REMEDY, read_rows, reading

_READ = chosen(
    QUERIES,
    "name",
    "split",
    "registered",
    *names(THRESHOLD),
    *POSE_COLUMNS,
    *(f"ref_{n}" for n in POSE_COLUMNS),
)


@dataclass(frozen=True)
class Query:
    """One query image."""

    name: str  # of the image
    split: str  # day, night or holdout
    estimate: pycolmap.Rigid3d | None  # the pose found; None for an unregistered query
    reference: pycolmap.Rigid3d | None  # the pose it is scored against; None where there is none
    # position in metres and rotation in degrees; infinite without an estimate. None without a
    # reference
    error: tuple[float, float] | None


def load_queries(folder: Path) -> list[Query]:
    """Reads ``queries.csv`` of the run in ``folder``.

    Raises:
        D2EvalError: it is missing or broken.
    """
    path = folder / "queries.csv"
    with reading(path, REMEDY):
        rows = read_rows(path, _READ)
        return [_query(row, path) for row in rows]


def _query(row: Mapping[str, str], path: Path) -> Query:
    estimate = _pose(row, "", path) if row["registered"] == "1" else None
    reference = _pose(row, "ref_", path) if row["ref_qw"] else None
    error = None
    if reference is not None:
        error = (math.inf, math.inf)
        if estimate is not None:
            error = number(row, "position_m"), number(row, "rotation_deg")
    return Query(row["name"], row["split"], estimate, reference, error)


def _pose(row: Mapping[str, str], prefix: str, path: Path) -> pycolmap.Rigid3d:
    return pose_from_wxyz(
        _floats(row, prefix, POSE_COLUMNS[:4]),
        _floats(row, prefix, POSE_COLUMNS[4:]),
        f"{path}: {row['name']}",
    )


def _floats(row: Mapping[str, str], prefix: str, columns: Sequence[str]) -> list[float]:
    try:
        return [float(row[f"{prefix}{column}"]) for column in columns]
    except ValueError as error:
        raise ValueError(f"the pose of {row['name']} lacks numbers") from error
