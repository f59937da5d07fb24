"""ALIKED by kornia: keypoints to a fraction of a pixel, descriptors from deformable positions.

Zhao et al., "ALIKED: A Lighter Keypoint and Descriptor Extraction Network via Deformable
Transformation", IEEE TIM 2023. Settings are the defaults of the authors' ``nets/aliked.py``:
suppression radius 2, scores above 0.2, at most 5000 keypoints; the variant is n16. Suppression is
theirs, too, which kornia's isn't: what a keypoint suppresses suppresses nothing itself.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from d2eval.contracts.features import Features, no_features
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.modern.networks import (
    BUNDLED,
    LEAST_SIDE,
    BundledWeights,
    KorniaMethod,
    features_of,
    load_into,
    rgb_tensor,
    weights_option,
)

VARIANTS = ("n16", "n16rot", "n32")  # those of 128 dimensions
RADIUS, ROUNDS = 2, 2  # of the suppression
TEMPERATURE = 0.1  # of the softmax over scores around a keypoint


@dataclass(frozen=True)
class AlikedConfig:
    """The authors' settings."""

    variant: str = option(
        "n16", "of the network; n16 is bundled, others need --weights", choices=VARIANTS
    )
    num_features: int = option(5000, "keep at most this many keypoints, the strongest")
    threshold: float = option(0.2, "least score; 0: the --num-features strongest maxima of any")
    weights: str = weights_option()

    def __post_init__(self) -> None:
        if self.num_features < 1 or not 0 <= self.threshold < 1:
            raise D2EvalError("--num-features must be 1 or more, --threshold from 0 to below 1")
        if self.variant != "n16" and self.weights == BUNDLED:
            raise D2EvalError(
                f"--variant {self.variant} needs --weights with the authors' "
                f"aliked-{self.variant}.pth; n16's are bundled"
            )


def suppressed(scores: torch.Tensor) -> torch.Tensor:
    """(H, W) scores -> (H, W) of bool: maxima of 5x5 pixels, then those of what is left, twice."""

    def spread(values: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(values[None], 2 * RADIUS + 1, stride=1, padding=RADIUS)[0]

    found = scores == spread(scores)
    for _ in range(ROUNDS):
        near = spread(found.float()) > 0
        rest = scores.masked_fill(near, 0)
        found |= (rest == spread(rest)) & ~near
    inside = torch.zeros_like(found)
    inside[RADIUS:-RADIUS, RADIUS:-RADIUS] = True
    return found & inside


class Aliked(KorniaMethod):
    """ALIKED; scores are its score map's values at the keypoints."""

    version = 2  # the authors' suppression
    description = "ALIKED n16 (kornia)"
    license = "BSD-3-Clause"
    papers = ("zhao2023aliked",)
    descriptor_dim = 128
    Config = AlikedConfig
    bundle = BundledWeights(
        "aliked_n16.safetensors",
        "the authors' aliked-n16.pth (BSD-3-Clause)",
        # issue 10 of ALIKED: MegaDepth as DISK has it, whose scenes LoFTR's issue 10 lists
        ("MegaDepth/all but 0015 and 0022",),
    )

    def __init__(self, config: AlikedConfig, runtime: Runtime) -> None:
        """Builds the network.

        Raises:
            D2EvalError: no kornia, or weights that are missing or don't fit.
        """
        state, path = self.choose(config.weights, runtime)
        from kornia.feature import ALIKED

        network = ALIKED(f"aliked-{config.variant}")
        self._config = config
        self._network: Any = load_into(network, state, path, runtime.device)

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``: row by row, or strongest first where there are too many."""
        size = image.shape[1], image.shape[0]
        if min(size) < LEAST_SIDE:
            return no_features(self.descriptor_dim, size, with_scales=False)
        maps, scores = self._network.extract_dense_map(rgb_tensor(image, self.device))
        points = self._refined(scores[0, 0], self._chosen(scores[0, 0]))
        last = points.new_tensor(size) - 1
        grid = 2 * points / last - 1
        descriptors = self._network.desc_head(maps, [grid])[0][0]
        values = functional.grid_sample(scores, grid[None, None], align_corners=True)[0, 0, 0]
        return features_of(points, values, descriptors, size)

    def _chosen(self, scores: torch.Tensor) -> torch.Tensor:
        """(N, 2) rows and columns of keypoints in (H, W) scores."""
        threshold, most = self._config.threshold, self._config.num_features
        maxima = suppressed(scores)
        chosen = maxima & (scores > threshold)
        if threshold and not chosen.any():
            chosen = maxima & (scores > scores.mean())
        cells = chosen.nonzero()
        if len(cells) > most or not threshold:
            values = scores[cells[:, 0], cells[:, 1]]
            cells = cells[values.argsort(descending=True, stable=True)[:most]]
        return cells

    def _refined(self, scores: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """(N, 2) x and y of keypoints: means of 5x5 pixels around, by a softmax of their scores."""
        steps = torch.arange(-RADIUS, RADIUS + 1, device=scores.device)
        rows, columns = (cells[:, k, None] + steps for k in range(2))
        around = scores[rows[:, :, None], columns[:, None, :]].flatten(1)
        weights = (around / TEMPERATURE).softmax(dim=1).unflatten(1, (len(steps), len(steps)))
        offsets = torch.stack([weights.sum(1) @ steps.float(), weights.sum(2) @ steps.float()], 1)
        return cells.flip(1) + offsets
