"""The contract of what trains a method's weights, and its registry.

Registered in the table ``[trainers]`` of ``methods/registry.toml``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from d2eval.contracts.method import Runtime
from d2eval.contracts.registry import TRAINERS, find_class
from d2eval.foundation.machine.processes import Rank


class Trainer(ABC):
    """Trains weights and leaves them, with curves and a manifest, in a folder.

    Attributes:
        description: one line for lists.
        Config: a frozen dataclass of `d2eval.contracts.method.option` fields.
    """

    description: ClassVar[str]
    Config: ClassVar[type]

    @abstractmethod
    def __init__(
        self,
        config: Any,
        data: Sequence[str],
        output: Path,
        runtime: Runtime,
        workers: int,
        rank: Rank,
    ) -> None:
        """Opens the data and loads the weights to start from.

        Args:
            config: of this class's ``Config``.
            data: each "KIND:PATH".
            output: the folder.
            runtime: device, seed, memory and cache.
            workers: processes that read data; 0: this one.
            rank: of this process.

        Raises:
            D2EvalError: data or weights are missing or broken.
        """

    @abstractmethod
    def train(self, about: Callable[[], Mapping[str, Any]], say: Callable[[str], None]) -> None:
        """Trains, or goes on where the same command was cut off.

        Args:
            about: gives what the manifest says beside the training's own settings, called when the
                manifest is written.
            say: gets a line on what is trained, on each epoch when it is done, and on what came of
                it; of several processes only the first calls it.

        Raises:
            D2EvalError: the folder holds other work, the loss is not finite, the disk is full.
        """


def trainer_class(name: str) -> type[Trainer]:
    """The class registered as ``name``, or named directly as "module:Class".

    Raises:
        D2EvalError: no such trainer, or it can't be imported.
    """
    return find_class(name, TRAINERS, Trainer, "trainer")  # type: ignore[type-abstract]
