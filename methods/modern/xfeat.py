"""XFeat by kornia: a light network, keypoints of whole pixels.

Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching", CVPR 2024. Settings are
the defaults of the authors' ``modules/xfeat.py``: at most 4096 keypoints, heatmap above 0.05,
suppression in windows of 5 pixels, images shrunk to multiples of 32. As in their code, pixel i of
the shrunk image lies at i times the ratio of sizes, up to half a pixel from its centre. Unlike
theirs, kornia has no keypoints within two pixels of a border; all others are the same.
"""

from dataclasses import dataclass

from d2eval.contracts.features import Features, no_features
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.modern.networks import (
    LEAST_SIDE,
    BundledWeights,
    KorniaMethod,
    features_of,
    load_into,
    rgb_tensor,
    weights_option,
)


@dataclass(frozen=True)
class XFeatConfig:
    """The authors' settings."""

    num_features: int = option(4096, "keep at most this many keypoints, the strongest")
    threshold: float = option(0.05, "least value of the keypoints' heatmap")
    weights: str = weights_option()

    def __post_init__(self) -> None:
        if self.num_features < 1 or not 0 <= self.threshold < 1:
            raise D2EvalError("--num-features must be 1 or more, --threshold from 0 to below 1")


class XFeat(KorniaMethod):
    """XFeat; scores are the heatmap's values times the reliability."""

    description = "XFeat (kornia)"
    license = "Apache-2.0"
    papers = ("potje2024xfeat",)
    descriptor_dim = 64
    Config = XFeatConfig
    bundle = BundledWeights(
        "xfeat.safetensors",
        "the authors' xfeat.pt (Apache-2.0)",
        # e92685f, README and modules/training/train.py, which takes every scene; issue 118 found
        # pairs of MegaDepth-1500 among them
        ("COCO", "MegaDepth/0015", "MegaDepth/0022", "MegaDepth/other scenes"),
    )

    def __init__(self, config: XFeatConfig, runtime: Runtime) -> None:
        """Builds the network.

        Raises:
            D2EvalError: no kornia, or weights that are missing or don't fit.
        """
        state, path = self.choose(config.weights, runtime)
        from kornia.feature import XFeat

        self._network = XFeat(config.num_features, config.threshold)
        load_into(self._network.net, state, path, runtime.device)

    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, strongest first."""
        size = image.shape[1], image.shape[0]
        if min(size) < LEAST_SIDE:
            return no_features(self.descriptor_dim, size, with_scales=False)
        found = self._network.detectAndCompute(rgb_tensor(image, self.device))[0]
        return features_of(found["keypoints"], found["scores"], found["descriptors"], size)
