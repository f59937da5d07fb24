"""Columns of the rows that a run on InLoc writes."""

from d2eval.foundation.formats.poses import POSE_COLUMNS
from d2eval.localization.columns import ORIGIN, THRESHOLD, query_columns, summary_columns
from d2eval.runs.columns import REAL, WHOLE, Column

PARTS = ("floor",)
BOTH_FLOORS = "all"  # what the summary calls both floors together, as in the paper
SUMMARY = summary_columns("row", PARTS, "posed", Column("stored_mb", kind=REAL, unit="MB"))
_COUNTS = tuple(
    Column(name, kind=WHOLE)
    for name in ("matches", "verified", "homographies", "points", "inliers")
)
QUERIES = query_columns(
    ("floor", "scored"),
    "posed",
    (
        Column("cutout"),
        Column("found_floor"),
        *_COUNTS,
        *(Column(name, kind=REAL, empty=True) for name in ("retrieval", "score", "pv_score")),
    ),
)
CANDIDATES = (
    Column("query"),
    Column("cutout"),
    Column("retrieval", kind=REAL),
    *_COUNTS,
    Column("score", kind=REAL),
    Column("pv_score", kind=REAL, empty=True),
    Column("rank", kind=WHOLE),
    *(Column(c.name, kind=REAL, unit=c.unit, infinite=True, empty=True) for c in THRESHOLD),
    *(Column(name, kind=REAL, empty=True) for name in POSE_COLUMNS),
    Column("protocol"),
    *ORIGIN,
)
STAGES = (
    Column("stage"),
    Column("images", kind=WHOLE, empty=True),
    Column("features", kind=WHOLE, empty=True),
    Column("stored_mb", kind=REAL, unit="MB", empty=True),
    *(Column(name, kind=WHOLE, empty=True) for name in ("queries", "candidates", "posed")),
    Column("seconds", kind=REAL, unit="s"),
    Column("peak_memory_mib", kind=REAL, unit="MiB", empty=True),
)
