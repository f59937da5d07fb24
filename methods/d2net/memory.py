"""How many bytes an extraction takes, and strips that keep it within a limit."""

from collections.abc import Sequence

import torch

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import memory_to_use
from methods.d2net.network import CHANNELS, map_size
from methods.vgg16.memory import MIN_STRIP_BYTES, strip_bytes_within

FLAGS = 3  # bytes for each pixel of a level: which outputs of the layers are equal, rounded up


def fixed_bytes(size: tuple[int, int], scales: Sequence[float]) -> int:
    """Bytes that don't depend on the strips: the image, flags, and the maps that are accumulated.

    Args:
        size: (height, width) of the network's input at scale 1.
        scales: of the pyramid.
    """
    maps = [map_size(int(size[0] * scale), int(size[1] * scale)) for scale in scales]
    held = [4 * CHANNELS * rows * columns for rows, columns in maps[:-1]] + [0]
    # While one level's map fills, the one before is still read.
    accumulated = max(a + b for a, b in zip(held, [0, *held], strict=False))
    pixels = max(int(size[0] * scale) * int(size[1] * scale) for scale in scales)
    return 2 * 12 * size[0] * size[1] + FLAGS * pixels + accumulated


def out_of_memory(size: tuple[int, int]) -> D2EvalError:
    """The error for an image that doesn't fit in any way."""
    return D2EvalError(
        f"an image of {size[1]}x{size[0]} doesn't fit into memory even in the smallest strips; "
        "raise --memory-limit or lower --max-edge"
    )


def choose_strips(
    size: tuple[int, int], scales: Sequence[float], device: torch.device, limit: int | None
) -> int:
    """Bytes of one conv1 activation in a strip, for `D2Network.feature_rows`.

    Raises:
        D2EvalError: not even the smallest strips stay within ``limit``.
    """
    available = memory_to_use(limit, str(device)) - fixed_bytes(size, scales)
    strip_bytes = strip_bytes_within(available, device)
    if strip_bytes < MIN_STRIP_BYTES:
        raise out_of_memory(size)
    return strip_bytes
