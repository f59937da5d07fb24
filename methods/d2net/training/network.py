"""The network as it is trained: a stride of 8, no dilation, and no ReLU after conv4_3.

Unlike the test-time network (`methods.d2net.network`), all three pools are max pools of stride 2
(D2-Net's training code, ``lib/model.py``). The layers, their names and their weights are the same,
so what is learned here is extracted with there.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional

from d2eval.foundation.errors import D2EvalError
from methods.d2net.network import LAST, PREFIX, weights_by_layer
from methods.vgg16.layers import POOLED, THROUGH_CONV4


class TrainingNetwork(torch.nn.Module):
    """Dense features of images; the last layers learn, the others stay as they are."""

    def __init__(self, state: Mapping[str, torch.Tensor], finetune_layers: int = 1) -> None:
        """Takes the weights to start from.

        Args:
            state: tensors by the authors' names.
            finetune_layers: how many layers learn, from conv4_3 backwards.

        Raises:
            D2EvalError: the weights aren't D2-Net's, or there aren't so many layers.
        """
        super().__init__()
        weights = weights_by_layer(state)
        if not 1 <= finetune_layers <= len(THROUGH_CONV4):
            raise D2EvalError(
                f"--finetune-layers {finetune_layers}: must be 1 (conv4_3) to {len(THROUGH_CONV4)}"
            )
        self.layers = torch.nn.ModuleDict()
        first_learned = len(THROUGH_CONV4) - finetune_layers
        for position, (name, _, inputs, outputs) in enumerate(THROUGH_CONV4):
            layer = torch.nn.Conv2d(inputs, outputs, 3, padding=1)
            weight, bias = weights[name]
            layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
            layer.requires_grad_(position >= first_learned)
            self.layers[name] = layer
        self.learned = [name for name, *_ in THROUGH_CONV4[first_learned:]]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) preprocessed images to (B, 512, H // 8, W // 8) features.

        No gradients are kept for the layers that don't learn.
        """
        x = images.contiguous(memory_format=torch.channels_last)
        learning = torch.is_grad_enabled()
        for name, layer in self.layers.items():
            with torch.set_grad_enabled(learning and name in self.learned):
                x = layer(x)
                if name != LAST:
                    x = functional.relu(x)
                    if name in POOLED:
                        x = functional.max_pool2d(x, 2)
        return x

    def weights(self) -> dict[str, torch.Tensor]:
        """All weights by the authors' names, on the CPU, contiguous."""
        return {
            f"{PREFIX}{index}.{part}": getattr(self.layers[name], part)
            .detach()
            .cpu()
            .clone(memory_format=torch.contiguous_format)
            for name, index, *_ in THROUGH_CONV4
            for part in ("weight", "bias")
        }
