"""Measured runs and the document's rows, by the configuration that they are of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.cifar10.protocol import CRITERION, Configuration, load_benchmark
from d2eval.cifar10.run import EPOCHS, SECONDS
from d2eval.metrics.intervals import wilson_interval
from d2eval.runs.columns import REAL, Column
from d2eval.runs.manifest import load_manifest
from d2eval.runs.measured import SUMMARY, Run, RunRoots, check_origin, run_folders, unfinished_note
from d2eval.runs.published import presentation
from d2eval.runs.results import MEASURED, PUBLISHED
from d2eval.runs.rows import REMEDY, read_rows, reading

NAME = "cifar10"
Values = Mapping[str, Any]  # of a row: text, and numbers where its columns have such
UNITS = {"test_accuracy": "%", **dict.fromkeys(SECONDS, "s")}
SHORT = {
    "(": " ", ")": "", ",": "", "momentum": "mom", "weight_decay": "wd", " nesterov=False": "",
    "nesterov=True": "Nesterov",
}  # fmt: skip
WHICH = (  # what tells a configuration from others in rows
    *map(Column, ("optimizer", "scheduler")),
    *(Column(name, kind=REAL) for name in ("batch_size", "held_out", "patience", "epochs_at_most")),
)
SUMMARY_COLUMNS = (
    *map(Column, ("method", "timestamp", "model", "criterion", "device", "hardware", "dataset")),
    *WHICH,
    *(Column(name, kind=REAL) for name in ("n_epochs", "trainings", "test_images", *SECONDS)),
    Column("test_accuracy", kind=REAL, most=100.0),
    Column("test_accuracy_sd", kind=REAL, empty=True),
)
EPOCH_COLUMNS = (
    *WHICH,
    *(Column(name, kind=REAL) for name in ("epoch", "train_loss", "test_loss")),
    *(Column(name, kind=REAL, most=1.0) for name in ("train_accuracy", "test_accuracy")),
)


@dataclass(frozen=True)
class Cifar10Run(Run):
    """One run."""

    rows: Sequence[Values]  # of its summary, a configuration each
    epochs: Sequence[Values]  # of its trainings

    def records(self) -> list[dict[str, Any]]:
        """Its numbers as records of the tidy table."""
        records = []
        for row in self.rows:
            shared = {
                "source": MEASURED, "run": self.label, "method": self.method, "protocol": NAME,
                "subset": words(row), "dataset": self.dataset, "weights": self.weights,
            }  # fmt: skip
            own = {}
            if row["trainings"] == 1:  # a mean is no count
                of = int(row["test_images"])
                count = round(row["test_accuracy"] / 100 * of)
                low, high = wilson_interval(count, of)
                own = {"count": count, "of": of, "low": 100 * low, "high": 100 * high}
            records += _numbers(shared, row, own)
        return records


@dataclass(frozen=True)
class PublishedRow:
    """A row of the document."""

    configuration: Configuration
    values: Mapping[str, Any]  # the accuracy in percent, or seconds with device and hardware

    @property
    def named(self) -> dict[str, Any]:
        """Its configuration as in a row of a summary."""
        own = self.configuration
        return {
            "optimizer": own.optimizer_text, "scheduler": own.scheduler_text,
            "batch_size": own.batch_size, "n_epochs": own.epochs,
        }  # fmt: skip

    @property
    def columns(self) -> dict[str, Any]:
        """As a record of the table."""
        said = {name: value for name, value in self.values.items() if name != "settings"}
        device = {"device": said.pop("device")} if "device" in said else {}
        return {
            **self.named, **device, "model": load_benchmark().network["name"],
            "criterion": CRITERION, **{f"{name}_published": said[name] for name in said},
        }  # fmt: skip

    def records(self) -> list[dict[str, Any]]:
        """As records of the tidy table."""
        subset = words(self.named)
        row = ", ".join([subset, *filter(None, [self.values.get("device")])])
        shared = {
            "source": PUBLISHED, "row": row, "method": self.columns["model"], "protocol": NAME,
            "subset": subset,
        }  # fmt: skip
        return _numbers(shared, self.values)

    def is_of(self, row: Values) -> bool:
        """Whether a row of a summary is of the same training, on the same kind of device."""
        same = all(row[name] == value for name, value in self.named.items())
        device = self.values.get("device", row["device"])
        return same and not row["held_out"] and row["device"] == device


def _numbers(
    shared: Mapping[str, Any], values: Values, of_accuracy: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """A record for each number that there is."""
    return [
        {**shared, "metric": name, "value": float(values[name]), "unit": unit}
        | dict(of_accuracy or {} if name == "test_accuracy" else {})
        for name, unit in UNITS.items()
        if name in values
    ]


def words(row: Values) -> str:
    """A configuration in words, for figures and the tidy table."""
    return f"{short(row['optimizer'])}, {row['n_epochs']:g} epochs"


def short(optimizer: str) -> str:
    """An optimizer's text in as few letters as a column has."""
    for long, brief in SHORT.items():
        optimizer = optimizer.replace(long, brief)
    return optimizer


def load_published(part: str) -> list[PublishedRow]:
    """The document's numbers, from ``results/published``: "rows" of its table, or "times"."""
    protocol = load_benchmark()
    return [
        PublishedRow(protocol.configuration(row["settings"]), row)
        for row in presentation(NAME)[part]
    ]


def load_run(folder: Path, label: str | None = None) -> Cifar10Run:
    """Reads the run in ``folder``; ``label`` is what it is called, None: as the folder."""
    manifest = load_manifest(folder, NAME)
    with reading(folder / SUMMARY, REMEDY):
        rows = read_rows(folder / SUMMARY, SUMMARY_COLUMNS)
        for row in rows:
            check_origin(row["method"], row["dataset"], manifest)
        values = [_values(row, SUMMARY_COLUMNS) for row in rows]
    with reading(folder / EPOCHS, REMEDY):
        epochs = [_values(row, EPOCH_COLUMNS) for row in read_rows(folder / EPOCHS, EPOCH_COLUMNS)]
    return Cifar10Run(
        label or folder.name, manifest.method, "", manifest.dataset, "trained here",
        manifest.stand_in, values, epochs,
    )  # fmt: skip


def _values(row: Mapping[str, str], columns: Sequence[Column]) -> Values:
    return {column.name: column.value(row) for column in columns}


def load_runs(roots: RunRoots) -> tuple[list[Cifar10Run], list[str]]:
    """All finished runs by label, and notes for the user on what was left out."""
    places, notes = run_folders(roots, NAME)
    unfinished = {place: unfinished_note(place.path) for place in places}
    runs = [load_run(place.path, place.label) for place, note in unfinished.items() if note is None]
    return runs, [*notes, *filter(None, unfinished.values())]
