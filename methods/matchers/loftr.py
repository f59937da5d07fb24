"""LoFTR by kornia: a semi-dense matcher, which pairs points of two images without a detector.

Sun et al., "LoFTR: Detector-Free Local Feature Matching with Transformers", CVPR 2021. The settings
are the authors' (dual softmax above 0.2); the weights are the authors' as kornia publishes them.
kornia says that its points count from the corner of the top-left pixel: half a pixel is taken off.
"""

from copy import deepcopy
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from d2eval.contracts.image_matcher import ImageMatcher, ImageMatches
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weights import load_state_dict
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.modern.networks import (
    FETCHED,
    INSTALL,
    LEAST_SIDE,
    FetchedWeights,
    given_weights,
    has_kornia,
    load_into,
    require_kornia,
)

WEIGHTS = {
    "outdoor": FetchedWeights("loftr", "loftr_outdoor.ckpt"),
    "indoor": FetchedWeights("loftr", "loftr_indoor_ds_new.ckpt"),
}
OUTDOOR = WEIGHTS["outdoor"]
PREFIX = "matcher."  # of tensors in the authors' files


@dataclass(frozen=True)
class LoftrConfig:
    """The authors' settings."""

    variant: str = option("outdoor", "of the weights", choices=tuple(WEIGHTS))
    threshold: float = option(0.2, "least confidence of a coarse match")
    weights: str = OUTDOOR.option()

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise D2EvalError("--threshold must be from 0 to below 1")


class LoFTR(ImageMatcher):
    """LoFTR; scores are the coarse matches' confidences."""

    description = "LoFTR (kornia), a semi-dense matcher: benchmarks of image pairs alone"
    license = "Apache-2.0"
    papers = ("sun2021loftr",)
    Config = LoftrConfig

    def __init__(self, config: LoftrConfig, runtime: Runtime) -> None:
        """Builds the network; nothing is downloaded.

        Raises:
            D2EvalError: no kornia, or weights that are missing or don't fit.
        """
        require_kornia("loftr")
        fetched = WEIGHTS[config.variant]
        chosen = fetched.found(runtime)
        if config.weights != FETCHED:
            chosen = given_weights(config.weights)
        if chosen is None:
            raise D2EvalError(
                f"loftr has no weights yet: {fetched.missing}, or give --weights FILE"
            )
        path, self.weights = chosen
        from kornia.feature import LoFTR as Network
        from kornia.feature.loftr.loftr import default_cfg

        settings = deepcopy(default_cfg)
        settings["match_coarse"]["thr"] = config.threshold
        settings["coarse"]["temp_bug_fix"] = config.variant == "indoor"
        state = {k.removeprefix(PREFIX): v for k, v in load_state_dict(path).items()}
        self._device = runtime.device
        self._network = load_into(Network(None, settings), state, path, runtime.device)

    @torch.inference_mode()
    def match_images(self, first: RgbImage, second: RgbImage) -> ImageMatches:
        """Matches by falling confidence; none of images of fewer than 32 pixels."""
        if min(*first.shape[:2], *second.shape[:2]) < LEAST_SIDE:
            none = np.zeros((0, 2), np.float32)
            return ImageMatches(none, none, none[:, 0])
        found = self._network({"image0": self._input(first), "image1": self._input(second)})
        arrays = [
            found[name].float().cpu().numpy() for name in ("keypoints0", "keypoints1", "confidence")
        ]
        order = np.argsort(-arrays[2], kind="stable")
        points = [
            np.clip(own[order] - 0.5, -0.5, np.array(image.shape[1::-1]) - 0.5).astype(np.float32)
            for own, image in zip(arrays[:2], (first, second), strict=True)
        ]
        return ImageMatches(points[0], points[1], arrays[2][order])

    def _input(self, image: RgbImage) -> torch.Tensor:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return torch.from_numpy(gray)[None, None].to(self._device).float() / 255

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """For ``d2eval methods``: whether the outdoor weights are fetched, or what is missing."""
        if not has_kornia():
            return f"missing: kornia; run: {INSTALL}"
        found = OUTDOOR.found(runtime)
        return f"missing: {OUTDOOR.missing}" if found is None else found[1].name

    @classmethod
    def training_data(cls, runtime: Runtime) -> tuple[str, ...] | None:
        """That of the outdoor weights."""
        return OUTDOOR.trained_on
