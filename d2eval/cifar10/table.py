"""The document's table, and its times, with what was measured here beside them."""

from collections.abc import Sequence
from typing import Any

from d2eval.cifar10.run import SECONDS
from d2eval.cifar10.runs import Cifar10Run, PublishedRow, Values, load_published, short
from d2eval.report.tables import Table, TableLine, TableSection, build_table
from d2eval.runs.columns import Column
from d2eval.runs.folder import format_value

DOCUMENT = (  # the columns of the document's table
    "timestamp", "model", "criterion", "batch_size", "optimizer", "scheduler", "n_epochs", "device",
)  # fmt: skip
SOURCES = ("published", "measured")
ACCURACY = ("test_accuracy_published", "test_accuracy_measured")
START = (
    "Published: by the document that d2eval was made from. Accuracy on the test images in percent; "
    "of several trainings their mean +- standard deviation (how many). Time as `time` gives it; "
    "measured is that of the epochs alone, testing included.",
)


def _clock(seconds: float) -> str:
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest} s"


SHARED = {  # which stand in a note where they are the same all over a part
    "settings": "Model, criterion, batch size, scheduler", "hardware": "Hardware",
    "dataset": "Dataset",
}  # fmt: skip
COLUMNS = (
    Column("run", "Run", key=True),
    Column("optimizer", "Optimizer", short, key=True),
    Column("n_epochs", "Epochs", "{:g}".format),
    Column("device", "Device"),
    Column("hardware_published", "Published on"),
    Column(ACCURACY[0], "Published", "{:.2f}".format),
    Column("accuracy_measured", "Measured"),
    *(Column(f"time_{source}", f"Real, user, sys {source}") for source in SOURCES),
    Column("timestamp", "Timestamp"),
    *(Column(name, header, about=True) for name, header in SHARED.items()),
)
FLAT = tuple(
    Column(name)
    for name in (
        "section", "run", *DOCUMENT, "hardware", *ACCURACY, "test_accuracy_sd", "trainings",
        *(f"{name}_{source}" for name in SECONDS for source in SOURCES),
        "hardware_published", "dataset",
    )
)  # fmt: skip


def table_of_runs(runs: Sequence[Cifar10Run], notes: Sequence[str] = ()) -> Table:
    """The table with ``runs``; ``notes`` are passed on for the user."""
    published, times = load_published("rows"), load_published("times")
    whole = [(run, row) for run in runs if not run.is_sample for row in run.rows]
    sample = [(run, row) for run in runs if run.is_sample for row in run.rows]
    rest = [(run, row) for run, row in whole if not any(p.is_of(row) for p in published)]
    parts = {
        "The document's table": _beside(published, whole, ("time", *SECONDS)),
        "Time of a training": _beside(times, whole, ("accuracy", "test_accuracy")),
        "Further configurations": [_record(run, row) for run, row in rest],
        "Embedded sample": [_record(run, row) for run, row in sample],
    }
    sections = [_section(title, records) for title, records in parts.items() if records]
    return build_table("cifar10", ["# CIFAR-10", *START], sections, COLUMNS, FLAT, notes)


def _section(title: str, records: list[dict[str, Any]]) -> TableSection:
    """A part of the table, and below it what all its rows share."""
    flat = [
        {c.name: format_value(record[c.name]) for c in FLAT if c.name in record}
        for record in ({"section": title, **record} for record in records)
    ]
    parts = ("model", "criterion", "batch_size", "scheduler")
    shown = [
        {**record, "settings": ", ".join(format_value(record[name]) for name in parts)}
        for record in records
    ]
    notes = []
    for name, header in SHARED.items():
        texts = {record.get(name, "") for record in shown}
        if len(texts) == 1 and (text := texts.pop()):
            notes.append(f"{header}: {text}")
            shown = [{k: v for k, v in record.items() if k != name} for record in shown]
    lines = [TableLine(record, [own]) for record, own in zip(shown, flat, strict=True)]
    return TableSection(title, "", lines, notes)


def _beside(
    published: Sequence[PublishedRow],
    measured: Sequence[tuple[Cifar10Run, Values]],
    left_out: Sequence[str],
) -> list[dict[str, Any]]:
    """Records of published rows, each with the measured ones, without what is ``left_out``."""
    without = {f"{name}_{source}" for name in left_out for source in SOURCES}
    records = []
    for row in published:
        said = {**row.columns, **_time(row.values, "published")}
        own = [_record(run, values) for run, values in measured if row.is_of(values)]
        for record in own or [{}]:
            both = {**said, **record}
            records.append({name: both[name] for name in both if name not in without})
    return records


def _time(values: Values, source: str) -> dict[str, str]:
    """Real, user and sys in one cell."""
    known = [_clock(values[name]) if name in values else "-" for name in SECONDS]
    return {f"time_{source}": ", ".join(known)} if "real_s" in values else {}


def _record(run: Cifar10Run, row: Values) -> dict[str, Any]:
    text = f"{row['test_accuracy']:.2f}"
    if row["trainings"] > 1:
        text += f" +- {row['test_accuracy_sd']:.2f} ({row['trainings']:g})"
    measured = {f"{name}_measured": row[name] for name in ("test_accuracy", *SECONDS)}
    measured |= {"accuracy_measured": text, **_time(row, "measured")}
    return {**row, **measured, "run": run.label}
