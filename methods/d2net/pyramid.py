"""Extraction over one or several scales, and the authors' resizing and preprocessing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from d2eval.foundation.images.decoding import RgbImage
from methods.d2net.detection import Detections, detect, localize, strips
from methods.d2net.network import CHANNELS, D2Network, map_size


@dataclass(frozen=True)
class RawFeatures:
    """Features in pixels of the network's input.

    Attributes:
        keypoints: (N, 2) float32, x and y.
        scales: (N,) float32, 1 / the pyramid's scale, not multiplied by the resize factor.
        scores: (N,) float32, activation at the unrefined cell over the level's number.
        descriptors: (N, 512) float32, L2-normalised.
    """

    keypoints: torch.Tensor
    scales: torch.Tensor
    scores: torch.Tensor
    descriptors: torch.Tensor


def sizes_within_limits(
    size: tuple[int, int], max_edge: int, max_sum_edges: int
) -> list[tuple[int, int]]:
    """The (width, height) that an image is shrunk to, one after the other; none if it fits.

    Source: d2-net ``extract_features.py``: first the longer side, then the sum of sides. Sizes are
    cut to whole pixels, not rounded.
    """
    sizes: list[tuple[int, int]] = []
    for measure, limit in ((max, max_edge), (sum, max_sum_edges)):
        if measure(size) > limit:
            factor = limit / measure(size)
            size = max(int(size[0] * factor), 1), max(int(size[1] * factor), 1)
            sizes.append(size)
    return sizes


def resize_to_limits(image: RgbImage, max_edge: int, max_sum_edges: int) -> RgbImage:
    """Shrinks an image whose longer side, then whose sum of sides, passes the limit.

    Source: d2-net ``extract_features.py``, scipy's ``imresize`` (bytes, bilinear), whose work
    Pillow did.
    """
    size = (image.shape[1], image.shape[0])
    for smaller in sizes_within_limits(size, max_edge, max_sum_edges):
        resized = Image.fromarray(image).resize(smaller, Image.Resampling.BILINEAR)
        image = np.asarray(resized)
    return image


def cells_to_pixels(position: torch.Tensor) -> torch.Tensor:
    """Cells to pixels: twice p -> 2 p + 0.5, that is 4 p + 1.5.

    The average pool of stride 1 moves a cell's true centre to 4 p + 3.5, so keypoints carry a
    constant bias of -2 px; it is kept because the published numbers have it.
    """
    for _ in range(2):
        position = position * 2 + 0.5
    return position


def resized_rows(whole: torch.Tensor, size: tuple[int, int], first: int, last: int) -> torch.Tensor:
    """Rows [first, last) of an image or map resized bilinearly (align_corners) to ``size``.

    Args:
        whole: (h, w, C).
        size: (rows, columns) after resizing.
        first: first row wanted.
        last: the row after the last wanted.

    Returns:
        (last - first, columns, C).
    """
    # Between equal numbers an interpolation by `lerp` is exact, that of `interpolate` is not.
    low, high, weight = _between(whole.shape[1], size[1], 0, size[1], whole.device)
    top, bottom, down = _between(len(whole), size[0], first, last, whole.device)
    if not len(top):
        return whole.new_empty(0, size[1], whole.shape[2])
    start = int(top[0])
    part = whole[start : int(bottom[-1]) + 1]
    wide = torch.lerp(part[:, low], part[:, high], weight[:, None])
    return torch.lerp(wide[top - start], wide[bottom - start], down[:, None, None])


def _between(
    before: int, after: int, first: int, last: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where places [first, last) of ``after`` lie among ``before``: below, above, weight."""
    scale = (before - 1) / (after - 1) if after > 1 else 0.0
    place = torch.arange(first, last, dtype=torch.float32, device=device) * scale
    low = place.floor().long().clamp(max=before - 1)
    return low, (low + 1).clamp(max=before - 1), place - low


class LevelImage:
    """The image at one level of the pyramid, resized row by row as it is asked for."""

    def __init__(self, image: torch.Tensor, scale: float) -> None:
        """Takes the preprocessed image, (H, W, 3) float32, and the level's scale."""
        self._image = image
        self.size = (int(image.shape[0] * scale), int(image.shape[1] * scale))

    def rows(self, first: int, last: int) -> torch.Tensor:
        """(last - first, width, 3) float32, preprocessed."""
        if self.size == tuple(self._image.shape[:2]):
            return self._image[first:last]
        return resized_rows(self._image, self.size, first, last)


