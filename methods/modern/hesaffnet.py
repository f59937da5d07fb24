"""HesAffNet with HardNet++: Hessian keypoints, affine shapes by AffNet, upright patches described.

Mishkin, Radenovic, Matas, "Repeatability Is Not Enough: Learning Affine Regions via
Discriminability", ECCV 2018; Mishchuk et al., "Working hard to know your neighbor's margins: Local
descriptor learning loss", NeurIPS 2017. Both networks are kornia's, the rest is what the authors'
``SparseImgRepresenter.py`` does as ``examples/hesaffnet/hesaffnet.py`` calls it (github.com/
ducha-aiki/affnet da7cf51): three levels an octave from sigma 1.6, no doubling, centres of mass of
3x3x3 responses, patches of 32 pixels over 5.192 sigma, one step of AffNet, no frame whose patch
leaves the image. What the D2-Net paper leaves open follows from its authors' counts, which these
settings meet within 0.2 % an image: Perdoch's threshold 28.41 of that file, and no orientations,
for their matches drop where images are turned. As there, pixel i of a level lies at i times the
ratio of sizes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from d2eval.contracts.features import Features, make_features, no_features
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weights import load_state_dict
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.modern.keynet import KeyNetHardTFeat
from methods.modern.networks import (
    INSTALL,
    LEAST_SIDE,
    FetchedMethod,
    FetchedWeights,
    has_kornia,
    load_into,
    require_kornia,
)

WEIGHTS = FetchedWeights("hesaffnet_hardnet", "HardNet++.pth")
LEVELS, FIRST_SIGMA, IMAGE_SIGMA = 3, 1.6, 0.5
STEP = 2 ** (1 / LEVELS)
BORDER = 5  # pixels of a level without keypoints
MAGNIFICATION, PATCH = 5.192, 32  # sigmas from a patch's centre to its side; its pixels
MOST_ELONGATED = 6.0  # ratio of a frame's eigenvalues
EQUAL = 1e-5  # responses that differ by less are equal
BATCH = 256  # patches at once


class Level(NamedTuple):
    """An image of the pyramid.

    Attributes:
        image: (1, 1, h, w) grey, 0..255.
        sigma: its blur, in its own pixels.
        step: pixels of the original image from one of its own to the next.
    """

    image: torch.Tensor
    sigma: float
    step: float


def blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur within three sigmas; the border is repeated."""
    radius = int(6 * sigma + 1) // 2
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(image)
    padded = functional.pad(image, [radius] * 4, mode="replicate")
    return functional.conv2d(
        functional.conv2d(padded, weights[None, None, None]), weights[None, None, :, None]
    )


def pyramid(gray: torch.Tensor) -> list[list[Level]]:
    """Octaves of five levels, halved until a side has 13 pixels or less."""
    image = blurred(gray, math.sqrt(FIRST_SIGMA**2 - IMAGE_SIGMA**2))
    octaves: list[list[Level]] = []
    while not octaves or min(image.shape[2:]) > 2 * BORDER + 3:
        octave = [Level(image, FIRST_SIGMA, 2.0 ** len(octaves))]
        for _ in range(LEVELS + 1):
            last = octave[-1]
            image = blurred(last.image, last.sigma * math.sqrt(STEP**2 - 1))
            octave.append(Level(image, last.sigma * STEP, last.step))
        octaves.append(octave)
        image = octave[LEVELS].image[:, :, ::2, ::2]
    return octaves


def response(level: Level) -> torch.Tensor:
    """(h, w) sizes of the Hessian's determinant, times sigma^4."""
    p = functional.pad(level.image, [1] * 4, mode="replicate")[0, 0]
    across = p[1:-1, 2:] + p[1:-1, :-2] - 2 * p[1:-1, 1:-1]
    down = p[2:, 1:-1] + p[:-2, 1:-1] - 2 * p[1:-1, 1:-1]
    mixed = (p[2:, 2:] + p[:-2, :-2] - p[2:, :-2] - p[:-2, 2:]) / 4
    return (across * down - mixed**2).abs() * level.sigma**4


