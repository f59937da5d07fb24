"""Hessian-affine and affine DoG features with RootSIFT, as two papers' authors had from VLFeat.

Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR
2012; Mikolajczyk and Schmid, "An affine invariant interest point detector", ECCV 2002.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import Features, make_features
from d2eval.contracts.method import Method, Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.vlfeat.library import DIMENSIONS, DOG, HESSIAN, Detection, load

# MATLAB's rgb2gray: the first row of the inverse of NTSC's matrix
GRAY = np.linalg.inv([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])[0]


@dataclass(frozen=True)
class HessianConfig:
    """The D2-Net authors' settings of VLFeat."""

    peak_threshold: float = option(14 / 256**2, "least determinant of the Hessian, image in 0..1")
    edge_threshold: float = option(10.0, "most ratio of principal curvatures of the response")
    double_image: bool = option(False, "double the image first, which gives many fine features")

    def __post_init__(self) -> None:
        if not 0 <= self.peak_threshold < np.inf:
            raise D2EvalError("--peak-threshold must be 0 or more")
        if not 1 <= self.edge_threshold < np.inf:
            raise D2EvalError("--edge-threshold must be 1 or more")


@dataclass(frozen=True)
class DogConfig(HessianConfig):
    """The InLoc authors' settings of VLFeat."""

    peak_threshold: float = option(0.013, "least difference-of-Gaussians response, image in 0..1")


class HessianAffineRootSIFT(Method):
    """Hessian-affine RootSIFT, as the D2-Net authors extract it on HPatches.

    Scores are responses with their sign: blobs come before saddles.

    Source: d2-net 0a3356c, extract_hesaff.m, and parse_mat of the HPatches notebook.
    """

    description = "Hessian-affine + RootSIFT (VLFeat)"
    license = "BSD-2-Clause"
    papers: ClassVar[tuple[str, ...]] = (
        "arandjelovic2012rootsift", "mikolajczyk2002affine", "vedaldi2008vlfeat",
    )  # fmt: skip
    descriptor_dim = DIMENSIONS
    Config: ClassVar[type] = HessianConfig
    weights = NONE_NEEDED
    detector: ClassVar[int] = HESSIAN

    def __init__(self, config: HessianConfig, runtime: Runtime) -> None:
        """Loads VLFeat.

        Raises:
            D2EvalError: there is none.
        """
        self._vlfeat, first_octave = load(), -1 if config.double_image else 0
        self._detection = Detection(
            self.detector, config.peak_threshold, config.edge_threshold, first_octave
        )

    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``; MATLAB counts pixels from 1.

        Raises:
            D2EvalError: out of memory.
        """
        height, width = image.shape[:2]
        found = self._vlfeat.extract(self.gray(image).astype(np.float32), self._detection)
        sums = found.descriptors.sum(axis=1)
        usable = sums > 0  # a patch without any gradient has no direction
        shapes = found.shapes[usable]
        return make_features(
            found.keypoints[usable] + 1,
            self.score(found.peaks[usable]),
            np.sqrt(found.descriptors[usable] / sums[usable, None]),
            (width, height),
            np.sqrt(np.abs(np.linalg.det(shapes))),
            origin="matlab",
            orientations=np.arctan2(shapes[:, 1, 0], shapes[:, 0, 0]),
            affine_shapes=shapes,
        )

    def gray(self, image: RgbImage) -> npt.NDArray[np.floating]:
        """(H, W) in 0..1, as rgb2gray(im2single(image))."""
        gray: npt.NDArray[np.floating] = image.astype(np.float32) / 255 @ GRAY
        return gray

    def score(self, peaks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(N,) scores of (N,) responses."""
        return peaks


class AffineRootSIFT(HessianAffineRootSIFT):
    """DoG with affine shape and RootSIFT, as InLoc has it.

    Scores are sizes of responses, whose sign tells bright blobs from dark ones.

    Source: InLoc_demo b4c42de, Features_WUSTL.m and parfor_sparseGV.m.
    """

    description = "DoG + affine shape + RootSIFT (VLFeat)"
    papers = (
        "arandjelovic2012rootsift", "lowe2004sift", "mikolajczyk2002affine", "vedaldi2008vlfeat",
    )  # fmt: skip
    Config = DogConfig
    detector = DOG

    def gray(self, image: RgbImage) -> npt.NDArray[np.floating]:
        """(H, W) in 0..1, as im2single(rgb2gray(image)), whose grey is of bytes."""
        gray: npt.NDArray[np.floating] = np.floor(image @ GRAY + 0.5) / 255
        return gray

    def score(self, peaks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(N,) scores of (N,) responses."""
        return np.abs(peaks)
