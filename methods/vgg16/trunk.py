"""VGG16 through conv5_3, streamed over rows of the image as D2-Net's network is.

Two maps leave it, as in InLoc_demo (at_serialAllFeats_convfeat): pool3, the input of conv4_1, and
conv5_3 before its ReLU. All convolutions are 3x3 with zero padding, all pools maxima of 2x2 with
stride 2 that drop a last odd row or column. So an H x W image gives H // 8 x W // 8 fine and
H // 16 x W // 16 coarse cells, and the centre of the receptive field of cell i of a map of stride s
lies at pixel s i + (s - 1) / 2, counted from the centre of the first pixel.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch

from d2eval.contracts.weights import check_tensor
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import memory_to_use
from methods.d2net.flat import WindowConvolution, equal_neighbours
from methods.d2net.memory import (
    ACTIVATIONS,
    GPU_STRIP_BYTES,
    MIN_STRIP_BYTES,
    STRIP_BYTES_PER_THREAD,
)
from methods.d2net.network import STRIP_ROWS, WINOGRAD_MIN_CHANNELS, direct_convolution
from methods.d2net.stages import Convolution, Layer, MaxPool, Stage, follow_equal
from methods.d2net.winograd import TILE, WinogradConvolution, Workers

FINE_STRIDE, COARSE_STRIDE = 8, 16
FINE_CHANNELS, COARSE_CHANNELS = 256, 512
# name, index in torchvision's VGG16 (`features`), input and output channels
CONVOLUTIONS = (
    ("conv1_1", 0, 3, 64), ("conv1_2", 2, 64, 64),
    ("conv2_1", 5, 64, 128), ("conv2_2", 7, 128, 128),
    ("conv3_1", 10, 128, 256), ("conv3_2", 12, 256, 256), ("conv3_3", 14, 256, 256),
    ("conv4_1", 17, 256, 512), ("conv4_2", 19, 512, 512), ("conv4_3", 21, 512, 512),
    ("conv5_1", 24, 512, 512), ("conv5_2", 26, 512, 512), ("conv5_3", 28, 512, 512),
)  # fmt: skip
POOLED = ("conv1_2", "conv2_2", "conv3_3", "conv4_3")

State = Mapping[str, torch.Tensor]


def map_sizes(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(rows, columns) of the coarse and of the fine map; none has cells without the other."""
    if min(height, width) < COARSE_STRIDE:
        return (0, 0), (0, 0)
    return (
        (height // COARSE_STRIDE, width // COARSE_STRIDE),
        (height // FINE_STRIDE, width // FINE_STRIDE),
    )


def _names(state: State) -> Callable[[str, int], str]:
    """How ``state`` names a convolution: "conv1_1", or its index after whatever prefix."""
    if "conv1_1.weight" in state:
        return lambda name, index: name
    for key, tensor in state.items():
        if (key == "0.weight" or key.endswith(".0.weight")) and tensor.shape == (64, 3, 3, 3):
            prefix = key.removesuffix("0.weight")
            return lambda name, index: f"{prefix}{index}"
    raise D2EvalError("weights of another architecture: there is no conv1_1 of VGG16")


def convolutions_of(state: State) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Weight and bias of every convolution by name, float32.

    Args:
        state: names "conv1_1.weight" or "<prefix>0.weight" with torchvision's indices, such as
            "features.0.weight"; what else it holds is left alone.

    Raises:
        D2EvalError: one is missing, of another shape, or not finite.
    """
    naming = _names(state)
    found = {}
    for name, index, inputs, outputs in CONVOLUTIONS:
        pair = []
        for part, shape in (("weight", (outputs, inputs, 3, 3)), ("bias", (outputs,))):
            key = f"{naming(name, index)}.{part}"
            check_tensor(state, key, shape)
            pair.append(state[key].float())
        found[name] = (pair[0], pair[1])
    return found


class Vgg16:
    """The two maps of an image."""

    def __init__(self, state: State, device: torch.device | str = "cpu") -> None:
        """Takes the weights.

        Args:
            state: see `convolutions_of`.
            device: where it runs, in float32; wide layers run as `WinogradConvolution` on the CPU.

        Raises:
            D2EvalError: as `convolutions_of`.
        """
        self.device = torch.device(device)
        winograd = self.device.type == "cpu"
        workers = Workers(COARSE_CHANNELS) if winograd else None
        self._layers: dict[str, tuple[Layer, WindowConvolution, int]] = {}
        for name, (weight, bias) in convolutions_of(state).items():
            outputs, relu = len(bias), name != "conv5_3"
            windows = WindowConvolution(weight, bias, 1, relu)
            if workers and outputs >= WINOGRAD_MIN_CHANNELS:
                layer: Layer = WinogradConvolution(weight, bias, 1, relu, workers)
                self._layers[name] = (layer, windows, TILE)
            else:
                layer = direct_convolution(weight.to(self.device), bias.to(self.device), 1, relu)
                self._layers[name] = (layer, windows, 1)

    def _stages(self) -> list[Stage]:
        stages: list[Stage] = []
        for name, layer in self._layers.items():
            stages.append(Convolution(*layer))
            if name in POOLED:
                stages.append(MaxPool())
        return stages

    def strip_rows(self, size: tuple[int, int], memory_limit: int | None) -> int:
        """How many rows of an image of (height, width) are pushed through at a time.

        What else is held, the image and the maps, is small beside a strip's activations; where
        memory is short, the strips are small, never less than `STRIP_ROWS`.
        """
        height, width = size
        maps = 4 * (FINE_CHANNELS // FINE_STRIDE**2 + COARSE_CHANNELS // COARSE_STRIDE**2)
        fixed = (maps + 12) * height * width
        available = (memory_to_use(memory_limit, str(self.device)) - fixed) // ACTIVATIONS
        wanted = STRIP_BYTES_PER_THREAD * torch.get_num_threads()
        if self.device.type != "cpu":
            wanted = GPU_STRIP_BYTES
        strip = max(min(available, wanted), MIN_STRIP_BYTES)
        return max(strip // (width * 64 * 4) // STRIP_ROWS, 1) * STRIP_ROWS

    @torch.inference_mode()
    def __call__(
        self, image: torch.Tensor, memory_limit: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The coarse and the fine map.

        Args:
            image: (H, W, 3) float32, preprocessed, on any device.
            memory_limit: bytes that the process may come to hold.

        Returns:
            (H // 16, W // 16, 512) conv5_3 before its ReLU and (H // 8, W // 8, 256) pool3, neither
            normalised; both without cells for an image that is smaller than a coarse cell.
        """
        height, width = image.shape[:2]
        coarse_size, fine_size = map_sizes(height, width)
        coarse = torch.empty(*coarse_size, COARSE_CHANNELS, device=self.device)
        fine = torch.empty(*fine_size, FINE_CHANNELS, device=self.device)
        if not coarse_size[0]:
            return coarse, fine
        stages = self._stages()
        follow_equal(stages, equal_neighbours(image, None))
        to_fine = 10  # conv1_1 to pool3
        rows = self.strip_rows((height, width), memory_limit)
        done_coarse = done_fine = 0
        for first, last in pairwise([*range(0, height, rows), height]):
            x = image[first:last].to(self.device)
            for stage in stages[:to_fine]:
                x = stage.push(x, last == height)
            fine[done_fine : done_fine + len(x)] = x
            done_fine += len(x)
            for stage in stages[to_fine:]:
                x = stage.push(x, last == height)
            coarse[done_coarse : done_coarse + len(x)] = x
            done_coarse += len(x)
        return coarse, fine
