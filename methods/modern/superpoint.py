"""SuperPoint by Magic Leap: a heatmap of corners and descriptors from one encoder.

DeTone, Malisiewicz, Rabinovich, "SuperPoint: Self-Supervised Interest Point Detection and
Description", CVPR Workshops 2018. The layers are those that the paper describes; the settings are
those of the authors' ``demo_superpoint.py`` (confidence 0.015, suppression within 4 pixels, none
within 4 pixels of a border), in full resolution as in the D2-Net paper. As there, descriptors are
read at x (Wc - 1) / W of a map Wc cells wide (what `grid_sample` did when they wrote it), and the
softmax has 1e-5 in its divisor. Equal confidences, whose order is arbitrary there, are taken row by
row. The weights are for non-commercial research only, so they are not bundled.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from d2eval.contracts.features import Features, no_features
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weights import load_state_dict
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.modern.networks import FetchedMethod, FetchedWeights, features_of, load_into

WEIGHTS = FetchedWeights("superpoint", "superpoint_v1.pth")
CELL, DIM = 8, 256
ENCODER = (("1", 64), ("2", 64), ("3", 128), ("4", 128))  # pairs of layers, halved between them
EPSILON = 1e-5


class Network(nn.Module):
    """(1, 1, H, W) in 0..1 -> (65, H/8, W/8) logits and (1, 256, H/8, W/8) unit descriptors."""

    def __init__(self) -> None:
        super().__init__()
        channels = 1
        for name, outputs in ENCODER:
            setattr(self, f"conv{name}a", nn.Conv2d(channels, outputs, 3, padding=1))
            setattr(self, f"conv{name}b", nn.Conv2d(outputs, outputs, 3, padding=1))
            channels = outputs
        self.convPa = nn.Conv2d(channels, DIM, 3, padding=1)
        self.convPb = nn.Conv2d(DIM, CELL**2 + 1, 1)
        self.convDa = nn.Conv2d(channels, DIM, 3, padding=1)
        self.convDb = nn.Conv2d(DIM, DIM, 1)

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All layers but the two last ones are rectified."""
        for number, (name, _) in enumerate(ENCODER):
            if number:
                maps = functional.max_pool2d(maps, 2)
            maps = self.get_submodule(f"conv{name}a")(maps).relu_()
            maps = self.get_submodule(f"conv{name}b")(maps).relu_()
        logits = self.convPb(self.convPa(maps).relu_())
        return logits[0], functional.normalize(self.convDb(self.convDa(maps).relu_()), dim=1)


@dataclass(frozen=True)
class SuperPointConfig:
    """The authors' settings."""

    threshold: float = option(0.015, "least confidence")
    suppression: int = option(4, "pixels in x and y around a keypoint without a weaker one")
    border: int = option(4, "pixels at the image's border without keypoints")
    weights: str = WEIGHTS.option()

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or self.suppression < 0 or self.border < 0:
            raise D2EvalError(
                "--threshold must be above 0 and below 1, --suppression and --border 0 or more"
            )


class SuperPoint(FetchedMethod):
    """SuperPoint; scores are the heatmap's values, keypoints whole pixels."""

    description = "SuperPoint"
    license = "non-commercial"
    papers = ("detone2018superpoint",)
    descriptor_dim = DIM
    Config = SuperPointConfig
    fetched = WEIGHTS

    def __init__(self, config: SuperPointConfig, runtime: Runtime) -> None:
        """Builds the network.

        Raises:
            D2EvalError: weights that are missing or don't fit.
        """
        path = self.choose(config.weights, runtime)
        self._config, self._device = config, runtime.device
        self._network = load_into(Network(), load_state_dict(path), path, runtime.device)

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, strongest first."""
        size = width, height = image.shape[1], image.shape[0]
        nothing = no_features(DIM, size, with_scales=False)
        if min(size) < CELL:
            return nothing
        gray = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).to(self._device)
        logits, descriptors = self._network(gray[None, None].float() / 255)
        heat = heatmap(logits).cpu().numpy()
        points, scores = keypoints(heat, self._config.threshold, self._config.suppression)
        border = self._config.border
        inside = (points >= border) & (points < (width - border, height - border))
        points, scores = points[inside.all(axis=1)], scores[inside.all(axis=1)]
        if not len(points):
            return nothing
        places = torch.from_numpy(points).to(descriptors) / descriptors.new_tensor(size)
        found = functional.grid_sample(descriptors, places[None, None] * 2 - 1, align_corners=True)
        found = functional.normalize(found[0, :, 0], dim=0).T
        return features_of(
            torch.from_numpy(points), torch.from_numpy(scores), found, (width, height)
        )


def heatmap(logits: torch.Tensor) -> torch.Tensor:
    """(8 h, 8 w) confidences of (65, h, w) logits: a softmax over a cell's pixels and "none"."""
    weights = logits.exp()
    share = (weights / (weights.sum(dim=0) + EPSILON))[:-1]
    return functional.pixel_shuffle(share[None], CELL)[0, 0]


def keypoints(
    heat: npt.NDArray[np.float32], threshold: float, distance: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(N, 2) x and y of confident pixels and (N,) their confidences, strongest first.

    Each suppresses all that are weaker within ``distance`` in x and y, but for those that are
    suppressed themselves.
    """
    rows, columns = np.nonzero(heat >= threshold)
    order = np.argsort(-heat[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    free = np.ones(heat.shape, bool)
    kept = []
    for number, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        if free[row, column]:
            kept.append(number)
            free[
                max(row - distance, 0) : row + distance + 1,
                max(column - distance, 0) : column + distance + 1,
            ] = False
    rows, columns = rows[kept], columns[kept]
    return np.stack([columns, rows], axis=1), heat[rows, columns]
