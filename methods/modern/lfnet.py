"""LF-Net: keypoints of one score over scales, with orientations, and descriptors of their patches.

Ono, Trulls, Fua, Yi, "LF-Net: Learning Local Features from Images", NeurIPS 2018. What is done is
what the authors' ``run_lfnet.py`` does (github.com/vcg-uvic/lf-net-release 54abf68): three residual
blocks of 5x5 convolutions, scores at five scales from sqrt(2) to its inverse, a softmax over scales
and windows of 15 pixels, strict maxima of 5x5 pixels, none within 16 pixels of a border, moved by
the centre of mass of the 9x9 scores around; patches of 32 pixels, turned and scaled, of the grey
image. Settings are the defaults of ``train_lfnet.py``: the released ones are a pickle, which is not
read; the weights' shapes agree or are refused. As in the D2-Net paper, 500 keypoints of the outdoor
model. As there, a resized map's pixel i is read at i times the ratio of sizes, and pixels of a
patch that leaves the image are weighted as if they didn't. For research and evaluation only, so
the weights are not bundled.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from d2eval.contracts.features import Features, make_features, no_features
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.modern.networks import FetchedMethod, FetchedWeights, load_into
from methods.modern.tensorflow import load_variables, resized

WEIGHTS, FOLDER = FetchedWeights("lfnet", "pretrained.tar.gz"), "outdoor"
DIM, CHANNELS, BLOCKS = 256, 16, 3
KERNEL, SLOPE = 5, 0.2  # of the detector's convolutions; of what is negative
SCALES = np.exp(np.linspace(np.log(2) / 2, -np.log(2) / 2, 5)).astype(np.float32)
NORM_EPSILON, SUM_EPSILON, SHARE_EPSILON = 1e-3, 1e-6, 1e-8
WINDOW, STRENGTH, SCALE_STRENGTH = 15, 3.0, 100.0  # of the two softmaxes
MAXIMUM, BORDER, AROUND, PATCH = 5, 16, 9, 32  # pixels


class Detector(nn.ModuleDict):
    """(1, 1, H, W) in 0..1 -> five (h, w) score maps, and (2, H, W) cosines and sines."""

    def __init__(self) -> None:
        def convolution(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, KERNEL, padding=KERNEL // 2)

        layers: dict[str, nn.Module] = {"init_conv": convolution(1, CHANNELS)}
        for k in range(BLOCKS):
            parts = {
                "pre-bn": nn.BatchNorm2d(CHANNELS),
                "conv1": convolution(CHANNELS, CHANNELS),
                "mid-bn": nn.BatchNorm2d(CHANNELS),
                "conv2": convolution(CHANNELS, CHANNELS),
            }
            layers[f"block-{k + 1}"] = nn.ModuleDict(parts)
        layers["fin-bn"] = nn.BatchNorm2d(CHANNELS)
        layers |= {f"score_conv_{k}": convolution(CHANNELS, 1) for k in range(len(SCALES))}
        super().__init__({**layers, "ori_conv": convolution(CHANNELS, 2)})

    def forward(self, gray: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """A map at a scale is of the features of an image shrunk by it."""
        maps = self["init_conv"](gray)
        for k in range(BLOCKS):
            block = self.get_submodule(f"block-{k + 1}")
            inner = maps
            for norm, name in (("pre-bn", "conv1"), ("mid-bn", "conv2")):
                normalised = block.get_submodule(norm)(inner)
                inner = block.get_submodule(name)(functional.leaky_relu(normalised, SLOPE))
            maps = maps + inner
        maps = functional.leaky_relu(self["fin-bn"](maps), SLOPE)
        sides = np.array(maps.shape[2:], np.float32)
        scores = []
        for k, scale in enumerate(SCALES):
            height, width = (sides * np.float32(1 / scale) + np.float32(0.5)).astype(int).tolist()
            scores.append(self[f"score_conv_{k}"](resized(maps, (height, width)))[0, 0])
        return scores, functional.normalize(self["ori_conv"](maps)[0], dim=0)


class Descriptor(nn.ModuleDict):
    """(N, 1, 32, 32) patches -> (N, 256) descriptors, L2-normalised."""

    def __init__(self) -> None:
        layers: dict[str, nn.Module] = {}
        inputs = 1
        for k, outputs in enumerate((64, 128, 256), 1):
            layers[f"conv{k}"] = nn.Conv2d(inputs, outputs, 3, 2)
            layers[f"bn{k}"] = nn.BatchNorm2d(outputs)
            inputs = outputs
        layers["fc1"] = nn.Linear(4 * 4 * inputs, 512)
        super().__init__({**layers, "fc-bn1": nn.BatchNorm1d(512), "fc2": nn.Linear(512, DIM)})

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Channels are last in what the first full layer takes."""
        for k in (1, 2, 3):
            maps = self[f"bn{k}"](self[f"conv{k}"](functional.pad(maps, (0, 1, 0, 1)))).relu_()
        hidden = self["fc-bn1"](self["fc1"](maps.permute(0, 2, 3, 1).flatten(1))).relu_()
        return functional.normalize(self["fc2"](hidden), dim=1)


