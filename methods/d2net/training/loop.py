"""Training from the first epoch to the exported weights, resumable at any moment."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.atomic import exclusive, write_bytes, write_text
from d2eval.foundation.files.reading import sha256_of
from d2eval.foundation.machine.processes import Rank, same_for_all
from d2eval.foundation.machine.resources import peak_memory_mib
from d2eval.foundation.terminal.progress import Progress as UnderWay
from d2eval.foundation.terminal.progress import progress
from methods.d2net.network import weights_by_layer
from methods.d2net.training import checkpoint
from methods.d2net.training.checkpoint import Progress
from methods.d2net.training.data.batches import Batch, Draws, batches, keep_batch, order_of_epoch
from methods.d2net.training.data.pairs import LEAST_CORRESPONDENCES
from methods.d2net.training.data.sources import MixedPairs, held_out_photos, open_source
from methods.d2net.training.learner import Learner
from methods.d2net.training.logs import EpochRow, RunLog
from methods.d2net.training.options import TrainingConfig
from methods.d2net.training.pictures import draw_pair
from methods.d2net.training.validation import ValidationPair, measure_matching, validation_pairs
from methods.d2net.weights import OFF_THE_SHELF, choose_weights, load_weights
from methods.vgg16.memory import is_out_of_memory

MANIFEST = "manifest.json"
VALIDATION_SEED = 42  # of the pairs that the validation loss is measured on


class Loop:
    """A training, opened to be begun or to go on."""

    def __init__(
        self,
        config: TrainingConfig,
        data: Sequence[str],
        output: Path,
        runtime: Runtime,
        workers: int,
        rank: Rank,
    ) -> None:
        """Opens data and weights; see `d2eval.contracts.training.Trainer`."""
        self._config, self._data, self._output = config, list(data), output
        self._runtime, self._workers, self._rank = runtime, workers, rank
        self._recipe = config.schedule()
        views = config.views()  # of training alone, so that the validations of trainings compare
        self._training = MixedPairs([open_source(text, False, views) for text in data])
        self._validation = MixedPairs([open_source(text, True) for text in data])
        if len(self._training) < rank.world:
            raise D2EvalError(
                f"{', '.join(data)}: {len(self._training)} pairs an epoch are too few for "
                f"{rank.world} processes; start fewer"
            )
        paths, self._start = choose_weights(config.weights, OFF_THE_SHELF, runtime.cache)
        weights = load_weights(paths)
        try:
            weights_by_layer(weights)
        except D2EvalError as error:
            raise D2EvalError(f"{paths[-1]}: {error}; give D2-Net weights") from error
        self._learner = Learner(weights, config, torch.device(runtime.device), rank.world)
        self._held_out: list[ValidationPair] = []
        self._log: RunLog | None = None
        self._progress = Progress()
        self._settings = self._describe_settings()
        # The same data may lie elsewhere when a training goes on.
        kinds = [text.partition(":")[0] for text in data]
        self._work = json.dumps(self._settings | {"data": kinds})

    def _describe_settings(self) -> dict[str, Any]:
        """Everything that decides the weights, and where the data lie."""
        keyed = {
            field.name: getattr(self._config, field.name)
            for field in fields(self._config)
            if field.metadata.get("keyed", True) and field.name != "weights"
        }
        keyed |= {"data": self._data, "held": self._training.describe()}
        keyed |= {"held_out": self._validation.describe()}
        keyed |= {"start": self._start.sha256, "seed": self._runtime.seed}
        return keyed | {"processes": self._rank.world}

    def train(self, about: Callable[[], Mapping[str, Any]], say: Callable[[str], None]) -> None:
        """Trains; see `d2eval.contracts.training.Trainer`."""
        with ExitStack() as stack:
            writes = self._rank.rank == 0
            if writes:
                stack.enter_context(exclusive(self._output))
            self._resume()
            if writes:
                photos = held_out_photos(self._data)[: self._config.validation_photos]
                self._held_out = validation_pairs(photos)
                log = RunLog(self._output, self._progress.step, self._progress.epoch)
                self._log = stack.enter_context(log)
                say(self._first_line())
            while self._progress.epoch <= self._recipe.epochs:
                start = time.perf_counter()
                self._train_epoch()
                self._end_epoch(about, say, start)
            if writes:
                best = self._progress
                say(
                    f"lowest validation loss {best.best_loss:.4f} after epoch {best.best_epoch}; "
                    f"weights: {self._output / checkpoint.BEST}, and "
                    f"{checkpoint.BEST_AS_THEIRS} for the authors' extractor and hloc"
                )

    def _resume(self) -> None:
        """Goes to where the checkpoint is, if there is one.

        Raises:
            D2EvalError: it is broken or of another training, or not the other processes'.
        """
        path = self._output / checkpoint.FILE
        found = checkpoint.load(path, self._work)
        held = sha256_of(path) if found is not None else "none"
        if not same_for_all(f"{self._work} {held}", self._rank, self._runtime.device):
            raise D2EvalError(
                f"{path}: the processes find other checkpoints or data; all need the same folders"
            )
        if found is not None:
            self._progress, state = found
            try:
                self._learner.load_state(state)
            except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
                raise D2EvalError(
                    f"{path}: broken checkpoint ({reason_of(error)}); {checkpoint.ANEW}"
                ) from error

    def _first_line(self) -> str:
        at = self._progress.epoch
        going_on = f", going on in epoch {at}" if 0 < at <= self._recipe.epochs else ""
        unmeasured = "" if self._held_out else "; no photo is held out, so no MMA is measured"
        return (
            f"start: {self._start.name} ({self._start.description}); {len(self._training)} pairs "
            f"an epoch and {len(self._validation)} for validation{unmeasured}; "
            f"{self._recipe.epochs} epochs{going_on}"
        )

    def _watched(self, drawn: Iterable[Batch], what: str, draws: int) -> Iterator[Batch]:
        """Behind a bar, of several processes that of the first."""
        if self._rank.rank:
            return iter(drawn)
        return progress(drawn, what, math.ceil(draws / self._config.batch_size))

    @contextmanager
    def _explained(self, what: str, batch: Batch | None = None) -> Iterator[None]:
        """Makes one line of what may go wrong in a computation.

        Raises:
            D2EvalError: the loss is not finite, and the batch is kept; or memory is used up.
        """
        try:
            yield
        except FloatingPointError as error:
            if batch is None:
                raise
            path = keep_batch(self._output, batch)
            lower = "" if self._config.precision != "fp16" else ", or train with --precision bf16"
            raise D2EvalError(
                f"{path}: the loss of {what} is not finite; the batch is kept here "
                f"({', '.join(pair.name for pair in batch.pairs)}); lower --learning-rate{lower}"
            ) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise D2EvalError(
                f"{what}: out of memory on {self._runtime.device}; lower --batch-size or "
                "--finetune-layers, with another --output"
            ) from error

    def _train_epoch(self) -> None:
        """What is left of the epoch under way; epoch 0 is the weights as they came."""
        at, config = self._progress, self._config
        if at.epoch == 0:
            return
        order = order_of_epoch(len(self._training), self._runtime.seed, at.epoch)
        # Every process takes as many pairs, since each step waits for all of them.
        order = order[: len(order) - len(order) % self._rank.world]
        mine = order[self._rank.rank :: self._rank.world][at.batch * config.batch_size :]
        draws = Draws(self._training, self._runtime.seed, at.epoch, mine)
        drawn = batches(draws, config.batch_size, self._workers, config.preprocessing)
        for batch in self._watched(drawn, f"epoch {at.epoch}", len(mine)):
            with self._explained(f"step {at.step + 1}", batch):
                losses = self._learner.step(batch, self._recipe.rate(at.epoch))
            at.batch, at.step = at.batch + 1, at.step + 1
            at.loss_sum += sum(losses)
            at.pairs += len(losses)
            at.skipped += batch.skipped
            if self._log is not None and losses:
                self._log.step(at.step, at.epoch, sum(losses) / len(losses))
            due = config.picture_every and at.step % config.picture_every == 0
            if due and batch.pairs and self._log is not None:
                path = self._output / "pictures" / f"step_{at.step:07d}.png"
                draw_pair(path, batch.pairs[0], *self._learner.scores(batch))
            if at.batch % config.checkpoint_every == 0:
                self._save()

    def _save(self) -> None:
        if self._log is not None:
            self._log.flush()
            checkpoint.save(
                self._output / checkpoint.FILE, self._work, self._progress, self._learner.state()
            )

    def _validation_loss(self) -> float:
        """Mean over the pairs held out, which are the same in every epoch and training.

        Raises:
            D2EvalError: none of them has enough correspondences, or as `_explained`.
        """
        draws = Draws(self._validation, VALIDATION_SEED, 0, range(len(self._validation)))
        drawn = batches(draws, self._config.batch_size, self._workers, self._config.preprocessing)
        losses: list[float] = []
        for batch in self._watched(drawn, "validation", len(draws)):
            with self._explained(f"validation of epoch {self._progress.epoch}", batch):
                losses += self._learner.evaluate(batch)
        if not losses:
            raise D2EvalError(
                f"{', '.join(self._data)}: none of the {len(self._validation)} pairs held out for "
                f"validation has {LEAST_CORRESPONDENCES} correspondences; give more data"
            )
        return sum(losses) / len(losses)

    def _end_epoch(
        self, about: Callable[[], Mapping[str, Any]], say: Callable[[str], None], start: float
    ) -> None:
        """Validates, keeps the weights if they are the best, and goes to the next epoch."""
        at = self._progress
        if self._log is not None:
            loss = self._validation_loss()
            explained = self._explained(f"validation of epoch {at.epoch}")
            with explained, UnderWay("validation: matches"):
                matching = measure_matching(
                        self._learner.network.weights(), self._held_out,
                        self._config.preprocessing, self._runtime.device,
                        self._runtime.memory_limit,
                    )  # fmt: skip
            if loss < at.best_loss:
                at.best_epoch, at.best_loss = at.epoch, loss
                self._export(about)
            row = EpochRow(
                epoch=at.epoch,
                train_loss=at.loss_sum / at.pairs if at.pairs else math.nan,
                pairs=at.pairs,
                skipped=at.skipped,
                validation_loss=loss,
                matching=matching,
                learning_rate=self._recipe.rate(at.epoch) if at.epoch else 0.0,
                seconds=time.perf_counter() - start,
            )
            self._log.epoch(row)
            say(str(row))
        at.seconds += time.perf_counter() - start
        at.epoch, at.batch = at.epoch + 1, 0
        at.loss_sum, at.pairs, at.skipped = 0.0, 0, 0
        self._save()

    def _export(self, about: Callable[[], Mapping[str, Any]]) -> None:
        """Writes the weights as they are now, and what they are: in their header, and beside."""
        at = self._progress
        held = {
            "training": json.dumps(self._settings),
            "epoch": str(at.epoch),
            "loss": repr(at.best_loss),
        }
        files = checkpoint.weights_files(self._learner.network.weights(), held)
        manifest = {
            **about(),
            "training": self._settings,
            "schedule": asdict(self._recipe),
            "start": self._start.name,
            "epoch": at.epoch,
            "validation_loss": at.best_loss,
            "seconds_before_this_epoch": round(at.seconds, 1),
            "peak_memory_mib": round(peak_memory_mib(), 1),
            "sha256": hashlib.sha256(files[checkpoint.BEST]).hexdigest(),
        }
        for name, content in files.items():
            write_bytes(self._output / name, content)
        write_text(self._output / MANIFEST, json.dumps(manifest, indent=2, default=str) + "\n")
