"""A training, epoch by epoch; each is kept, and the next command goes on from the last one.

The order of the images is a function of seed and epoch, and the rate one of the epoch, so weights
and the optimizer's state are all that a checkpoint holds beside what was measured. Since nothing
depends on how many epochs there will be, a longer training goes on from a shorter one, and a
shorter one is a part of a longer one.
"""

import hashlib
import io
import json
import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from d2eval.cifar10.batches import Cifar10Data, LabelledImages
from d2eval.cifar10.network import new_network, scaled
from d2eval.cifar10.protocol import Cifar10Protocol, Configuration
from d2eval.foundation.errors import D2EvalError, MissingFileError, reason_of
from d2eval.foundation.files.atomic import exclusive, write_bytes
from d2eval.foundation.formats.torchfiles import read_torch
from d2eval.foundation.machine.resources import hardware
from d2eval.foundation.terminal.progress import progress

FILE = "checkpoint.pt"
VERSION = 2  # raise it when the same configuration comes to be trained otherwise
ANEW = "remove it to start anew"
TEXTS = ("hardware", "finished")  # of an epoch
TESTED_AT_ONCE = 1000  # images


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave. Losses are means over images, accuracies shares of them."""

    epoch: int  # from 1
    learning_rate: float
    train_loss: float  # as each step found the images
    train_accuracy: float
    held_out_loss: float  # after it, of the images kept aside; NaN without any
    test_loss: float
    test_accuracy: float
    real_s: float  # by the clock; testing included
    user_s: float  # of all processor cores
    sys_s: float
    hardware: str
    finished: str  # in UTC


class Images:
    """Labelled images on a device."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    @classmethod
    def of(cls, found: LabelledImages, device: str) -> "Images":
        """As they were read."""
        images = torch.from_numpy(found.images).to(device)
        return cls(images, torch.from_numpy(found.labels).to(device))

    def chosen(self, which: Tensor) -> "Images":
        """Those of some numbers."""
        which = which.to(self.labels.device)
        return Images(self.images[which], self.labels[which])

    def __len__(self) -> int:
        return len(self.labels)


def ended(history: Sequence[Epoch], configuration: Configuration) -> list[Epoch] | None:
    """The epochs of a finished training; None where it goes on.

    It ends with its last epoch, or where the loss on the images kept aside hasn't fallen below its
    lowest for ``patience`` epochs.
    """
    lowest, since = math.inf, 0
    for epoch in history[: configuration.epochs]:
        fell = epoch.held_out_loss < lowest
        lowest, since = (epoch.held_out_loss, 0) if fell else (lowest, since + 1)
        if configuration.patience and since >= configuration.patience:
            return [*history[: epoch.epoch]]
    short = len(history) < configuration.epochs
    return None if short else [*history[: configuration.epochs]]


