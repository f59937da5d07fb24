"""The network, its loss and its optimizer: one step at a time."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from methods.d2net.soft_detection import soft_scores
from methods.d2net.training.data.batches import Batch
from methods.d2net.training.data.pairs import CROP
from methods.d2net.training.loss import pair_loss
from methods.d2net.training.network import TrainingNetwork
from methods.d2net.training.options import TrainingConfig
from methods.vgg16.network import PRECISIONS


def _finite(losses: list[torch.Tensor]) -> list[float]:
    values = [float(loss.detach()) for loss in losses]
    if not all(math.isfinite(value) for value in values):
        raise FloatingPointError
    return values


class Learner:
    """Adam on the layers that learn."""

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        config: TrainingConfig,
        device: torch.device,
        processes: int,
    ) -> None:
        """Takes the weights to start from, by the authors' names.

        Raises:
            D2EvalError: as `TrainingNetwork`.
        """
        self.network = TrainingNetwork(weights, config.finetune_layers)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device
        self._precision = PRECISIONS[config.precision]
        self._processes = processes
        self._module: torch.nn.Module = self.network
        if processes > 1:
            self._module = torch.nn.parallel.DistributedDataParallel(self.network)
        learned = [p for p in self.network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(learned)
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    def step(self, batch: Batch, rate: float) -> list[float]:
        """One step down the mean loss of the batch's pairs.

        Args:
            batch: where no process has pairs there is no step.
            rate: learning rate.

        Returns:
            The pairs' losses before the step.

        Raises:
            FloatingPointError: a loss is not finite; nothing has been learned from the batch.
        """
        pairs = self._pairs_of_all_processes(len(batch.pairs))
        if not pairs:
            return []
        with self._arithmetic():
            losses = self._losses(batch) if batch.pairs else [self._no_loss()]
            values = _finite(losses)[: len(batch.pairs)]
            # Gradients are averaged over the processes, so that this is the mean over all pairs.
            self._descend(torch.stack(losses).sum() * (self._processes / pairs), rate)
        return values

    def _pairs_of_all_processes(self, pairs: int) -> int:
        if self._processes == 1:
            return pairs
        count = torch.tensor(pairs, device=self._device)
        torch.distributed.all_reduce(count)
        return int(count)

    def _no_loss(self) -> torch.Tensor:
        """A zero with gradients, for which the other processes wait."""
        images = torch.zeros(2, 3, CROP, CROP, device=self._device)
        nothing: torch.Tensor = self._module(images).sum() * 0.0
        return nothing

    def _descend(self, loss: torch.Tensor, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()

    @staticmethod
    def _arithmetic() -> AbstractContextManager[None]:
        """Keeps float32 what it says on recent GPUs, whose TensorFloat-32 drops 13 bits."""
        flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, allow_tf32=False
        )
        return flags

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> list[float]:
        """The pairs' losses, without learning.

        Raises:
            FloatingPointError: one is not finite.
        """
        if not batch.pairs:
            return []
        with self._arithmetic():
            return _finite(self._losses(batch))

    @torch.no_grad()
    def scores(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """(h, w) soft detection scores of both images of the batch's first pair."""
        scores = soft_scores(self._features(batch)).cpu().numpy()
        return scores[0], scores[len(batch.pairs)]

    def _features(self, batch: Batch) -> torch.Tensor:
        images = batch.images
        if self._device.type == "cuda":
            images = images.pin_memory().to(self._device, non_blocking=True)
        mixed = self._precision != torch.float32
        with torch.autocast(self._device.type, self._precision, enabled=mixed):
            features: torch.Tensor = self._module(images)
        return features.float()

    def _losses(self, batch: Batch) -> list[torch.Tensor]:
        features = self._features(batch)
        scores = soft_scores(features)
        count = len(batch.pairs)
        return [
            pair_loss(
                features[n], features[count + n], scores[n], scores[count + n],
                torch.from_numpy(pair.cells_1).to(self._device),
                torch.from_numpy(pair.cells_2).to(self._device),
            )
            for n, pair in enumerate(batch.pairs)
        ]  # fmt: skip

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs: the layers that learn, and the optimizer."""
        layers = {name: self.network.layers[name].state_dict() for name in self.network.learned}
        return {
            "layers": layers,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes what `state` gave.

        Raises:
            LookupError, TypeError, ValueError, RuntimeError, AttributeError: it isn't this
                learner's.
        """
        for name, layer in state["layers"].items():
            self.network.layers[name].load_state_dict(layer)
        self._optimizer.load_state_dict(state["optimizer"])
        for parameter, held in self._optimizer.state.items():
            shapes = {name: value.shape for name, value in held.items()}
            moments = dict.fromkeys(("exp_avg", "exp_avg_sq"), parameter.shape)
            if shapes != {"step": torch.Size(), **moments}:
                raise ValueError("the optimizer's state has other shapes")
        self._scaler.load_state_dict(state["scaler"])
