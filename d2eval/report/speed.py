"""The report of ``d2eval speed`` as a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2eval.foundation.text.words import real, whole
from d2eval.report.tables import Table, flat_csv, markdown_grid
from d2eval.runs.columns import Column
from d2eval.runs.rows import read_rows, reading

Row = Mapping[str, Any]
_KEY = ("what", "size", "device", "threads")  # of two rows that agree in these the later one stays
_TEXT, _WHOLE = ("what", "size", "device"), ("features", "threads")


def _columns() -> list[Column]:
    return [
        Column("what", "What"),
        Column("size", "Size"),
        Column("features", "Features"),
        Column("seconds", "Seconds", "{:.3f}".format),
        Column("features_per_second", "Features/s", "{:.0f}".format),
        Column("network_seconds", "Network s", "{:.3f}".format),
        Column("outside_share", "Outside network", "{:.1%}".format),
        Column("gflop", "GFLOP", "{:.0f}".format),
        Column("gflop_per_s", "GFLOP/s", "{:.0f}".format),
        Column("gemm_gflop_per_s", "GEMM peak", "{:.0f}".format),
        Column("ratio_to_gemm", "Ratio", "{:.2f}".format),
        Column("peak_memory_mib", "Peak MiB", "{:.0f}".format),
        Column("stored_mb", "Stored MB", "{:.1f}".format),
        Column("device", "Device"),
        Column("threads", "Threads"),
    ]


def with_earlier(path: Path, rows: Sequence[Row]) -> list[Row]:
    """What an earlier ``speed.csv`` holds of anything else, and then ``rows``.

    Raises:
        D2EvalError: it is there and no such file.
    """
    if not path.exists():
        return list(rows)
    remedy = "move it away, or choose another --output"
    with reading(path, remedy):
        found = read_rows(path, _columns())
        earlier = [{name: _value(name, cell) for name, cell in row.items()} for row in found]
    measured = {tuple(row[name] for name in _KEY) for row in rows}
    return [row for row in earlier if tuple(row[name] for name in _KEY) not in measured] + [*rows]


def _value(column: str, cell: str) -> Any:
    if column in _TEXT:
        return cell
    if not cell:
        return None
    return whole(cell) if column in _WHOLE else real(cell)


def speed_table(rows: Sequence[Row]) -> Table:
    """Lines of `d2eval.pipeline.speed.Speed` as CSV and Markdown."""
    known = [{name: v for name, v in row.items() if v is not None} for row in rows]
    notes = (
        "GFLOP are those of the direct algorithm; GFLOP/s over the network alone (or the matcher), "
        "GEMM peak the best float32 matrix product measured in the same process."
    )
    markdown = f"# Speed\n\n{markdown_grid(_columns(), known)}\n\n{notes}\n"
    return Table("speed", flat_csv(_columns(), known), markdown, [])
