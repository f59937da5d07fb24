"""``benchmarks/cifar10.toml`` as typed records, and configurations of trainings from files."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from d2eval.contracts.options import checked_options
from d2eval.contracts.protocol import load_protocol, load_toml
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded

PAPER = "paper"  # the configurations of the benchmark's file
OPTIMIZERS = ("SGD", "Adam")
CRITERION = "CrossEntropyLoss"
MOST_CONFIGURATIONS = 1000
MOST_IMAGES = 10_000  # of a step, some 2 GB


@dataclass(frozen=True)
class Configuration:
    """How a network is trained: the table ``[training]``, checked.

    Raises:
        D2EvalError: a number is out of range, or they don't go together.
    """

    optimizer: str
    learning_rate: float
    momentum: float  # of SGD, as is the next
    nesterov: bool
    weight_decay: float
    batch_size: int
    step_epochs: int  # after so many the rate is multiplied by gamma
    gamma: float
    epochs: int  # at most
    held_out: int  # training images kept aside
    patience: int  # epochs in a row without a lower loss on them that end the training; 0: none do

    def __post_init__(self) -> None:
        ranges = {
            "learning_rate": 0 < self.learning_rate < math.inf,
            "momentum": 0 <= self.momentum < 1,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "batch_size": 1 <= self.batch_size <= MOST_IMAGES,
            "step_epochs": self.step_epochs >= 1,
            "gamma": 0 < self.gamma <= 1,
            "epochs": self.epochs >= 1,
            "held_out": self.held_out >= 0,
            "patience": self.patience >= 0,
        }
        for name, sound in ranges.items():
            if not sound:
                raise D2EvalError(f"{name} = {getattr(self, name)}: out of range")
        if self.optimizer not in OPTIMIZERS:
            raise D2EvalError(
                f"optimizer = {self.optimizer!r}; choose from {', '.join(OPTIMIZERS)}"
            )
        if self.optimizer == "SGD" and self.nesterov and not self.momentum:
            raise D2EvalError("nesterov = true: goes with a momentum above 0")
        if self.patience and not self.held_out:
            raise D2EvalError(
                f"patience = {self.patience}: wants held_out images, since those of the test may "
                "not decide when a training ends"
            )

    @property
    def optimizer_text(self) -> str:
        """The optimizer with its settings, as a table has it."""
        own = [f"lr={self.learning_rate:.12g}"]
        if self.optimizer == "SGD":
            own.append(f"momentum={self.momentum:.12g}")
        own.append(f"weight_decay={self.weight_decay:.12g}")
        if self.optimizer == "SGD":
            own.append(f"nesterov={self.nesterov}")
        return f"{self.optimizer}({', '.join(own)})"

    @property
    def scheduler_text(self) -> str:
        """The schedule of the rate, likewise."""
        return f"StepLR(step_size={self.step_epochs}, gamma={self.gamma:.12g})"

    @property
    def identity(self) -> tuple[Any, ...]:
        """What two that give the same share."""
        return (*self.course.values(), self.epochs, self.patience)

    @property
    def course(self) -> dict[str, Any]:
        """What decides each step of the training, not when it ends."""
        return {
            "optimizer": self.optimizer_text, "scheduler": self.scheduler_text,
            "batch_size": self.batch_size, "held_out": self.held_out,
        }  # fmt: skip


@dataclass(frozen=True)
class DataNumbers:
    """The table ``[data]``: what the folder holds."""

    size_px: int
    classes: int
    training: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    records: int
    training_per_class: int
    test_per_class: int
    mean: float
    deviation: float

    @property
    def record_bytes(self) -> int:
        """A label and three planes of pixels."""
        return 1 + 3 * self.size_px**2


@dataclass(frozen=True)
class Cifar10Protocol:
    """The numbers of the experiments."""

    data: DataNumbers
    network: Mapping[str, Any]
    defaults: Mapping[str, Any]  # the table ``[training]``
    configurations: tuple[Configuration, ...]  # of the document's table
    sha256: str

    def configuration(self, settings: Mapping[str, Any]) -> Configuration:
        """The one with these settings over the defaults."""
        found: Configuration = checked_options(Configuration, {**self.defaults, **settings})
        return found


def load_benchmark() -> Cifar10Protocol:
    """Reads the benchmark file."""
    file = load_protocol("cifar10")
    content = file.content
    data: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content["data"].items()
    }
    defaults = content["training"]
    return Cifar10Protocol(
        data=DataNumbers(**data),
        network=content["network"],
        defaults=defaults,
        configurations=_configurations({"configurations": content["configurations"]}, defaults),
        sha256=file.sha256,
    )


def chosen_configurations(config: str, protocol: Cifar10Protocol) -> tuple[Configuration, ...]:
    """What ``--config`` names: `PAPER`, or a TOML file.

    In such a file stand settings over the benchmark's own; a list means each of its values, and
    several lists all their combinations. Tables ``[[configurations]]`` are one or more each, over
    the settings above them.
    """
    if config == PAPER:
        return protocol.configurations
    path = expanded(config)
    try:
        return _configurations(load_toml(path), protocol.defaults)
    except D2EvalError as error:
        message = str(error)
        raise D2EvalError(
            message if message.startswith(str(path)) else f"{path}: {message}"
        ) from error


def _configurations(
    content: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[Configuration, ...]:
    """All that a file means, each once."""
    tables = content.get("configurations", [{}])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise D2EvalError("configurations: must be tables [[configurations]]")
    above = {name: value for name, value in content.items() if name != "configurations"}
    found: dict[tuple[Any, ...], Configuration] = {}
    for table in tables:
        settings = {**defaults, **above, **table}
        lists = [value if isinstance(value, list) else [value] for value in settings.values()]
        for values in product(*lists):
            own = checked_options(Configuration, dict(zip(settings, values, strict=True)))
            found.setdefault(own.identity, own)  # Adam with and without Nesterov, say, are one
            if len(found) > MOST_CONFIGURATIONS:
                raise D2EvalError(f"more than {MOST_CONFIGURATIONS} configurations; list fewer")
    if not found:
        raise D2EvalError("has no configuration; a list of values may not be empty")
    return tuple(found.values())
