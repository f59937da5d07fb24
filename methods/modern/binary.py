"""ORB and AKAZE by OpenCV: binary descriptors, whose nearest neighbours are those by bits.

Rublee et al., "ORB: an efficient alternative to SIFT or SURF", ICCV 2011. Alcantarilla et al.,
"Fast Explicit Diffusion for Accelerated Features in Nonlinear Scale Spaces", BMVC 2013.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import Features, Float32Array, make_features, no_features
from d2eval.contracts.method import Method, Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage

ORB_BITS, AKAZE_BITS = 256, 486
STEPS = 256  # values of descriptors are multiples of 1 / STEPS, so that dot products are exact


def signed_bits(packed: npt.NDArray[np.uint8], bits: int) -> Float32Array:
    """Descriptors whose dot product is a constant less a multiple of the Hamming distance.

    Zeros and ones of a plain 0/1 vector would weigh differently once it is scaled to unit length,
    and one without ones has none. So each bit is -a or +a, and what n * a^2 lacks of unit length
    stands in one more column, the same for all.

    Args:
        packed: (N, bytes), the first bit of a byte its highest.
        bits: how many of them count.

    Returns:
        (N, bits) or, where there is such a column, (N, bits + 1).
    """
    value = int(STEPS / bits**0.5)
    rest = round((STEPS**2 - bits * value**2) ** 0.5)
    ones = np.unpackbits(packed, axis=1, count=bits).astype(np.float32)
    signed = (2 * ones - 1) * (value / STEPS)
    if not rest:
        return signed
    return np.pad(signed, ((0, 0), (0, 1)), constant_values=rest / STEPS)


@dataclass(frozen=True)
class OrbConfig:
    """OpenCV's defaults but for the number, which is 500 there."""

    num_features: int = option(5000, "keep this many corners, the strongest of each level")
    scale_factor: float = option(1.2, "from level to level of the pyramid")
    levels: int = option(8, "of the pyramid")
    fast_threshold: int = option(20, "least difference of grey levels of a FAST corner")

    def __post_init__(self) -> None:
        if self.num_features < 1 or not 1 <= self.levels <= 32 or not 1 < self.scale_factor <= 4:
            raise D2EvalError(
                "--num-features must be 1 or more, --levels 1 to 32, --scale-factor above 1 and "
                "at most 4"
            )
        if not 0 <= self.fast_threshold <= 255:
            raise D2EvalError("--fast-threshold must be from 0 to 255")


@dataclass(frozen=True)
class AkazeConfig:
    """OpenCV's defaults, which are the authors'."""

    threshold: float = option(0.001, "least determinant of the Hessian")

    def __post_init__(self) -> None:
        if not 0 < self.threshold < float("inf"):
            raise D2EvalError("--threshold must be above 0")


class Binary(Method):
    """A detector of OpenCV's; scores are its responses, scales its keypoints' diameters."""

    weights = NONE_NEEDED
    license = "Apache-2.0"
    bits: ClassVar[int]
    least_side: ClassVar[int]  # pixels; smaller images have no features, and OpenCV breaks on some
    _detector: Any

    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``; OpenCV counts from the centre of the top-left pixel."""
        size = image.shape[1], image.shape[0]
        if min(size) < self.least_side:
            return no_features(self.descriptor_dim, size)
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        found, packed = self._detector.detectAndCompute(gray, None)
        if not found:
            return no_features(self.descriptor_dim, size)
        return make_features(
            np.array([point.pt for point in found]),
            np.array([point.response for point in found]),
            signed_bits(packed, self.bits),
            size,
            np.array([point.size for point in found]),
            orientations=np.radians([point.angle for point in found]),
        )


class Orb(Binary):
    """FAST corners of a pyramid, ranked by Harris, with steered BRIEF of 256 bits."""

    description = "ORB (OpenCV): oriented FAST + rotated BRIEF, 256 bits"
    papers = ("rublee2011orb",)
    descriptor_dim = bits = ORB_BITS
    least_side = 63  # a pixel between borders of 31
    Config = OrbConfig

    def __init__(self, config: OrbConfig, runtime: Runtime) -> None:
        """Prepares OpenCV's detector (CPU)."""
        self._detector = cv2.ORB.create(
            nfeatures=config.num_features,
            scaleFactor=config.scale_factor,
            nlevels=config.levels,
            fastThreshold=config.fast_threshold,
        )


class Akaze(Binary):
    """Maxima of the Hessian's determinant in a nonlinear scale space, with M-LDB of 486 bits.

    OpenCV 4 has it, and so has opencv-contrib of OpenCV 5.
    """

    description = "AKAZE (OpenCV 4): nonlinear scale space + M-LDB, 486 bits"
    papers = ("alcantarilla2013akaze",)
    bits = AKAZE_BITS
    descriptor_dim = AKAZE_BITS + 1
    least_side = 16
    Config = AkazeConfig

    def __init__(self, config: AkazeConfig, runtime: Runtime) -> None:
        """Prepares OpenCV's detector (CPU).

        Raises:
            D2EvalError: this OpenCV has no AKAZE.
        """
        akaze = _akaze()
        if akaze is None:
            raise D2EvalError(_no_akaze())
        self._detector = akaze.create(threshold=config.threshold)

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """Whether this OpenCV has it."""
        return super().weights_state(runtime) if _akaze() else f"missing: {_no_akaze()}"


def _akaze() -> Any:
    """OpenCV's class, be it of opencv-contrib; None without."""
    return getattr(cv2, "AKAZE", None) or getattr(getattr(cv2, "xfeatures2d", None), "AKAZE", None)


def _no_akaze() -> str:
    return f"OpenCV {cv2.__version__} has no AKAZE; run: pip install 'opencv-python<5'"