class Training:
    """One configuration with one seed, opened to be begun or to go on."""

    def __init__(
        self,
        configuration: Configuration,
        protocol: Cifar10Protocol,
        data: Cifar10Data,
        seed: int,
        device: str,
        cache: Path,
    ) -> None:
        """Sets up network and images; an error if none is left to train on."""
        if configuration.held_out >= len(data.training):
            raise D2EvalError(
                f"held_out = {configuration.held_out}: there are {len(data.training)} training "
                "images; keep fewer aside"
            )
        self._configuration, self._protocol, self._seed = configuration, protocol, seed
        self._device = device
        work = {
            "version": VERSION, "network": protocol.network, "pixels": [protocol.data.mean,
            protocol.data.deviation], **configuration.course, "seed": seed,
            "data": data.fingerprint, "device": torch.device(device).type,
        }  # fmt: skip
        text = json.dumps(work, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        self._folder = cache / "cifar10" / key
        images = Images.of(data.training, device)
        order = torch.randperm(len(images), generator=_generator(seed, 0))
        self._held_out = images.chosen(order[: configuration.held_out])
        self._training = images.chosen(order[configuration.held_out :])
        self._test = Images.of(data.test, device)
        self._network = new_network(protocol, seed).to(device)
        self._optimizer = _optimizer(configuration, self._network)

    def train(self, fresh: bool, tell: Callable[..., None]) -> list[Epoch]:
        """Trains, or, unless it shall begin ``fresh``, goes on after the last epoch that is kept.

        Raises:
            D2EvalError: the loss is not finite, another process trains the same, the checkpoint is
                broken or can't be written.
        """
        deterministic = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True
        )
        with exclusive(self._folder), deterministic:
            history = [] if fresh else self._resume()
            while (done := ended(history, self._configuration)) is None:
                epoch = self._epoch(len(history) + 1)
                history.append(epoch)
                self._save(history)
                tell(
                    f"  epoch {epoch.epoch} of {self._configuration.epochs}: loss "
                    f"{epoch.train_loss:.3f}, test {epoch.test_loss:.3f}, test accuracy "
                    f"{epoch.test_accuracy:.2%}, {epoch.real_s:.1f} s"
                )
            return done

    def _epoch(self, number: int) -> Epoch:
        start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        own = self._configuration
        rate = own.learning_rate * own.gamma ** ((number - 1) // own.step_epochs)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        train_loss, train_accuracy = self._steps(number)
        if not math.isfinite(train_loss):
            raise D2EvalError(
                f"{own.optimizer_text}: the loss of epoch {number} is not finite; lower "
                "learning_rate"
            )
        (held_out, _), test = self._measure(self._held_out), self._measure(self._test)
        now = resource.getrusage(resource.RUSAGE_SELF)
        return Epoch(
            number, rate, train_loss, train_accuracy, held_out, *test,
            time.perf_counter() - start, now.ru_utime - used.ru_utime, now.ru_stime - used.ru_stime,
            hardware(self._device), datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )  # fmt: skip

    def _steps(self, number: int) -> tuple[float, float]:
        """Loss and accuracy of the training images."""
        self._network.train()
        loss_sum = torch.zeros((), device=self._device)
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        order = torch.randperm(len(self._training), generator=_generator(self._seed, number))
        for which in progress(order.split(self._configuration.batch_size), f"epoch {number}"):
            batch = self._training.chosen(which)
            scores = self._network(scaled(batch.images, self._protocol))
            loss = cross_entropy(scores, batch.labels)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            loss_sum += loss.detach() * len(batch)
            correct += (scores.argmax(1) == batch.labels).sum()
        return float(loss_sum) / len(order), int(correct) / len(order)

    @torch.no_grad()
    def _measure(self, images: Images) -> tuple[float, float]:
        """Loss and accuracy; NaN of no image."""
        self._network.eval()
        if not len(images):
            return math.nan, math.nan
        loss, correct = 0.0, 0
        for which in torch.arange(len(images)).split(TESTED_AT_ONCE):
            batch = images.chosen(which)
            scores = self._network(scaled(batch.images, self._protocol))
            loss += float(cross_entropy(scores, batch.labels, reduction="sum"))
            correct += int((scores.argmax(1) == batch.labels).sum())
        return loss / len(images), correct / len(images)

    def _save(self, history: Sequence[Epoch]) -> None:
        buffer = io.BytesIO()
        content = {
            "history": json.dumps([asdict(epoch) for epoch in history]),
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(content, buffer)
        write_bytes(self._folder / FILE, buffer.getbuffer())

    def _resume(self) -> list[Epoch]:
        """The epochs that are kept, with network and optimizer as they were after the last."""
        path = self._folder / FILE
        try:
            content = read_torch(path, "checkpoint", ANEW)
        except MissingFileError:
            return []
        try:
            history = _history(content)
            self._network.load_state_dict(content["network"])  # type: ignore[index]
            self._optimizer.load_state_dict(content["optimizer"])  # type: ignore[index]
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise D2EvalError(f"{path}: broken checkpoint ({reason_of(error)}); {ANEW}") from error
        return history


def _history(content: Any) -> list[Epoch]:
    """The epochs of a checkpoint; a ValueError or the like if they make no sense."""
    found = [Epoch(**entry) for entry in json.loads(content["history"])]
    for number, epoch in enumerate(found, 1):
        numbers = [value for name, value in asdict(epoch).items() if name not in TEXTS]
        if epoch.epoch != number or not all(isinstance(value, int | float) for value in numbers):
            raise ValueError(f"its epoch {number} is none")
    return found


def _optimizer(own: Configuration, network: torch.nn.Module) -> torch.optim.Optimizer:
    rate, decay = own.learning_rate, own.weight_decay
    if own.optimizer == "Adam":
        return torch.optim.Adam(network.parameters(), rate, weight_decay=decay)
    return torch.optim.SGD(
        network.parameters(), rate, own.momentum, weight_decay=decay, nesterov=own.nesterov
    )


def _generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers of an epoch; 0 is before the first."""
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
