"""D2-Net's extraction, transcribed densely from its definition.

Every test of the detection and the localization are made for all 512 channels of every cell, on
whole maps, with plain convolutions and pools in NCHW. Nothing here is taken from, or shared with,
the package: it is what the package is compared with, and the baseline of its speed benchmark.

    state = load_file("weights.safetensors")
    found = extract(state, image, scales=(0.5, 1, 2))
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

SINGLE_SCALE = (1,)
MULTI_SCALE = (0.5, 1, 2)

# The indices of the convolutions in the authors' nn.Sequential.
VGG16 = {
    "conv1_1": 0, "conv1_2": 2,
    "conv2_1": 5, "conv2_2": 7,
    "conv3_1": 10, "conv3_2": 12, "conv3_3": 14,
    "conv4_1": 17, "conv4_2": 19, "conv4_3": 21,
}  # fmt: skip
SHAPES = {
    "conv1_1": (64, 3), "conv1_2": (64, 64),
    "conv2_1": (128, 64), "conv2_2": (128, 128),
    "conv3_1": (256, 128), "conv3_2": (256, 256), "conv3_3": (256, 256),
    "conv4_1": (512, 256), "conv4_2": (512, 512), "conv4_3": (512, 512),
}  # fmt: skip

EDGE_RATIO = (5 + 1) ** 2 / 5

# 3x3 filters, applied by cross-correlation with zero padding; i are rows, j are columns.
D_I = ((0, -0.5, 0), (0, 0, 0), (0, 0.5, 0))
D_J = ((0, 0, 0), (-0.5, 0, 0.5), (0, 0, 0))
D_II = ((0, 1, 0), (0, -2, 0), (0, 1, 0))
D_JJ = ((0, 0, 0), (1, -2, 1), (0, 0, 0))
D_IJ = ((0.25, 0, -0.25), (0, 0, 0), (-0.25, 0, 0.25))


@dataclass
class Level:
    """One level of the pyramid.

    Attributes:
        index: its number in the list of scales.
        scale: of its image.
        to_input: what rows and columns are multiplied by to come back to the network's input.
        features: (512, h, w), the accumulated map.
    """

    index: int
    scale: float
    to_input: tuple[float, float]
    features: torch.Tensor


@dataclass
class ReferenceFeatures:
    """Features by level, channel, row and column.

    Attributes:
        keypoints: (N, 2) x, y in pixels of the image.
        scores: (N,).
        scales: (N,).
        descriptors: (N, 512).
        cells: (N, 4) integers: level, channel, row, column.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    scales: np.ndarray
    descriptors: np.ndarray
    cells: np.ndarray


def weight_name(layer: str, kind: str) -> str:
    """The authors' name of a layer's ``weight`` or ``bias``."""
    return f"dense_feature_extraction.model.{VGG16[layer]}.{kind}"