def detections(
    octave: list[Level], threshold: float
) -> Iterator[tuple[Level, torch.Tensor, torch.Tensor]]:
    """Of each inner level that has some: the level below it, (N, 3, 3) frames, (N,) responses.

    A frame (the third row is 0, 0, 1) maps the disc of one sigma to the image, whose sides are 1 in
    its last column and whose shorter side is 1 in the others.
    """
    responses = torch.stack([(response(level) - threshold).clamp(min=0) for level in octave])
    height, width = responses.shape[1:]
    for k in range(1, LEVELS + 1):
        around = responses[k - 1 : k + 2]
        greatest = functional.max_pool3d(around[None, None], 3, 1, (0, 1, 1))[0, 0, 0]
        chosen = (around[1] > 0) & (greatest - around[1] < EQUAL)
        inner = torch.zeros_like(chosen)
        inner[BORDER:-BORDER, BORDER:-BORDER] = True
        rows, columns = (chosen & inner).nonzero().T
        if not len(rows):
            continue
        cubes = around.unfold(1, 3, 1).unfold(2, 3, 1)[:, rows - 1, columns - 1]  # (3, N, 3, 3)
        shares = cubes / (cubes.sum(dim=(0, 2, 3), keepdim=True) + 1e-8)
        sigmas = shares.new_tensor([level.sigma for level in octave[k - 1 : k + 2]])
        offsets = shares.new_tensor([-1, 0, 1])
        frames = torch.zeros(len(rows), 3, 3, device=shares.device)
        sigma = sigmas @ shares.sum(dim=(2, 3))
        frames[:, 0, 0] = frames[:, 1, 1] = sigma / min(height, width)
        frames[:, 0, 2] = (columns + shares.sum(dim=(0, 2)) @ offsets) / width
        frames[:, 1, 2] = (rows + shares.sum(dim=(0, 3)) @ offsets) / height
        frames[:, 2, 2] = 1
        yield octave[k - 1], frames, around[1][rows, columns]


def magnified(frames: torch.Tensor) -> torch.Tensor:
    """Frames that map the patch's square, -1..1, to the image."""
    scaled = frames.clone()
    scaled[:, :2, :2] *= MAGNIFICATION
    return scaled


