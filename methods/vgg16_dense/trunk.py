"""VGG16 through conv5_3, streamed, and the two maps that leave it.

They are those of InLoc_demo (at_serialAllFeats_convfeat): pool3, the input of conv4_1, and conv5_3
before its ReLU. All pools are maxima of 2x2 with stride 2 that drop a last odd row or column. So an
H x W image gives H // 8 x W // 8 fine and H // 16 x W // 16 coarse cells, and the centre of the
receptive field of cell i of a map of stride s lies at pixel s i + (s - 1) / 2, counted from the
centre of the first pixel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import memory_to_use
from methods.vgg16.layers import CONVOLUTIONS, Weights, layers_of, weights_of
from methods.vgg16.memory import MIN_STRIP_BYTES, strip_bytes_within
from methods.vgg16.network import StreamedVgg16

FINE, COARSE = "pool3", "conv5_3"
FINE_STRIDE, COARSE_STRIDE = 8, 16
FINE_CHANNELS, COARSE_CHANNELS = 256, 512

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Image:
    """A preprocessed image, (H, W, 3) float32, by rows."""

    pixels: torch.Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def rows(self, first: int, last: int) -> torch.Tensor:
        """(last - first, width, 3)."""
        return self.pixels[first:last]


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


def convolutions_of(state: State) -> Weights:
    """Weight and bias of every convolution by name.

    Args:
        state: names "conv1_1.weight" or "<prefix>0.weight" with torchvision's indices, such as
            "features.0.weight"; what else it holds is left alone.

    Raises:
        D2EvalError: one is missing, of another shape, or not finite.
    """
    return weights_of(state, CONVOLUTIONS, _names(state))


class Vgg16(StreamedVgg16):
    """The two maps of an image."""

    def __init__(self, state: State, device: torch.device | str = "cpu") -> None:
        """Takes the weights.

        Args:
            state: see `convolutions_of`.
            device: where it runs, in float32.

        Raises:
            D2EvalError: as `convolutions_of`.
        """
        super().__init__(layers_of(CONVOLUTIONS, relu=False), convolutions_of(state), device)

    def strip_bytes(self, size: tuple[int, int], memory_limit: int | None) -> int:
        """Bytes of one conv1 activation in a strip of an image of (height, width).

        What else is held, the image and the maps, is small beside a strip's activations; where
        memory is short, the strips are small.
        """
        maps = 4 * (FINE_CHANNELS // FINE_STRIDE**2 + COARSE_CHANNELS // COARSE_STRIDE**2)
        fixed = (maps + 12) * size[0] * size[1]
        available = memory_to_use(memory_limit, str(self.device)) - fixed
        return max(strip_bytes_within(available, self.device), MIN_STRIP_BYTES)

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
        strip_bytes = self.strip_bytes((height, width), memory_limit)
        done = [0, 0]
        for found in self.maps(Image(image), strip_bytes, (FINE, COARSE)):
            for number, (whole, rows) in enumerate(zip((fine, coarse), found, strict=True)):
                whole[done[number] : done[number] + len(rows)] = rows
                done[number] += len(rows)
        return coarse, fine
