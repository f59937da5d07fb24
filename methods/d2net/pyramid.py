"""Extraction over one or several scales, and the authors' resizing and preprocessing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from d2eval.images import RgbImage
from methods.d2net.detection import Detections, detect, localize
from methods.d2net.network import CHANNELS, D2Network, Strip, map_size

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN_RGB = (0.485, 0.456, 0.406)
TORCH_STD_RGB = (0.229, 0.224, 0.225)


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


def resize_to_limits(image: RgbImage, max_edge: int, max_sum_edges: int) -> RgbImage:
    """Shrinks an image whose longer side, then whose sum of sides, passes the limit.

    Source: d2-net ``extract_features.py``, scipy's ``imresize`` (bytes, bilinear), whose work
    Pillow did: sizes are cut to whole pixels, not rounded.
    """

    def shrink(current: RgbImage, factor: float) -> RgbImage:
        height, width = current.shape[:2]
        size = (max(int(width * factor), 1), max(int(height * factor), 1))
        resized = Image.fromarray(current).resize(size, Image.Resampling.BILINEAR)
        return np.asarray(resized)

    if max(image.shape[:2]) > max_edge:
        image = shrink(image, max_edge / max(image.shape[:2]))
    if sum(image.shape[:2]) > max_sum_edges:
        image = shrink(image, max_sum_edges / sum(image.shape[:2]))
    return image


def preprocess(image: RgbImage, how: str) -> npt.NDArray[np.float32]:
    """(H, W, 3) RGB bytes to (1, 3, H, W) float32 as VGG16 was trained.

    "caffe": BGR in 0..255 minus the mean; "torch": RGB in 0..1, minus mean, over deviation.
    """
    if how == "caffe":
        pixels = image[:, :, ::-1].astype(np.float32) - np.array(CAFFE_MEAN_BGR, np.float32)
    else:
        pixels = image.astype(np.float32) / np.float32(255)
        pixels -= np.array(TORCH_MEAN_RGB, np.float32)
        pixels /= np.array(TORCH_STD_RGB, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def cells_to_pixels(position: torch.Tensor) -> torch.Tensor:
    """Cells to pixels: twice p -> 2 p + 0.5, that is 4 p + 1.5.

    The average pool of stride 1 moves a cell's true centre to 4 p + 3.5, so keypoints carry a
    constant bias of -2 px; it is kept because the published numbers have it.
    """
    for _ in range(2):
        position = position * 2 + 0.5
    return position


def upsampled_rows(
    previous: torch.Tensor, size: tuple[int, int], first: int, last: int
) -> torch.Tensor:
    """Rows [first, last) of a map resized bilinearly (align_corners) to ``size``.

    Args:
        previous: (h, w, C).
        size: (rows, columns) of the whole resized map.
        first: first row wanted.
        last: the row after the last wanted.

    Returns:
        (last - first, columns, C).
    """
    height = len(previous)
    scale = (height - 1) / (size[0] - 1) if size[0] > 1 else 0.0
    y = torch.arange(first, last, dtype=torch.float32, device=previous.device) * scale
    low = y.floor().long().clamp(max=height - 1)
    high = (low + 1).clamp(max=height - 1)
    rows = torch.lerp(previous[low], previous[high], (y - low)[:, None, None])
    # The rows are right; only the columns remain to be resized.
    wide = functional.interpolate(
        rows.permute(2, 0, 1)[None], size=(last - first, size[1]), mode="bilinear",
        align_corners=True,
    )  # fmt: skip
    return wide[0].permute(1, 2, 0)


@torch.inference_mode()
def extract_pyramid(
    network: D2Network, image: torch.Tensor, scales: Sequence[float]
) -> RawFeatures:
    """Detects and describes at every scale, coarse to fine.

    From the second level on, the accumulated map of the level before is added, and cells under
    those where a coarser level detected something (before the sub-cell tests) are banned.

    Source: d2-net ``lib/pyramid.py``. Its code stops with an error where a level above the first
    has no valid keypoint, and forgets a first level that has none; here the maps are accumulated
    all the same, as the paper says (section 3.1, multiscale detection).

    Args:
        network: on the device of ``image``.
        image: (1, 3, H, W) preprocessed.
        scales: e.g. (0.5, 1, 2), or (1,) for single scale.
    """
    height, width = image.shape[2:]
    found: list[RawFeatures] = []
    previous: torch.Tensor | None = None
    banned: torch.Tensor | None = None
    for level, scale in enumerate(scales):
        size = (int(height * scale), int(width * scale))
        map_height, map_width = map_size(*size)
        if not map_height or not map_width:
            continue
        resized = image
        if scale != 1:
            resized = functional.interpolate(image, size=size, mode="bilinear", align_corners=True)
        if banned is None:
            banned = torch.zeros(map_height, map_width, dtype=torch.bool, device=image.device)
        else:
            banned = functional.interpolate(
                banned[None, None].float(), size=(map_height, map_width)
            )[0, 0].bool()
        newly_banned = banned.clone()
        accumulated = None
        if level + 1 < len(scales):
            accumulated = image.new_empty(map_height, map_width, CHANNELS)
        parts: list[tuple[Detections, torch.Tensor, torch.Tensor]] = []
        for strip in network.strips(resized):
            _add_previous(strip, previous, (map_height, map_width))
            if accumulated is not None:
                own = slice(strip.start - strip.first, strip.stop - strip.first)
                accumulated[strip.start : strip.stop] = strip.features[own]
            detections = detect(strip)
            detections = detections.select(~banned[detections.row, detections.column])
            newly_banned[detections.row, detections.column] = True
            parts.append(localize(detections, strip))
        found.append(_level_features(parts, level, scale, (height / size[0], width / size[1])))
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


def _add_previous(strip: Strip, previous: torch.Tensor | None, size: tuple[int, int]) -> None:
    if previous is not None:
        last = strip.first + len(strip.features)
        strip.features.add_(upsampled_rows(previous, size, strip.first, last))
