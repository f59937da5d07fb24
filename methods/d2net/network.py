"""The test-time network, computed in strips of rows so that memory stays bounded.

VGG16 through conv4_3; pool3 is an average pool of stride 1 and conv4_1..4_3 have dilation 2, which
gives a stride of 4 (d2-net 0a3356c, ``model_test.py``; D2-Net paper, section 4.2).

The map of an H x W image has (H // 4 - 1) x (W // 4 - 1) cells of 512 channels. The layers before
pool2 hold 64 channels at full size, which is where the memory goes, so they always run in strips;
conv3 and conv4 run in strips when their activations would pass the budget. A strip reads as many
rows beyond its own as the receptive field reaches and throws the spoilt ones away, so that its
rows are those of the whole image.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from d2eval.errors import D2EvalError

CHANNELS = 512
STRIDE = 4
# name, index in the authors' nn.Sequential, input and output channels
CONVOLUTIONS = (
    ("conv1_1", 0, 3, 64), ("conv1_2", 2, 64, 64),
    ("conv2_1", 5, 64, 128), ("conv2_2", 7, 128, 128),
    ("conv3_1", 10, 128, 256), ("conv3_2", 12, 256, 256), ("conv3_3", 14, 256, 256),
    ("conv4_1", 17, 256, 512), ("conv4_2", 19, 512, 512), ("conv4_3", 21, 512, 512),
)  # fmt: skip
PREFIX = "dense_feature_extraction.model."

# Rows of a strip's output that the artificial edges spoil, rounded up to whole cells of 4 pixels.
FRONT_HALO_CELLS = 2  # conv1 (2 px) and conv2 (2 rows of 2 px): 6 px
BACK_HALO_CELLS = 10  # conv3 (3), the average pool (1 below), dilated conv4 (3 x 2)
FRONT_BUDGET = 192 * 2**20  # bytes of activations in a front strip; larger ones leave the caches
BACK_BUDGET = 384 * 2**20


@dataclass(frozen=True)
class Strip:
    """Rows ``[first, first + rows)`` of a feature map, of which ``[start, stop)`` are to be used.

    The others lie beside them so that 3x3 neighbourhoods are whole.

    Attributes:
        features: (rows, w, 512) float32, contiguous.
        first: the map row of ``features[0]``.
        start, stop: map rows that this strip is responsible for.
        height: rows of the whole map.
    """

    features: torch.Tensor
    first: int
    start: int
    stop: int
    height: int


def map_size(height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of the feature map of an image; 0 where the image is too small."""
    return max(height // STRIDE - 1, 0), max(width // STRIDE - 1, 0)


class D2Network(nn.Module):
    """Dense features of one image: convolutions of VGG16 with the authors' parameter names."""

    def __init__(self, state: Mapping[str, torch.Tensor], relu: bool = True) -> None:
        """Takes the weights.

        Args:
            state: tensors by the authors' names; other entries are not allowed.
            relu: whether a ReLU follows conv4_3 (the authors' default at test time).

        Raises:
            D2EvalError: a name is missing or extra, or a shape differs.
        """
        super().__init__()
        self.relu = relu
        expected: dict[str, tuple[int, ...]] = {}
        for _, index, inputs, outputs in CONVOLUTIONS:
            expected[f"{PREFIX}{index}.weight"] = (outputs, inputs, 3, 3)
            expected[f"{PREFIX}{index}.bias"] = (outputs,)
        for name, shape in expected.items():
            if name not in state:
                raise D2EvalError(f"weights of another architecture: {name} is missing")
            if tuple(state[name].shape) != shape:
                raise D2EvalError(
                    f"weights of another architecture: {name} is {tuple(state[name].shape)}, "
                    f"not {shape}"
                )
        extra = sorted(set(state) - set(expected))
        if extra:
            raise D2EvalError(f"weights of another architecture: {extra[0]} is not part of D2-Net")
        if not all(torch.isfinite(state[name]).all() for name in expected):
            raise D2EvalError("weights hold NaN or infinite values")
        for name, index, inputs, outputs in CONVOLUTIONS:
            dilation = 2 if name.startswith("conv4") else 1
            layer = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
            weight = state[f"{PREFIX}{index}.weight"].float()
            layer.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), False)
            layer.bias = nn.Parameter(state[f"{PREFIX}{index}.bias"].float(), False)
            self.add_module(name, layer)

    def _convolve(self, x: torch.Tensor, *names: str) -> torch.Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
            if name != "conv4_3" or self.relu:
                x = functional.relu_(x)
        return x

    def _front(self, image: torch.Tensor) -> torch.Tensor:
        """conv1, conv2 and their pools: (1, 3, H, W) -> (1, 128, H // 4, W // 4)."""
        height, width = image.shape[2:]
        cells = height // STRIDE
        out = image.new_empty(1, 128, cells, width // STRIDE).to(memory_format=torch.channels_last)
        per_cell = STRIDE * width * (64 + 64) * image.element_size()
        step = max(FRONT_BUDGET // per_cell - 2 * FRONT_HALO_CELLS, 8)
        for start in range(0, cells, step):
            stop = min(start + step, cells)
            first = max(start - FRONT_HALO_CELLS, 0)
            last = stop + FRONT_HALO_CELLS
            # The last strip takes the rows that don't fill a cell too, as the padding lies below.
            end = height if last >= cells else last * STRIDE
            x = image[:, :, first * STRIDE : end]
            x = functional.max_pool2d(self._convolve(x, "conv1_1", "conv1_2"), 2)
            x = functional.max_pool2d(self._convolve(x, "conv2_1", "conv2_2"), 2)
            out[:, :, start:stop] = x[:, :, start - first : stop - first]
        return out

    def _back(self, x: torch.Tensor) -> torch.Tensor:
        """conv3, the average pool and conv4: (1, 128, h, w) -> (1, 512, h - 1, w - 1)."""
        x = self._convolve(x, "conv3_1", "conv3_2", "conv3_3")
        x = functional.avg_pool2d(x, 2, stride=1)
        return self._convolve(x, "conv4_1", "conv4_2", "conv4_3")

    @torch.inference_mode()
    def strips(self, image: torch.Tensor, budget: int = BACK_BUDGET) -> Iterator[Strip]:
        """Yields the feature map strip by strip, each with a neighbouring row on either side.

        Args:
            image: (1, 3, H, W) preprocessed float32.
            budget: bytes of conv4 activations in a strip.
        """
        height, width = map_size(image.shape[2], image.shape[3])
        if not height or not width:
            return
        front = self._front(image.contiguous(memory_format=torch.channels_last))
        cells = height + 1
        per_row = (width + 1) * 2 * CHANNELS * image.element_size()
        step = max(budget // per_row - 2 * (BACK_HALO_CELLS + 1), 8)
        for start in range(0, height, step):
            stop = min(start + step, height)
            wanted_first, wanted_last = max(start - 1, 0), min(stop + 1, height)
            first = max(wanted_first - BACK_HALO_CELLS, 0)
            last = min(wanted_last + BACK_HALO_CELLS + 1, cells)
            x = self._back(front[:, :, first:last])
            x = x[:, :, wanted_first - first : wanted_last - first]
            rows = x[0].permute(1, 2, 0).contiguous()
            yield Strip(rows, wanted_first, start, stop, height)
