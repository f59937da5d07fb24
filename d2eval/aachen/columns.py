"""Columns of the rows that a run on Aachen writes."""

from d2eval.localization.columns import query_columns, summary_columns
from d2eval.runs.columns import REAL, WHOLE, Column

PARTS = ("epoch", "split")
SUMMARY = summary_columns("method", PARTS, "registered", Column("mean_features", kind=REAL))
QUERIES = query_columns(
    ("split",),
    "registered",
    (
        Column("features", kind=WHOLE),
        Column("matches", kind=WHOLE, optional=True),
        Column("verified", kind=WHOLE, optional=True),
        Column("visible_points", kind=WHOLE),
        Column("inliers", kind=WHOLE),
        Column("mean_reprojection_px", kind=REAL, unit="px"),
    ),
)
STAGES = (
    Column("stage"),
    *(
        Column(name, kind=WHOLE, empty=True)
        for name in (
            "images", "features", "pairs", "matches", "verified_pairs", "inlier_matches", "points",
        )
    ),
    Column("mean_track_length", kind=REAL, empty=True),
    Column("mean_reprojection_px", kind=REAL, unit="px", empty=True),
    Column("registered", kind=WHOLE, empty=True),
    Column("seconds", kind=REAL, unit="s"),
    Column("peak_memory_mib", kind=REAL, unit="MiB", empty=True),
)  # fmt: skip
