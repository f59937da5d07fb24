"""`Features`: the one record that every method gives and everything else takes."""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from d2eval.foundation.errors import D2EvalError

Float32Array = npt.NDArray[np.float32]
Origin = Literal["center", "corner", "matlab"]  # where a method counts pixels from

ORIGINS: tuple[Origin, ...] = get_args(Origin)
# Coordinates of the top-left pixel's centre: D2-Net's and OpenCV's, COLMAP's, and MATLAB's.
PIXEL_CENTER: dict[Origin, float] = {"center": 0.0, "corner": 0.5, "matlab": 1.0}
NORM_TOLERANCE = 1e-3
# What not every method has: the shape of one feature's
OPTIONAL: dict[str, tuple[int, ...]] = {"scales": (), "orientations": (), "affine_shapes": (2, 2)}


class InvalidFeaturesError(D2EvalError):
    """A method or a file gave features that break the contract."""


@dataclass(frozen=True, eq=False)
class Features:
    """Local features of one image, checked on construction.

    Attributes:
        keypoints: (N, 2) float32, pixels of the original image, x right, y down, origin at the
            centre of the top-left pixel.
        scores: (N,) float32, higher is better.
        descriptors: (N, D) float32, L2-normalised.
        image_size: (width, height) of the original image in pixels.
        scales: (N,) float32 or None, as the method defines them.
        orientations: (N,) float32 radians from the x axis towards the y axis, or None.
        origin: where the method's own files count from; see `own_keypoints`.
        affine_shapes: (N, 2, 2) float32 or None; each maps the unit disc to the feature, an
            ellipse, less its position. Scales and orientations say the same of discs.

    Raises:
        InvalidFeaturesError: shapes that don't fit, values that are not finite, keypoints outside
            the image, descriptors that are not L2-normalised.
    """

    keypoints: Float32Array
    scores: Float32Array
    descriptors: Float32Array
    image_size: tuple[int, int]
    scales: Float32Array | None = None
    orientations: Float32Array | None = None
    origin: Origin = "center"
    affine_shapes: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS:
            raise InvalidFeaturesError(f"the origin is {self.origin!r}, not {' or '.join(ORIGINS)}")
        for name in ("keypoints", "scores", "descriptors", *OPTIONAL):
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            try:
                array = np.ascontiguousarray(value, dtype=np.float32)
            except (TypeError, ValueError) as error:
                raise InvalidFeaturesError(f"{name} is not an array of numbers") from error
            if not np.isfinite(array).all():
                raise InvalidFeaturesError(f"{name} holds NaN or infinite values")
            object.__setattr__(self, name, array)
        n = len(self.keypoints)
        if self.keypoints.shape != (n, 2):
            raise InvalidFeaturesError(f"keypoints are {self.keypoints.shape}, not (N, 2)")
        if self.scores.shape != (n,):
            raise InvalidFeaturesError(f"scores are {self.scores.shape}, not ({n},)")
        if self.descriptors.ndim != 2 or len(self.descriptors) != n:
            raise InvalidFeaturesError(f"descriptors are {self.descriptors.shape}, not ({n}, D)")
        for name, shape in OPTIONAL.items():
            value = getattr(self, name)
            if value is not None and value.shape != (n, *shape):
                raise InvalidFeaturesError(f"{name} are {value.shape}, not {(n, *shape)}")
        if n:
            self._check_values()

    def _check_values(self) -> None:
        limits = np.array(self.image_size) - 0.5
        outside = (self.keypoints < -0.5) | (self.keypoints > limits)
        if outside.any():
            x, y = self.keypoints[outside.any(axis=1)][0]
            width, height = self.image_size
            raise InvalidFeaturesError(
                f"a keypoint ({x:g}, {y:g}) lies outside the image of {width}x{height}"
            )
        norms = np.linalg.norm(self.descriptors, axis=1)
        if np.abs(norms - 1).max() > NORM_TOLERANCE:
            raise InvalidFeaturesError(
                f"descriptors are not L2-normalised (norms {norms.min():g} to {norms.max():g})"
            )

    def __len__(self) -> int:
        """Number of features."""
        return len(self.keypoints)

    def own_keypoints(self) -> Float32Array:
        """(N, 2) pixels as the method's own files hold them, from the method's own origin.

        Numbers that came through `make_features` come back as they were, or within 3e-8 pixels
        where they are below a quarter.
        """
        return seen_from(self.keypoints, self.origin)

    def top_k(self, k: int | None) -> "Features":
        """The ``k`` features of highest score, best first; equal scores keep their order.

        Source: D2-Net's HPatches notebook takes the tail of an argsort, whose ties are arbitrary;
        a stable sort pins them. ``None`` keeps everything in its order.
        """
        if k is None or len(self) <= k:
            return self
        keep = np.argsort(-self.scores, kind="stable")[:k]
        optional: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[keep]
            for name in OPTIONAL
        }
        return replace(
            self,
            keypoints=self.keypoints[keep],
            scores=self.scores[keep],
            descriptors=self.descriptors[keep],
            **optional,
        )


FloatingT = TypeVar("FloatingT", bound=np.floating)


def seen_from(keypoints: npt.NDArray[FloatingT], origin: Origin) -> npt.NDArray[FloatingT]:
    """Keypoints that count from the centre of the top-left pixel, counted from ``origin``.

    Args:
        keypoints: (N, 2) pixels.
        origin: of the result.
    """
    return keypoints + keypoints.dtype.type(PIXEL_CENTER[origin])


def make_features(
    keypoints: npt.ArrayLike,
    scores: npt.ArrayLike,
    descriptors: npt.ArrayLike,
    image_size: tuple[int, int],
    scales: npt.ArrayLike | None = None,
    origin: Origin = "center",
    orientations: npt.ArrayLike | None = None,
    affine_shapes: npt.ArrayLike | None = None,
) -> Features:
    """Builds `Features` from keypoints of either pixel convention.

    Args:
        keypoints: (N, 2) pixels of the original image.
        scores: (N,), higher is better.
        descriptors: (N, D), L2-normalised.
        image_size: (width, height) of the original image.
        scales: (N,) or None.
        origin: where (0, 0) lies: at the top-left pixel's "center" (D2-Net, OpenCV), at its upper
            left "corner" (COLMAP, VLFeat through COLMAP), which is half a pixel more, or a whole
            pixel before its centre ("matlab", which counts from 1). It is kept as that of the
            method's own files.
        orientations: (N,) radians or None.
        affine_shapes: (N, 2, 2) or None.

    Raises:
        InvalidFeaturesError: as `Features`.
    """
    # Rounded first, so that the half pixel can be added again without a trace.
    own = np.asarray(keypoints, dtype=np.float32)
    centered = own.astype(np.float64) - PIXEL_CENTER.get(origin, 0.0)
    return Features(
        centered.astype(np.float32),
        np.asarray(scores, dtype=np.float32),
        np.asarray(descriptors, dtype=np.float32),
        image_size,
        None if scales is None else np.asarray(scales, dtype=np.float32),
        None if orientations is None else np.asarray(orientations, dtype=np.float32),
        origin,
        None if affine_shapes is None else np.asarray(affine_shapes, dtype=np.float32),
    )


def no_features(
    descriptor_dim: int, image_size: tuple[int, int], with_scales: bool = True
) -> Features:
    """The features of an image that has none."""
    return Features(
        np.zeros((0, 2), np.float32),
        np.zeros(0, np.float32),
        np.zeros((0, descriptor_dim), np.float32),
        image_size,
        np.zeros(0, np.float32) if with_scales else None,
    )
