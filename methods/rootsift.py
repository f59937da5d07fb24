"""RootSIFT through COLMAP's SIFT (VLFeat): L1 normalisation and square root of the descriptors.

Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR
2012. The upright variant gives every keypoint the orientation 0, as the paper's Aachen baseline.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import pycolmap

from d2eval.contracts.features import Features, make_features
from d2eval.contracts.method import Method, Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage


@dataclass(frozen=True)
class SiftConfig:
    """COLMAP's own defaults."""

    num_features: int = option(
        8192,
        "COLMAP's cap: whole octaves, coarse to fine, so somewhat more may come (--top-k cuts)",
    )
    peak_threshold: float = option(0.02 / 3, "least difference-of-Gaussians response")
    edge_threshold: float = option(10.0, "most ratio of principal curvatures")
    first_octave: int = option(-1, "-1 doubles the image first")

    def __post_init__(self) -> None:
        if self.num_features < 1:
            raise D2EvalError("--num-features must be 1 or more")
        if not (0 < self.peak_threshold < math.inf and 0 < self.edge_threshold < math.inf):
            raise D2EvalError("--peak-threshold and --edge-threshold must be numbers above 0")


class RootSIFT(Method):
    """DoG keypoints with RootSIFT descriptors; scores are the scales.

    COLMAP gives no detector response. It keeps coarse features first when it must choose, so the
    scale is the score here too.
    """

    description = "DoG + RootSIFT (COLMAP)"
    license = "BSD-3-Clause"
    papers = ("arandjelovic2012rootsift", "lowe2004sift", "schoenberger2016sfm")
    version = 2  # orientations
    descriptor_dim = 128
    Config = SiftConfig
    weights = NONE_NEEDED
    upright: ClassVar[bool] = False

    def __init__(self, config: SiftConfig, runtime: Runtime) -> None:
        """Prepares COLMAP's extractor (CPU)."""
        pycolmap.logging.minloglevel = 2  # COLMAP announces every extractor otherwise
        options = pycolmap.FeatureExtractionOptions()
        options.use_gpu = False
        options.num_threads = 1
        options.sift.max_num_features = config.num_features
        options.sift.peak_threshold = config.peak_threshold
        options.sift.edge_threshold = config.edge_threshold
        options.sift.first_octave = config.first_octave
        options.sift.upright = self.upright
        options.sift.normalization = pycolmap.Normalization.L1_ROOT
        self._extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)

    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``; COLMAP counts from the corner of the top-left pixel."""
        height, width = image.shape[:2]
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        found, described = self._extractor.extract_from_uint8_array(gray)
        # x, y, scale, orientation; descriptors are bytes, 512 times those of unit length
        shapes = pycolmap.keypoints_to_matrix(found)
        descriptors = described.data.astype(np.float32)
        norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
        usable = norms[:, 0] > 0  # a patch without any gradient has no direction
        shapes = shapes[usable]
        return make_features(
            shapes[:, :2],
            shapes[:, 2],
            descriptors[usable] / norms[usable],
            (width, height),
            shapes[:, 2],
            origin="corner",
            orientations=shapes[:, 3],
        )


class UprightRootSIFT(RootSIFT):
    """RootSIFT with one orientation, 0, for every keypoint."""

    description = "DoG + upright RootSIFT (COLMAP)"
    upright = True