def patches(image: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """(N, 1, 32, 32) patches of a level; its pixel x lies at x / (w - 1) of its width."""
    height, width = image.shape[2:]
    sides = frames.new_tensor([width, height])
    affine = magnified(frames)[:, :2]
    affine[:, :, :2] *= min(height, width) / sides[:, None]
    affine = affine * 2 - affine.new_tensor([0, 0, 1])
    found = [image.new_zeros(0, 1, PATCH, PATCH)]
    for some in affine.split(BATCH):
        size = [len(some), 1, PATCH, PATCH]
        grid = functional.affine_grid(some, size, align_corners=True)
        found.append(
            functional.grid_sample(image.expand(size[0], -1, -1, -1), grid, align_corners=True)
        )
    return torch.cat(found)


def inside(frames: torch.Tensor) -> torch.Tensor:
    """(N,) whether a frame's whole patch lies in the image."""
    corners = frames.new_tensor([[-1, -1, 1, 1], [-1, 1, -1, 1], [1, 1, 1, 1]])
    places = magnified(frames)[:, :2] @ corners
    return ((places >= 0) & (places <= 1)).all(dim=2).all(dim=1)


def upright(shapes: torch.Tensor) -> torch.Tensor:
    """(N, 2, 2) shapes of area 1 that map the y axis to itself, the same but for a turn."""
    area = torch.linalg.det(shapes).abs()
    length = shapes[:, 0].norm(dim=1)
    turned = torch.zeros_like(shapes)
    turned[:, 0, 0] = length / area.sqrt()
    turned[:, 1, 0] = (shapes[:, 1] * shapes[:, 0]).sum(dim=1) / (length * area.sqrt())
    turned[:, 1, 1] = area.sqrt() / length
    return turned


@dataclass(frozen=True)
class HesAffNetConfig:
    """The authors' settings."""

    threshold: float = option(28.41, "least determinant of the Hessian, grey in 0..255")
    weights: str = WEIGHTS.option()

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < math.inf:
            raise D2EvalError("--threshold must be 0 or more")


class HesAffNetHardNet(FetchedMethod):
    """HesAffNet + HardNet++; scores are responses above the threshold, scales sigmas."""

    description = "HesAffNet + HardNet++ (kornia)"
    license = "MIT"
    papers = ("mishkin2018affnet", "mishchuk2017hardnet")
    descriptor_dim = 128
    Config = HesAffNetConfig
    fetched = WEIGHTS

    def __init__(self, config: HesAffNetConfig, runtime: Runtime) -> None:
        """Builds both networks; AffNet's weights are bundled.

        Raises:
            D2EvalError: no kornia, or weights that are missing or don't fit.
        """
        require_kornia(type(self).__name__)
        path = self.choose(config.weights, runtime)
        from kornia.feature import HardNet, LAFAffNetShapeEstimator

        self._threshold, self._device = config.threshold, runtime.device
        hardnet = HardNet(pretrained=False)
        self._hardnet = load_into(hardnet, load_state_dict(path), path, runtime.device)
        bundle = KeyNetHardTFeat.bundle.path
        parts = load_state_dict(bundle).items()
        affnet = {n.removeprefix("affnet."): t for n, t in parts if n.startswith("affnet.")}
        network = LAFAffNetShapeEstimator(pretrained=False)
        self._affnet = load_into(network, affnet, bundle, runtime.device).get_submodule("features")

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, from fine to coarse."""
        size = image.shape[1], image.shape[0]
        if min(size) < LEAST_SIDE:
            return no_features(self.descriptor_dim, size)
        gray = torch.from_numpy(image.mean(axis=2).astype(np.float32)).to(self._device)
        octaves = pyramid(gray[None, None])
        found = [
            (self._shaped(below, frames), scores)
            for octave in octaves
            for below, frames, scores in detections(octave, self._threshold)
        ]
        if not found:
            return no_features(self.descriptor_dim, size)
        frames, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        kept = inside(frames)
        kept &= elongation(frames) < MOST_ELONGATED
        frames, scores = frames[kept], scores[kept]
        if not len(frames):
            return no_features(self.descriptor_dim, size)
        descriptors = self._described(frames, octaves, min(size)).cpu().numpy()
        shapes = (frames[:, :2, :2] * min(size)).cpu().numpy()
        return make_features(
            (frames[:, :2, 2] * frames.new_tensor(size)).cpu().numpy(),
            scores.cpu().numpy(),
            descriptors,
            size,
            np.sqrt(np.linalg.det(shapes)),
            affine_shapes=shapes,
        )

    def _shaped(self, below: Level, frames: torch.Tensor) -> torch.Tensor:
        """Frames with AffNet's shapes, of patches of the level below."""
        values = in_batches(self._affnet, normalised(patches(below.image, frames))).view(-1, 3)
        shapes = torch.zeros(len(frames), 2, 2, device=frames.device)
        shapes[:, 0, 0], shapes[:, 1, 0] = 1 + values[:, 0], values[:, 1]
        shapes[:, 1, 1] = 1 + values[:, 2]
        frames[:, :2, :2] = upright(shapes) @ frames[:, :2, :2]
        return frames

    def _described(
        self, frames: torch.Tensor, octaves: list[list[Level]], side: int
    ) -> torch.Tensor:
        """(N, 128) descriptors, of patches of the level whose blur is nearest a patch's pixel."""
        levels = [level for octave in octaves for level in octave]
        blurs = torch.tensor([v.sigma * v.step for v in levels], dtype=torch.float64)
        areas = torch.linalg.det(magnified(frames)).double().cpu()
        wanted = areas.sqrt() * side / PATCH
        nearest = (wanted[:, None] - blurs).abs().argmin(dim=1).to(frames.device)
        found = torch.zeros(len(frames), self.descriptor_dim, device=frames.device)
        for k in nearest.unique().tolist():
            some = nearest == k
            found[some] = in_batches(self._hardnet, patches(levels[k].image, frames[some]))
        return found

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """For ``d2eval methods``: fetched, or what is missing."""
        return (
            super().weights_state(runtime) if has_kornia() else f"missing: kornia; run: {INSTALL}"
        )


def normalised(values: torch.Tensor) -> torch.Tensor:
    """Patches with mean 0 and deviation 1 each."""
    deviation, mean = torch.std_mean(values, dim=(1, 2, 3), keepdim=True)
    return (values - mean) / (deviation + 1e-7)


def elongation(frames: torch.Tensor) -> torch.Tensor:
    """(N,) ratios of the larger to the smaller eigenvalue of upright frames' shapes."""
    values = frames.diagonal(dim1=1, dim2=2)[:, :2]
    return values.amax(dim=1) / values.amin(dim=1)


def in_batches(network: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """What ``network`` gives for patches, a few of them at a time."""
    return torch.cat([network(some) for some in values.split(BATCH)])
