"""ALIKED by kornia: keypoints to a fraction of a pixel, descriptors from deformable positions.

Zhao et al., "ALIKED: A Lighter Keypoint and Descriptor Extraction Network via Deformable
Transformation", IEEE TIM 2023. Settings are the defaults of the authors' ``nets/aliked.py``:
suppression radius 2, scores above 0.2, at most 5000 keypoints; the variant is n16.
"""

from dataclasses import dataclass

import torch

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


class Aliked(KorniaMethod):
    """ALIKED; scores are its score map's values at the keypoints."""

    description = "ALIKED n16 (kornia)"
    license = "BSD-3-Clause"
    papers = ("zhao2023aliked",)
    descriptor_dim = 128
    Config = AlikedConfig
    bundle = BundledWeights("aliked_n16.safetensors", "the authors' aliked-n16.pth (BSD-3-Clause)")

    def __init__(self, config: AlikedConfig, runtime: Runtime) -> None:
        """Builds the network.

        Raises:
            D2EvalError: no kornia, or weights that are missing or don't fit.
        """
        state, path = self.choose(config.weights, runtime)
        from kornia.feature import ALIKED

        network = ALIKED(f"aliked-{config.variant}", config.num_features, config.threshold)
        self._network = load_into(network, state, path, runtime.device)

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``."""
        size = image.shape[1], image.shape[0]
        if min(size) < LEAST_SIDE:
            return no_features(self.descriptor_dim, size, with_scales=False)
        found = self._network(rgb_tensor(image, self.device))[0]
        return features_of(found.keypoints, found.keypoint_scores, found.descriptors, size)