def score_and_scale(
    maps: list[torch.Tensor], size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of score maps at all scales: (H, W) scores in 0..1, and the scales that give them."""
    levels = []
    for values in maps:
        variance, mean = torch.var_mean(values, correction=0)
        normalised = (values - mean) / (variance + NORM_EPSILON).sqrt()
        levels.append(resized(normalised[None, None], size)[0])
    logits = torch.cat(levels)
    greatest = functional.max_pool2d(logits.amax(dim=0)[None], WINDOW, 1, WINDOW // 2)
    weights = (STRENGTH * (logits - greatest)).exp()
    sums = functional.avg_pool2d(weights.sum(dim=0)[None], WINDOW, 1, WINDOW // 2) * WINDOW**2
    shares = weights / (sums + SUM_EPSILON)
    chosen = (SCALE_STRENGTH * (shares - shares.amax(dim=0))).exp()
    chosen = chosen / (chosen.sum(dim=0) + SHARE_EPSILON)
    scales = torch.from_numpy(SCALES).to(chosen)[:, None, None]
    return (shares * chosen).sum(dim=0), (scales * chosen).sum(dim=0)


def strongest(scores: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of the strongest maxima away from the border, strongest first.

    A maximum is above 0 and above all others of 5x5 pixels.
    """
    height, width = scores.shape
    padded = functional.pad(scores, [MAXIMUM // 2] * 4)
    peaks = torch.zeros_like(scores, dtype=torch.bool)
    peaks[BORDER : height - BORDER, BORDER : width - BORDER] = True
    peaks &= scores > 0
    for place in range(MAXIMUM**2):
        i, j = divmod(place, MAXIMUM)
        if (i, j) != (MAXIMUM // 2, MAXIMUM // 2):
            peaks &= scores > padded[i : i + height, j : j + width]
    rows, columns = peaks.nonzero().T
    order = torch.argsort(scores[rows, columns], descending=True, stable=True)[:number]
    return rows[order], columns[order]


def cropped(
    image: torch.Tensor,
    points: torch.Tensor,
    side: int,
    scales: torch.Tensor,
    turns: torch.Tensor | None = None,
) -> torch.Tensor:
    """(N, side, side) patches of an (H, W) image.

    Args:
        image: what is read, bilinearly.
        points: (N, 2) x and y of the patches' centres.
        side: pixels of a patch; its outermost ones lie side / 2 times the scale from its centre.
        scales: (N,).
        turns: (N, 2) cosines and sines of the angles from the x axis to the y axis; None for 1, 0.
    """
    steps = torch.linspace(-1, 1, side, device=image.device)
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    cosines, sines = (1, 0) if turns is None else turns.T[:, :, None, None]
    reach = scales[:, None, None] * side / 2
    x = points[:, 0, None, None] + (cosines * across - sines * down) * reach
    y = points[:, 1, None, None] + (sines * across + cosines * down) * reach
    height, width = image.shape
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(0, width - 1), (top + 1).clamp(0, height - 1)
    left, top = left.clamp(0, width - 1), top.clamp(0, height - 1)
    return (
        (right - x) * ((bottom - y) * image[top, left] + (y - top) * image[bottom, left])
        + (x - left) * ((bottom - y) * image[top, right] + (y - top) * image[bottom, right])
    )  # fmt: skip


def offsets(patches: torch.Tensor) -> torch.Tensor:
    """(N, 2) x and y in -1..1 of the softmaxes' centres of mass."""
    weights = (patches - patches.amax(dim=(1, 2), keepdim=True)).exp()
    weights = weights / (weights.sum(dim=(1, 2), keepdim=True) + SHARE_EPSILON)
    steps = torch.linspace(-1, 1, patches.shape[1], device=patches.device)
    return torch.stack([weights.sum(dim=1) @ steps, weights.sum(dim=2) @ steps], dim=1)


@dataclass(frozen=True)
class LFNetConfig:
    """The settings of the D2-Net paper."""

    num_features: int = option(500, "keep at most this many keypoints, the strongest")
    weights: str = WEIGHTS.option()

    def __post_init__(self) -> None:
        if self.num_features < 1:
            raise D2EvalError("--num-features must be 1 or more")


class LFNet(FetchedMethod):
    """LF-Net outdoor; a patch's half side is 16 pixels times the scale."""

    description = "LF-Net, outdoor"
    license = "research only"
    papers = ("ono2018lfnet",)
    descriptor_dim = DIM
    Config = LFNetConfig
    fetched = WEIGHTS

    def __init__(self, config: LFNetConfig, runtime: Runtime) -> None:
        """Builds both networks.

        Raises:
            D2EvalError: weights that are missing or don't fit.
        """
        path = self.choose(config.weights, runtime)
        self._config, self._device = config, runtime.device
        self._detector, self._descriptor = Detector(), Descriptor()
        parts = {"ConvOnlyResNet": self._detector, "SimpleDesc": self._descriptor}
        load_into(nn.ModuleDict(parts), load_variables(path, FOLDER), path, runtime.device)

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, strongest first."""
        size = image.shape[1], image.shape[0]
        if min(size) <= 2 * BORDER:
            return no_features(DIM, size)
        gray = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).to(self._device)
        gray = gray.float() / 255
        maps, turns = self._detector(gray[None, None])
        scores, scales = score_and_scale(maps, (size[1], size[0]))
        rows, columns = strongest(scores, self._config.num_features)
        if not len(rows):
            return no_features(DIM, size)
        scale, turn = scales[rows, columns], turns[:, rows, columns].T
        points = torch.stack([columns, rows], dim=1).float()
        moved = offsets(cropped(scores, points, AROUND, scale))
        points = points + moved * scale[:, None] * AROUND / 2
        patches = cropped(gray, points, PATCH, scale, turn)
        return make_features(
            points.cpu().numpy(),
            scores[rows, columns].cpu().numpy(),
            self._descriptor(patches[:, None]).cpu().numpy(),
            size,
            scale.cpu().numpy(),
            orientations=torch.atan2(turn[:, 1], turn[:, 0]).cpu().numpy(),
        )
