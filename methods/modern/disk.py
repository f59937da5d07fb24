"""DISK by kornia: a U-Net whose heatmap's maxima are keypoints.

Tyszkiewicz, Fua, Trulls, "DISK: Learning local features with policy gradient", NeurIPS 2020.
Settings are those of the authors' ``detect.py``: non-maximum suppression in windows of 5 pixels,
heatmap above 0, number not limited, images in full resolution in 0..1, padded to multiples of 16.
"""

from dataclasses import dataclass

import torch

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
class DiskConfig:
    """The authors' settings."""

    num_features: int = option(0, "keep this many keypoints, the strongest first; 0: all")
    window: int = option(5, "side in pixels of the window in which a keypoint is the maximum; odd")
    weights: str = weights_option()

    def __post_init__(self) -> None:
        if self.num_features < 0 or self.window < 1 or self.window % 2 == 0:
            raise D2EvalError("--num-features must be 0 or more, --window odd")


class Disk(KorniaMethod):
    """Maxima of DISK's heatmap; scores are its values, keypoints whole pixels."""

    description = "DISK (kornia)"
    license = "Apache-2.0"
    papers = ("tyszkiewicz2020disk",)
    descriptor_dim = 128
    Config = DiskConfig
    bundle = BundledWeights(
        "disk_depth.safetensors",
        "the authors' depth-save.pth (Apache-2.0)",
        # LoFTR's issue 10 lists the scenes of DISK's split
        ("MegaDepth/all but 0015 and 0022",),
    )

    def __init__(self, config: DiskConfig, runtime: Runtime) -> None:
        """Builds the network.

        Raises:
            D2EvalError: no kornia, or weights that are missing or don't fit.
        """
        state, path = self.choose(config.weights, runtime)
        from kornia.feature import DISK

        self._config, self._network = config, load_into(DISK(), state, path, runtime.device)

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, strongest first in raster order of equals."""
        size = image.shape[1], image.shape[0]
        if min(size) < LEAST_SIDE:
            return no_features(self.descriptor_dim, size, with_scales=False)
        found = self._network(
            rgb_tensor(image, self.device),
            n=self._config.num_features or None,
            window_size=self._config.window,
            pad_if_not_divisible=True,
        )[0]
        order = torch.argsort(found.detection_scores, descending=True, stable=True)
        scores = found.detection_scores
        return features_of(found.keypoints[order], scores[order], found.descriptors[order], size)