@torch.inference_mode()
def extract_pyramid(
    network: D2Network, image: torch.Tensor, scales: Sequence[float], strip_bytes: int
) -> RawFeatures:
    """Detects and describes at every scale, coarse to fine.

    From the second level on, the accumulated map of the level before is added, and cells under
    those where a coarser level detected something (before the sub-cell tests) are banned.

    Source: d2-net ``lib/pyramid.py``. Its code stops with an error where a level above the first
    has no valid keypoint, and forgets a first level that has none; here the maps are accumulated
    all the same, as the paper says (section 3.1, multiscale detection).

    Args:
        network: on the device of ``image``.
        image: (H, W, 3) preprocessed.
        scales: e.g. (0.5, 1, 2), or (1,) for single scale.
        strip_bytes: see `D2Network.feature_rows`.
    """
    found: list[RawFeatures] = []
    previous: torch.Tensor | None = None
    banned: torch.Tensor | None = None
    for level, scale in enumerate(scales):
        resized = LevelImage(image, scale)
        size = map_size(*resized.size)
        if not all(size):
            continue
        if banned is None:
            banned = torch.zeros(size, dtype=torch.bool, device=image.device)
        else:
            banned = functional.interpolate(banned[None, None].float(), size=size)[0, 0].bool()
        newly_banned = banned.clone()
        keep = level + 1 < len(scales)
        accumulated = image.new_empty(*size, CHANNELS) if keep else None
        rows = _accumulate(network.feature_rows(resized, strip_bytes), previous, size, accumulated)
        parts: list[tuple[Detections, torch.Tensor, torch.Tensor]] = []
        for strip in strips(rows, size[0]):
            detections = detect(strip)
            detections = detections.select(~banned[detections.row, detections.column])
            newly_banned[detections.row, detections.column] = True
            parts.append(localize(detections, strip))
        to_input = (image.shape[0] / resized.size[0], image.shape[1] / resized.size[1])
        found.append(_level_features(parts, level, scale, to_input))
        previous, banned = accumulated, newly_banned
    if not found:
        none = image.new_zeros(0)
        return RawFeatures(image.new_zeros(0, 2), none, none, image.new_zeros(0, CHANNELS))
    return RawFeatures(
        torch.cat([f.keypoints for f in found]),
        torch.cat([f.scales for f in found]),
        torch.cat([f.scores for f in found]),
        torch.cat([f.descriptors for f in found]),
    )


def _accumulate(
    feature_rows: Iterator[torch.Tensor],
    previous: torch.Tensor | None,
    size: tuple[int, int],
    accumulated: torch.Tensor | None,
) -> Iterator[torch.Tensor]:
    """Adds the map of the level before to each strip and keeps a copy for the level after."""
    first = 0
    for rows in feature_rows:
        last = first + len(rows)
        if previous is not None:
            rows += resized_rows(previous, size, first, last)
        if accumulated is not None:
            accumulated[first:last] = rows
        yield rows
        first = last


def _level_features(
    parts: Sequence[tuple[Detections, torch.Tensor, torch.Tensor]],
    level: int,
    scale: float,
    to_input: tuple[float, float],
) -> RawFeatures:
    """One level's features in the authors' order: by channel, row, column."""
    channel, row, column = (
        torch.cat([getattr(kept, name) for kept, _, _ in parts])
        for name in ("channel", "row", "column")
    )
    score = torch.cat([kept.score for kept, _, _ in parts])
    pixels = cells_to_pixels(torch.cat([position for _, position, _ in parts]))
    pixels[:, 0] *= to_input[0]
    pixels[:, 1] *= to_input[1]
    rows, columns = (int(v.max()) + 1 if len(v) else 1 for v in (row, column))
    order = torch.argsort((channel * rows + row) * columns + column)
    return RawFeatures(
        pixels.flip(1)[order],
        torch.full_like(score, 1 / scale),
        (score / (level + 1))[order],
        torch.cat([descriptors for _, _, descriptors in parts])[order],
    )
