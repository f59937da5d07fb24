"""Key.Net with AffNet, OriNet and HardTFeat by kornia: affine patches, described.

Barroso-Laguna et al., "Key.Net: Keypoint Detection by Handcrafted and Learned CNN Filters", ICCV
2019; Mishkin, Radenovic, Matas, "Repeatability Is Not Enough", ECCV 2018 (AffNet, OriNet, and
HardTFeat: TFeat's network trained with HardNet's loss). Settings are the defaults of the authors'
``extract_kpts_dsc.py`` and ``keynet_configs.py``: 5000 keypoints, levels of an upsampled image and
of four that shrink, by sqrt(2) each, suppression in windows of 15 pixels, none within 15 pixels of
a level's border, patches of 22 of its pixels' radius. As there, pixel i of a level lies at i times
the ratio of sizes. kornia's detector differs in three things: it ranks the keypoints of all levels
together, where theirs gives each level a share; it has none where neighbours are equal, with which
theirs fills what is left, from flat parts of the image; a stronger response at the border counts.
Of 2798 keypoints of v_graffiti's first image, all are among their 4957.
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
from methods.modern.networks import (
    LEAST_SIDE,
    BundledWeights,
    KorniaMethod,
    load_into,
    weights_option,
)

PATCH = 32  # pixels


class HardTFeat(nn.Module):
    """(N, 1, 32, 32) patches -> (N, 128) descriptors, L2-normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 7), nn.Tanh(), nn.MaxPool2d(2, 2), nn.Conv2d(32, 64, 6), nn.Tanh()
        )
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(64, 128, 8), nn.Tanh())

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Each patch is normalised by its own mean and deviation."""
        deviation, mean = torch.std_mean(patches, dim=(1, 2, 3), keepdim=True)
        maps = self.features((patches - mean) / (deviation + 1e-7))
        return functional.normalize(self.classifier(maps).flatten(1), dim=1)


@dataclass(frozen=True)
class KeyNetConfig:
    """The authors' settings."""

    num_features: int = option(5000, "keep at most this many keypoints, the strongest")
    weights: str = weights_option()

    def __post_init__(self) -> None:
        if self.num_features < 1:
            raise D2EvalError("--num-features must be 1 or more")


class KeyNetHardTFeat(KorniaMethod):
    """Key.Net's maxima; scores are its responses, scales the patches' radii."""

    description = "Key.Net + AffNet + OriNet + HardTFeat (kornia)"
    license = "MIT"
    papers = ("barroso2019keynet", "mishkin2018affnet", "mishchuk2017hardnet")
    descriptor_dim = 128
    Config = KeyNetConfig
    bundle = BundledWeights(
        "keynet_hardtfeat.safetensors",
        "the authors' keynet_pytorch.pth, AffNet.pth, OriNet.pth and HardTFeat.pth (MIT)",
    )

    def __init__(self, config: KeyNetConfig, runtime: Runtime) -> None:
        """Builds the four networks.

        Raises:
            D2EvalError: no kornia, or weights that are missing or don't fit.
        """
        state, path = self.choose(config.weights, runtime)
        from kornia.feature import KeyNetDetector, LAFAffNetShapeEstimator, LAFOrienter, OriNet

        self._detector = KeyNetDetector(pretrained=False, num_features=config.num_features)
        self._affnet = LAFAffNetShapeEstimator(pretrained=False, preserve_orientation=False)
        orinet = OriNet(pretrained=False)
        self._orienter = LAFOrienter(angle_detector=orinet)
        self._descriptor = HardTFeat()
        parts = {
            "keynet": self._detector.model,
            "affnet": self._affnet,
            "orinet": orinet,
            "hardtfeat": self._descriptor,
        }
        load_into(nn.ModuleDict(parts), state, path, runtime.device)

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, strongest first."""
        from kornia.feature import (
            extract_patches_from_pyramid,
            get_laf_center,
            get_laf_orientation,
            get_laf_scale,
        )

        size = image.shape[1], image.shape[0]
        if min(size) < LEAST_SIDE:
            return no_features(self.descriptor_dim, size)
        gray = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).to(self.device)
        gray = gray[None, None].float() / 255
        frames, responses = self._detector(gray)
        frames = frames[:, responses[0] > 0]
        if not frames.shape[1]:
            return no_features(self.descriptor_dim, size)
        frames = self._orienter(self._affnet(frames, gray), gray)
        patches = extract_patches_from_pyramid(gray, frames, PATCH)[0]
        degrees = get_laf_orientation(frames).flatten()  # counter-clockwise as seen
        return make_features(
            get_laf_center(frames)[0].cpu().numpy(),
            responses[0][responses[0] > 0].cpu().numpy(),
            self._descriptor(patches).cpu().numpy(),
            size,
            get_laf_scale(frames).flatten().cpu().numpy(),
            orientations=-np.radians(degrees.cpu().numpy()),
        )
