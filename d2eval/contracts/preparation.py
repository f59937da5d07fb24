"""The contract of what prepares a dataset for training, and its registry.

Registered in the table ``[preparers]`` of ``methods/registry.toml``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from d2eval.contracts.registry import PREPARERS, find_class


class Preparer(ABC):
    """Turns a dataset as it is distributed into what a trainer reads.

    Attributes:
        description: one line for lists.
    """

    description: ClassVar[str]

    @abstractmethod
    def prepare(self, data: Path, output: Path, scenes: Sequence[str]) -> list[str]:
        """Prepares scenes, or goes on where it was cut off.

        Args:
            data: the dataset's folder.
            output: what is written to.
            scenes: their names; none: all.

        Returns:
            Lines that say what came of it.

        Raises:
            D2EvalError: data are missing or broken, or the disk is full.
        """


def preparer_class(name: str) -> type[Preparer]:
    """The class registered as ``name``, or named directly as "module:Class".

    Raises:
        D2EvalError: no such preparer, or it can't be imported.
    """
    return find_class(name, PREPARERS, Preparer, "dataset")  # type: ignore[type-abstract]
