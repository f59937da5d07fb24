"""What ``d2eval train`` opens: options and a description, before what the training takes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from d2eval.contracts.method import Runtime
from d2eval.contracts.training import Trainer
from d2eval.foundation.machine.processes import Rank
from methods.d2net.training.options import TrainingConfig


class D2NetTrainer(Trainer):
    """D2-Net's training (D2-Net paper, section 4; the constants are those of its public code)."""

    description = "D2-Net: conv4_3 (or more layers) by the extended triplet margin ranking loss"
    Config = TrainingConfig

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
        from methods.d2net.training.loop import Loop  # imports PyTorch, which --help does without

        self._loop = Loop(config, data, output, runtime, workers, rank)

    def train(self, about: Callable[[], Mapping[str, Any]], say: Callable[[str], None]) -> None:
        """Trains; see `d2eval.contracts.training.Trainer`."""
        self._loop.train(about, say)
