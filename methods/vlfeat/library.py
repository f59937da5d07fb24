"""VLFeat's covariant detector and SIFT, called in a shared library: the only place that does.

pycolmap's own library exports VLFeat (0.9.20, with two fields and one argument more). No one
promises that it will, so what is loaded must find known blobs before it is used. Otherwise a
system's libvl (0.9.21, such as Debian's libvlfeat1) is taken.
"""

import ctypes
import functools
from ctypes import POINTER, Structure, c_double, c_float, c_int, c_size_t, c_ssize_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.foundation.errors import D2EvalError

FloatArray = npt.NDArray[np.float32]

DOG, HESSIAN = 1, 2  # VlCovDetMethod
SYSTEM_LIBRARIES = ("libvl.so.1", "libvl.so", "libvl.dylib")
MARGIN = 2.0  # scales by which a feature lies inside the image; the toolbox's boundaryMargin
# The toolbox's patch of the SIFT descriptor, in samples and in scales of the feature
RESOLUTION, EXTENT, SMOOTHING = 15, 7.5, 1.0
SIDE = 2 * RESOLUTION + 1
MAGNIFICATION, SPATIAL_BINS = 3.0, 4
SIGMA = EXTENT / (MAGNIFICATION * (SPATIAL_BINS + 1) / 2) / (EXTENT / RESOLUTION)
DIMENSIONS = 128
MIN_SIDE = 16  # pixels: smaller images have no octave 0, which VLFeat takes for granted

FRAME = [(name, np.float32) for name in ("x", "y", "a11", "a12", "a21", "a22")]
SCORES = [(name, np.float32) for name in ("peak", "edge", "orientation", "laplacian")]
PLAIN = np.dtype(FRAME + SCORES)
COLMAPS = np.dtype([*FRAME, ("octave", np.int32), ("level", np.int32), *SCORES])


class _Frame(Structure):
    _fields_ = [(name, c_float) for name, _ in FRAME]


_FLOATS = POINTER(c_float)
# name -> (result, arguments); a detector and a SIFT filter are pointers
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "vl_covdet_new": (c_void_p, (c_int,)),
    "vl_covdet_delete": (None, (c_void_p,)),
    "vl_covdet_set_transposed": (None, (c_void_p, c_int)),
    "vl_covdet_set_first_octave": (None, (c_void_p, c_ssize_t)),
    "vl_covdet_set_peak_threshold": (None, (c_void_p, c_double)),
    "vl_covdet_set_edge_threshold": (None, (c_void_p, c_double)),
    "vl_covdet_put_image": (c_int, (c_void_p, _FLOATS, c_size_t, c_size_t)),
    "vl_covdet_detect": (None, (c_void_p,)),
    "vl_covdet_drop_features_outside": (None, (c_void_p, c_double)),
    "vl_covdet_extract_affine_shape": (None, (c_void_p,)),
    "vl_covdet_extract_orientations": (None, (c_void_p,)),
    "vl_covdet_get_num_features": (c_size_t, (c_void_p,)),
    "vl_covdet_get_features": (c_void_p, (c_void_p,)),
    "vl_covdet_extract_patch_for_frame": (
        c_int,
        (c_void_p, _FLOATS, c_size_t, c_double, c_double, _Frame),
    ),
    "vl_imgradient_polar_f": (
        None,
        (_FLOATS, _FLOATS, c_size_t, c_size_t, _FLOATS, c_size_t, c_size_t, c_size_t),
    ),
    "vl_sift_new": (c_void_p, (c_int,) * 5),
    "vl_sift_delete": (None, (c_void_p,)),
    "vl_sift_calc_raw_descriptor": (
        None,
        (c_void_p, _FLOATS, _FLOATS, c_int, c_int, *(c_double,) * 4),
    ),
}