def random_state(seed: int, narrower: int = 1) -> dict[str, torch.Tensor]:
    """He-normal weights and small normal biases, of all channels or so many times fewer."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer, sizes in SHAPES.items():
        outputs, inputs = (size if size == 3 else size // narrower for size in sizes)
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator)
        state[weight_name(layer, "weight")] = weight * (2 / (inputs * 9)) ** 0.5
        state[weight_name(layer, "bias")] = 0.1 * torch.randn(outputs, generator=generator)
    return state


def resize(image: np.ndarray, max_edge: int = 1600, max_sum_edges: int = 2800) -> np.ndarray:
    """Shrinks (H, W, 3) bytes: first the longer side, then the sum of the sides."""

    def shrink(pixels: np.ndarray, factor: float) -> np.ndarray:
        height, width = (np.array(pixels.shape[:2]) * factor).astype(int)
        return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))

    if max(image.shape) > max_edge:
        image = shrink(image, max_edge / max(image.shape))
    if sum(image.shape[:2]) > max_sum_edges:
        image = shrink(image, max_sum_edges / sum(image.shape[:2]))
    return image


def preprocess(image: np.ndarray, how: str = "caffe") -> torch.Tensor:
    """(H, W, 3) RGB bytes -> (1, 3, H, W) float32."""
    pixels = image.astype(np.float64)
    if how == "caffe":
        pixels = pixels[:, :, [2, 1, 0]] - [103.939, 116.779, 123.68]
    elif how == "torch":
        pixels = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    else:
        raise ValueError(how)
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))


def feature_map(
    state: Mapping[str, torch.Tensor], image: torch.Tensor, relu: bool = True
) -> torch.Tensor:
    """(1, 3, H, W) -> (512, H // 4 - 1, W // 4 - 1)."""

    def conv(x: torch.Tensor, layer: str, dilation: int = 1) -> torch.Tensor:
        weight, bias = state[weight_name(layer, "weight")], state[weight_name(layer, "bias")]
        return F.conv2d(x, weight, bias, padding=dilation, dilation=dilation)

    x = F.relu(conv(image, "conv1_1"))
    x = F.relu(conv(x, "conv1_2"))
    x = F.max_pool2d(x, kernel_size=2, stride=2)
    x = F.relu(conv(x, "conv2_1"))
    x = F.relu(conv(x, "conv2_2"))
    x = F.max_pool2d(x, kernel_size=2, stride=2)
    x = F.relu(conv(x, "conv3_1"))
    x = F.relu(conv(x, "conv3_2"))
    x = F.relu(conv(x, "conv3_3"))
    x = F.avg_pool2d(x, kernel_size=2, stride=1)
    x = F.relu(conv(x, "conv4_1", dilation=2))
    x = F.relu(conv(x, "conv4_2", dilation=2))
    x = conv(x, "conv4_3", dilation=2)
    if relu:
        x = F.relu(x)
    return x[0]


def derivative(features: torch.Tensor, kernel: Sequence[Sequence[float]]) -> torch.Tensor:
    """Cross-correlation of every channel of (512, h, w) with a 3x3 filter, zeros outside."""
    _, height, width = features.shape
    padded = F.pad(features, (1, 1, 1, 1))
    terms = [
        weight * padded[:, i : i + height, j : j + width]
        for i, row in enumerate(kernel)
        for j, weight in enumerate(row)
        if weight
    ]
    return sum(terms[1:], terms[0])


def detect(features: torch.Tensor) -> torch.Tensor:
    """(512, h, w) bool: where a cell is detected in a channel."""
    strongest_channel = features == features.max(dim=0, keepdim=True).values
    local_maximum = features == F.max_pool2d(features, kernel_size=3, stride=1, padding=1)
    d_ii, d_jj = derivative(features, D_II), derivative(features, D_JJ)
    d_ij = derivative(features, D_IJ)
    det = d_ii * d_jj - d_ij * d_ij
    trace = d_ii + d_jj
    not_on_edge = (det > 0) & (trace**2 / det <= EDGE_RATIO)
    return strongest_channel & local_maximum & not_on_edge


def localize(features: torch.Tensor) -> torch.Tensor:
    """(2, 512, h, w): the step -H^-1 g of every cell in every channel, rows first."""
    d_i, d_j = derivative(features, D_I), derivative(features, D_J)
    d_ii, d_jj = derivative(features, D_II), derivative(features, D_JJ)
    d_ij = derivative(features, D_IJ)
    det = d_ii * d_jj - d_ij * d_ij
    step_i = -(d_jj * d_i - d_ij * d_j) / det
    step_j = -(d_ii * d_j - d_ij * d_i) / det
    return torch.stack([step_i, step_j])


def sample(features: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    """(N, 512): bilinear mean of the four cells around (i, j), then L2-normalised."""
    top, bottom = i.floor().long(), i.ceil().long()
    left, right = j.floor().long(), j.ceil().long()
    below, beside = i - top, j - left
    mixed = (
        (1 - below) * (1 - beside) * features[:, top, left]
        + (1 - below) * beside * features[:, top, right]
        + below * (1 - beside) * features[:, bottom, left]
        + below * beside * features[:, bottom, right]
    )
    return F.normalize(mixed, dim=0).t()


@torch.inference_mode()
def levels(
    state: Mapping[str, torch.Tensor], image: torch.Tensor, scales: Sequence[float], relu: bool
) -> Iterator[Level]:
    """The accumulated maps of a preprocessed image; levels without a single cell are left out."""
    height, width = image.shape[2:]
    previous = None
    for index, scale in enumerate(scales):
        size = int(height * scale), int(width * scale)
        if min(size) < 8:
            continue
        resized = F.interpolate(image, size=size, mode="bilinear", align_corners=True)
        features = feature_map(state, resized, relu)
        if previous is not None:
            features += F.interpolate(
                previous[None], size=features.shape[1:], mode="bilinear", align_corners=True
            )[0]
        yield Level(index, scale, (height / size[0], width / size[1]), features)
        previous = features


def ban(banned: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A mask (h, w) of cells resized to ``size``, nearest."""
    return F.interpolate(banned[None, None].float(), size=tuple(size))[0, 0] > 0


@torch.inference_mode()
def extract(
    state: Mapping[str, torch.Tensor],
    image: np.ndarray,
    scales: Sequence[float] = SINGLE_SCALE,
    preprocessing: str = "caffe",
    relu: bool = True,
    max_edge: int = 1600,
    max_sum_edges: int = 2800,
) -> ReferenceFeatures:
    """Features of (H, W, 3) RGB bytes.

    Args:
        state: float32 tensors by the authors' names.
        image: in RGB.
        scales: of the pyramid, coarse to fine.
        preprocessing: "caffe" or "torch".
        relu: whether a ReLU follows conv4_3.
        max_edge: see `resize`.
        max_sum_edges: see `resize`.
    """
    resized = resize(image, max_edge, max_sum_edges)
    to_image = image.shape[0] / resized.shape[0], image.shape[1] / resized.shape[1]
    return extract_levels(levels(state, preprocess(resized, preprocessing), scales, relu), to_image)


@torch.inference_mode()
def extract_levels(
    pyramid: Iterable[Level], to_image: tuple[float, float] = (1, 1)
) -> ReferenceFeatures:
    """Features of the levels of an image, coarse to fine.

    Args:
        pyramid: see `levels`.
        to_image: original size / resized size, rows and columns.
    """
    found: list[tuple[torch.Tensor, ...]] = []
    banned = None
    for level in pyramid:
        features = level.features
        height, width = features.shape[1:]

        detected = detect(features)
        if banned is not None:
            banned = ban(banned, (height, width))
            detected = detected & ~banned
            banned = banned | detected.any(dim=0)
        else:
            banned = detected.any(dim=0)

        channel, row, column = torch.nonzero(detected, as_tuple=True)
        step = localize(features)[:, channel, row, column]
        i, j = row + step[0], column + step[1]
        keep = (step[0].abs() < 0.5) & (step[1].abs() < 0.5)
        keep &= (i.floor() >= 0) & (i.ceil() < height) & (j.floor() >= 0) & (j.ceil() < width)
        channel, row, column, i, j = (v[keep] for v in (channel, row, column, i, j))

        y = (2 * (2 * i + 0.5) + 0.5) * level.to_input[0] * to_image[0]
        x = (2 * (2 * j + 0.5) + 0.5) * level.to_input[1] * to_image[1]
        found.append(
            (
                torch.stack([x, y], dim=1),
                features[channel, row, column] / (level.index + 1),
                torch.full_like(x, 1 / level.scale),
                sample(features, i, j),
                torch.stack([torch.full_like(row, level.index), channel, row, column], dim=1),
            )
        )
    if not found:
        none = np.zeros(0, np.float32)
        return ReferenceFeatures(
            none.reshape(0, 2), none, none, none.reshape(0, 512), np.zeros((0, 4), np.int64)
        )
    return ReferenceFeatures(*(torch.cat(part).numpy() for part in zip(*found, strict=True)))
