"""What a training writes down: a row for each step and epoch, curves, and TensorBoard's events."""

import csv
import io
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from d2eval.foundation.errors import D2EvalError, MissingFileError, reason_of
from d2eval.foundation.files.atomic import open_own, write_text
from d2eval.foundation.files.reading import read_text
from d2eval.foundation.text.words import real, whole
from methods.d2net.training.curves import draw_curves
from methods.d2net.training.validation import THRESHOLDS, Matching

STEPS, EPOCHS, CURVES = "steps.csv", "epochs.csv", "curves.png"
EVENTS = "tensorboard"
STEP_COLUMNS = ("step", "epoch", "loss")
EPOCH_COLUMNS = (
    "epoch", "train_loss", "pairs", "skipped", "validation_loss",
    *(f"mma_{threshold}" for threshold in THRESHOLDS),
    "features", "matches", "learning_rate", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class EpochRow:
    """What an epoch gave.

    Of several processes that train together, the training loss and counts are those of the first
    one's share.

    Attributes:
        epoch: its number; 0 for the weights as they came.
        train_loss: mean over its pairs; NaN in epoch 0.
        pairs: that were learned from.
        skipped: draws with too few correspondences.
        validation_loss: mean over the pairs held out.
        matching: what the weights give when they extract, see `Matching`.
        learning_rate: of the epoch.
        seconds: that it took, validation included; since it was resumed, if it was.
    """

    epoch: int
    train_loss: float
    pairs: int
    skipped: int
    validation_loss: float
    matching: Matching
    learning_rate: float
    seconds: float

    def __str__(self) -> str:
        """The row as a line to read."""
        found, accuracy = self.matching, self.matching.mma[THRESHOLDS.index(5)]
        parts = [f"validation loss {self.validation_loss:.4f}"]
        if self.epoch:
            parts.insert(
                0, f"{self.pairs} pairs, {self.skipped} skipped, loss {self.train_loss:.4f}"
            )
        if not math.isnan(accuracy):
            parts.append(f"MMA@5px {accuracy:.3f}")
            parts.append(f"{found.features:.0f} features, {found.matches:.0f} matches")
        return f"epoch {self.epoch}: {', '.join(parts)}, {self.seconds:.0f} s"

    def columns(self) -> dict[str, Any]:
        """The row of epochs.csv."""
        row = asdict(self)
        matching = row.pop("matching")
        shares = {f"mma_{t}": share for t, share in zip(THRESHOLDS, matching["mma"], strict=True)}
        values = {**row, **shares, "features": matching["features"], "matches": matching["matches"]}
        return {column: values[column] for column in EPOCH_COLUMNS}


def _rows(path: Path, columns: tuple[str, ...], last: int, epoch: int) -> list[dict[str, str]]:
    """The whole rows of a CSV whose first column is at most ``last``; none without a file.

    Args:
        path: of the file.
        columns: that it must have; the first one counts up.
        last: later rows are left out.
        epoch: no row is of a later epoch.

    Raises:
        D2EvalError: the file is damaged.
    """
    remedy = "remove it, the training goes on without the rows so far"
    try:
        text = read_text(path, remedy)
    except MissingFileError:
        return []
    whole_lines = text[: text.rfind("\n") + 1]  # a line that was cut off is no row
    try:
        rows = list(csv.DictReader(io.StringIO(whole_lines), strict=True))
        _check_rows(rows, columns)
        kept = [row for row in rows if int(row[columns[0]]) <= last]
        if kept and int(kept[-1]["epoch"]) > epoch:
            raise ValueError(f"a row of epoch {kept[-1]['epoch']}, which is still to come")
    except (ValueError, csv.Error) as error:
        raise D2EvalError(f"{path}: damaged ({reason_of(error)}); {remedy}") from error
    return kept


def _check_rows(rows: list[dict[str, str]], columns: tuple[str, ...]) -> None:
    """Makes sure of the columns, that all hold numbers, and of the order.

    Raises:
        ValueError: it isn't so.
    """
    before = (-1, 0)
    for row in rows:
        if tuple(row) != columns or None in row.values():
            raise ValueError(f"row {row.get(columns[0])!r} has other columns")
        for word in row.values():
            real(word)
        place = whole(row[columns[0]]), whole(row["epoch"])
        if place[0] <= before[0] or place[1] < before[1]:
            raise ValueError(f"row {place[0]} is out of order")
        before = place


def _to_csv(columns: list[str], rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _events(folder: Path, next_step: int) -> Any:
    """TensorBoard's writer, or None where it is not installed (extra ``training``).

    Raises:
        D2EvalError: the folder can't be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    try:
        return SummaryWriter(str(folder), purge_step=next_step)
    except OSError as error:
        raise D2EvalError(f"{folder}: can't be written ({reason_of(error)})") from error


class RunLog:
    """The rows of a training in its folder; going on from a checkpoint drops what came after it."""

    def __init__(self, folder: Path, step: int, epoch: int) -> None:
        """Opens the files.

        Args:
            folder: of the training.
            step: the last step that the checkpoint holds; later rows are dropped.
            epoch: the epoch under way; rows of it and later ones are dropped.

        Raises:
            D2EvalError: the folder can't be written, or a file in it is damaged.
        """
        self._folder, self._step = folder, step
        steps = _rows(folder / STEPS, STEP_COLUMNS, step, epoch)
        epochs = _rows(folder / EPOCHS, EPOCH_COLUMNS, epoch - 1, epoch)
        self._steps: list[dict[str, Any]] = [*steps]
        self._epochs: list[dict[str, Any]] = [*epochs]
        write_text(folder / STEPS, _to_csv([*STEP_COLUMNS], self._steps))
        self._pending: list[dict[str, Any]] = []  # steps that are not in the file yet
        self._events = _events(folder / EVENTS, step + 1)

    def __enter__(self) -> "RunLog":
        """The log itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flushes and closes; after an error, rows that were not flushed are not needed."""
        try:
            if error is None:
                self.flush()
        finally:
            self._close_events(error)

    def _close_events(self, error: BaseException | None) -> None:
        if self._events is None:
            return
        try:
            self._events.close()
        except OSError as failed:
            if error is None:  # else that one tells more
                raise self._unwritten(EVENTS, failed) from failed

    def _unwritten(self, name: str, error: OSError) -> D2EvalError:
        return D2EvalError(
            f"{self._folder / name}: can't be written ({error.strerror or error}); free space, "
            "then run the same command again: finished work is kept"
        )

    def _add_event(self, name: str, value: float) -> None:
        if self._events is None:
            return
        try:
            self._events.add_scalar(name, value, self._step)
        except OSError as error:  # of the thread that writes, from an event before
            raise self._unwritten(EVENTS, error) from error

    def step(self, step: int, epoch: int, loss: float) -> None:
        """Adds a step's mean loss.

        Raises:
            D2EvalError: the disk is full.
        """
        self._step = step
        self._pending.append({"step": step, "epoch": epoch, "loss": loss})
        self._add_event("loss/step", loss)

    def epoch(self, row: EpochRow) -> None:
        """Adds an epoch and draws the curves anew.

        Raises:
            D2EvalError: the disk is full.
        """
        columns = row.columns()
        self._epochs.append(columns)
        write_text(self._folder / EPOCHS, _to_csv([*EPOCH_COLUMNS], self._epochs))
        draw_curves(self._folder / CURVES, [*self._steps, *self._pending], self._epochs)
        for name, value in columns.items():
            if name != "epoch":
                self._add_event(f"epoch/{name}", float(value))

    def flush(self) -> None:
        """Makes the rows so far durable, to be called before a checkpoint is written.

        Raises:
            D2EvalError: the disk is full.
        """
        try:
            with open(self._folder / STEPS, "a", opener=open_own) as file:
                writer = csv.DictWriter(file, STEP_COLUMNS, lineterminator="\n")
                writer.writerows(self._pending)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritten(STEPS, error) from error
        self._steps += self._pending
        self._pending = []
        if self._events is not None:
            try:
                self._events.flush()
            except OSError as error:
                raise self._unwritten(EVENTS, error) from error