@dataclass(frozen=True)
class Detection:
    """What is sought.

    Attributes:
        kind: `DOG` or `HESSIAN`.
        peak_threshold: least response, of an image in 0..1.
        edge_threshold: most ratio of principal curvatures of the response.
        first_octave: -1 doubles the image first.
    """

    kind: int
    peak_threshold: float
    edge_threshold: float
    first_octave: int


@dataclass(frozen=True, eq=False)
class Covariant:
    """Features with affine shape and orientation.

    Attributes:
        keypoints: (N, 2) float32 x and y, from the centre of the top-left pixel.
        shapes: (N, 2, 2) float32 that map the unit disc to the feature, less its position; the x
            axis goes to the direction of the dominant gradient.
        peaks: (N,) float32 responses, below 0 for the minima among the extrema.
        descriptors: (N, 128) float32 SIFT, of length 1, or 0 where the image is flat.
    """

    keypoints: FloatArray
    shapes: FloatArray
    peaks: FloatArray
    descriptors: FloatArray


NOTHING = Covariant(
    np.zeros((0, 2), np.float32),
    np.zeros((0, 2, 2), np.float32),
    np.zeros(0, np.float32),
    np.zeros((0, DIMENSIONS), np.float32),
)


def _pointer(array: FloatArray, offset: int = 0) -> Any:
    return ctypes.cast(array.ctypes.data + offset * array.itemsize, _FLOATS)


def _check(status: int) -> None:
    if status:
        raise D2EvalError(f"VLFeat fails with error {status}, as when memory is short; free some")


class VLFeat:
    """The functions of one shared library. Several threads may use it at once."""

    def __init__(self, path: str, feature: np.dtype[Any], limit: tuple[int, ...] = ()) -> None:
        """Loads a library.

        Args:
            path: of the library.
            feature: its VlCovDetFeature, `PLAIN` or `COLMAPS`.
            limit: what its vl_covdet_detect takes beside a detector.

        Raises:
            OSError: no such library.
            AttributeError: it lacks a function.
        """
        self._vl: Any = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._vl, name)
            function.restype, function.argtypes = result, arguments
        self._vl.vl_covdet_detect.argtypes = (c_void_p, *(c_size_t,) * len(limit))
        self._feature, self._limit = feature, limit

    def extract(self, image: FloatArray, detection: Detection) -> Covariant:
        """The features that MATLAB's vl_covdet gives with affine shape and orientation.

        As there, VLFeat sees the image transposed. That decides a few features: beyond the image,
        it fills in rows otherwise than columns.

        Source: VLFeat 0.9.21, toolbox/sift/vl_covdet.c.

        Args:
            image: (H, W) float32 in 0..1.
            detection: what is sought.

        Raises:
            D2EvalError: out of memory.
        """
        if min(image.shape) < MIN_SIDE:
            return NOTHING
        vl, transposed = self._vl, np.ascontiguousarray(image.T, np.float32)
        detector = vl.vl_covdet_new(detection.kind)
        try:
            vl.vl_covdet_set_transposed(detector, 1)
            vl.vl_covdet_set_first_octave(detector, detection.first_octave)
            vl.vl_covdet_set_peak_threshold(detector, detection.peak_threshold)
            vl.vl_covdet_set_edge_threshold(detector, detection.edge_threshold)
            _check(vl.vl_covdet_put_image(detector, _pointer(transposed), *image.shape))
            vl.vl_covdet_detect(detector, *self._limit)
            vl.vl_covdet_drop_features_outside(detector, MARGIN)
            vl.vl_covdet_extract_affine_shape(detector)
            vl.vl_covdet_extract_orientations(detector)
            count = vl.vl_covdet_get_num_features(detector)
            if not count:
                return NOTHING
            address = vl.vl_covdet_get_features(detector)
            data = ctypes.string_at(address, count * self._feature.itemsize)
            found = np.frombuffer(data, self._feature)
            frames = np.stack([found[name] for name, _ in FRAME], axis=1)
            descriptors = self._describe(detector, frames)
        finally:
            vl.vl_covdet_delete(detector)
        y, x, a11, a12, a21, a22 = frames.T
        shapes = np.stack([a22, a21, a12, a11], axis=1).reshape(-1, 2, 2)
        return Covariant(np.stack([x, y], axis=1), shapes, found["peak"].copy(), descriptors)

    def _describe(self, detector: int, frames: FloatArray) -> FloatArray:
        """(N, 128) SIFT of the patches that (N, 6) ``frames`` map to squares."""
        vl = self._vl
        patch = np.empty((SIDE, SIDE), np.float32)
        gradient = np.empty((SIDE, SIDE, 2), np.float32)  # length, angle
        descriptors = np.zeros((len(frames), DIMENSIONS), np.float32)
        to_patch, lengths, angles = _pointer(patch), _pointer(gradient), _pointer(gradient, 1)
        sift = vl.vl_sift_new(SIDE, SIDE, 1, 3, 0)
        try:
            for i, values in enumerate(frames.tolist()):
                frame = _Frame(*values)
                _check(
                    vl.vl_covdet_extract_patch_for_frame(
                        detector, to_patch, RESOLUTION, EXTENT, SMOOTHING, frame
                    )
                )
                vl.vl_imgradient_polar_f(lengths, angles, 2, 2 * SIDE, to_patch, SIDE, SIDE, SIDE)
                row = _pointer(descriptors, DIMENSIONS * i)
                vl.vl_sift_calc_raw_descriptor(
                    sift, lengths, row, SIDE, SIDE, RESOLUTION, RESOLUTION, SIGMA, np.pi / 2
                )
        finally:
            vl.vl_sift_delete(sift)
        # Of the image as it is: bins of y count from the other end, and angles backwards
        bins = descriptors.reshape(-1, SPATIAL_BINS, SPATIAL_BINS, 8)
        turned = bins[:, ::-1, :, -np.arange(8) % 8]
        return np.ascontiguousarray(turned).reshape(-1, DIMENSIONS)


