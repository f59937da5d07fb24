"""Writes pair lists in the format of ``d2eval twoview`` from the tables that they were taken from.

    python benchmarks/pairs/convert.py megadepth1500.csv scannet1500.csv

These hold what XFeat's assets/megadepth_1500.json and LoFTR's assets/scannet_test_1500 say, see
README.md. Numbers are copied as they are written.
"""

import csv
import sys
from pathlib import Path

COLUMNS = [
    "scene", "image0", "image1", "fx0", "fy0", "cx0", "cy0", "fx1", "fy1", "cx1", "cy1",
    "r11", "r12", "r13", "t1", "r21", "r22", "r23", "t2", "r31", "r32", "r33", "t3",
]  # fmt: skip


def convert(row: dict[str, str]) -> dict[str, str]:
    """A line of the list: one camera stands for both, and names start from the data's folder."""
    if "fx" in row:
        both = {f"{name}{view}": row[name] for view in "01" for name in ("fx", "fy", "cx", "cy")}
        names = {view: f"{row['scene']}/color/{row[view]}" for view in ("image0", "image1")}
        row = row | both | names
    return {name: row[name] for name in COLUMNS}


for source in map(Path, sys.argv[1:]):
    with source.open(newline="") as file:
        rows = [convert(row) for row in csv.DictReader(file)]
    with (Path(__file__).parent / source.name).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
