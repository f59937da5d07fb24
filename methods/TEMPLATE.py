"""A method to copy: `cp methods/TEMPLATE.py methods/mine.py`, then change what the comments name.

It works as it stands: Shi-Tomasi corners, each described by the normalised grey patch around it.
Run it with ``--method methods.TEMPLATE:MyFeature``.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from d2eval import (
    NONE_NEEDED,
    D2EvalError,
    Features,
    Method,
    RgbImage,
    Runtime,
    make_features,
    no_features,
    option,
)

PATCH = 16  # pixels
FLAT = 1e-3  # grey levels; a patch without contrast has no direction and can't be normalised


@dataclass(frozen=True)
class MyConfig:
    """Each field is an option of the command line: ``--num-features 500``, ``--quality 0.05``."""

    # CHANGE: your options. They enter the cache key, so other settings never meet stale features.
    num_features: int = option(2000, "keep this many corners, the strongest first")
    quality: float = option(0.01, "least response, as a share of the strongest corner's")

    def __post_init__(self) -> None:
        if self.num_features < 1 or not 0 < self.quality < 1:
            raise D2EvalError("--num-features must be 1 or more, --quality between 0 and 1")


class MyFeature(Method):
    """Shi-Tomasi corners with normalised patches."""

    description = "template: Shi-Tomasi corners + normalised 16x16 patches"  # CHANGE
    license = "BSD-3-Clause"  # CHANGE: of its weights, or of what it runs
    papers = ()  # CHANGE: keys of entries in citations.bib beside your file or package
    descriptor_dim = PATCH * PATCH  # CHANGE: columns of your descriptors
    version = 1  # edits of this file are seen; raise it for a change that no file of yours shows
    Config = MyConfig  # leave it out if there are no options
    weights = NONE_NEEDED  # CHANGE: leave it out if there are weights, and see below

    def __init__(self, config: MyConfig, runtime: Runtime) -> None:
        """CHANGE: build your network here, on ``runtime.device``.

        With weights, load them with `d2eval.load_state_dict` and set ``self.weights`` to a
        `d2eval.WeightsInfo`: their hash enters the cache key, their name every table, and what they
        were `trained_on` every table of a benchmark on the same data.
        """
        self.config = config

    def extract(self, image: RgbImage) -> Features:
        """CHANGE: (H, W, 3) uint8 RGB -> features in pixels of that image."""
        height, width = image.shape[:2]
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        corners = cv2.goodFeaturesToTrack(
            gray, self.config.num_features, self.config.quality, minDistance=3
        )
        if corners is None:
            return no_features(self.descriptor_dim, (width, height), with_scales=False)
        keypoints = corners.reshape(-1, 2)  # x, y
        columns, rows = keypoints.astype(int).T
        scores = cv2.cornerMinEigenVal(gray, blockSize=3)[rows, columns]
        patches = np.stack(
            [
                cv2.getRectSubPix(gray, (PATCH, PATCH), (float(x), float(y))).reshape(-1)
                for x, y in keypoints
            ]
        )
        patches -= patches.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(patches, axis=1)
        usable = norms > FLAT * PATCH
        return make_features(
            keypoints[usable],  # (N, 2), (0, 0) is the centre of the top-left pixel ...
            scores[usable],  # (N,), higher is better
            patches[usable] / norms[usable, None],  # (N, D), L2-normalised
            (width, height),
            scales=None,  # (N,) if your method has scales; likewise ...
            orientations=None,  # ... (N,) radians, from x towards y, if it has them, and ...
            affine_shapes=None,  # ... (N, 2, 2), each from the unit disc to an ellipse
            # ... or say "corner" if your method counts from its corner, as COLMAP. Aachen's
            # challenge takes keypoints as a method's own files hold them.
            origin="center",
        )