# x, y and standard deviation of a bright and a dark blob, and the size of their image
BLOBS, BLOBS_SIZE = ((20.25, 15.5, 3.0), (44.0, 31.25, 4.0)), (64, 48)


def _finds_blobs(vlfeat: VLFeat) -> bool:
    """Whether two blobs are found where they are, as large as they are."""
    x, y = np.meshgrid(*(np.arange(side) for side in BLOBS_SIZE))
    image = np.full(x.shape, 0.5)
    for sign, (bx, by, sigma) in zip((0.4, -0.4), BLOBS, strict=True):
        image += sign * np.exp(-((x - bx) ** 2 + (y - by) ** 2) / (2 * sigma**2))
    found = vlfeat.extract(image.astype(np.float32), Detection(DOG, 0.02, 10.0, 0))
    if not np.allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-3):
        return False
    scales = np.sqrt(np.abs(np.linalg.det(found.shapes)))
    seen = np.column_stack([found.keypoints, scales])
    return all((np.abs(seen - blob) < (0.5, 0.5, 1.5)).all(axis=1).any() for blob in BLOBS)


@functools.cache
def load() -> VLFeat:
    """VLFeat from pycolmap's library, else from the system's.

    Raises:
        D2EvalError: none of them is fit.
    """
    no_limit = (ctypes.c_size_t(-1).value,)
    tries: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = [
        (pycolmap._core.__file__, COLMAPS, no_limit),
        *((name, PLAIN, ()) for name in SYSTEM_LIBRARIES),
    ]
    for candidate in tries:
        try:
            vlfeat = VLFeat(*candidate)
        except (OSError, AttributeError):
            continue
        if _finds_blobs(vlfeat):
            return vlfeat
    raise D2EvalError(
        "no VLFeat: pycolmap's library lacks it, and the system has no libvl 0.9.21; install "
        "pycolmap 4.2.1, or Debian's libvlfeat1"
    )
