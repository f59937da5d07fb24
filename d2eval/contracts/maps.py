"""The contract of a network that gives dense maps and a global descriptor, and its registry.

InLoc matches two grids of descriptors of an image, coarse to fine, instead of keypoints, and finds
candidates by one descriptor of the whole image. Registered in the table ``[maps]`` of
``methods/registry.toml``.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import NORM_TOLERANCE
from d2eval.contracts.method import Adapter
from d2eval.contracts.registry import MAPS, find_class
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]


class InvalidMapsError(D2EvalError):
    """A network gave maps that break the contract."""


@dataclass(frozen=True, eq=False)
class Maps:
    """Dense descriptors of one image on two grids, checked on construction.

    Attributes:
        coarse: (h, w, C) float32, L2-normalised or zero.
        fine: (H, W, D) float32, L2-normalised or zero.
        coarse_stride: pixels of the network's input between coarse cells.
        fine_stride: pixels of the network's input between fine cells.
        fine_offset: pixels of the network's input from the centre of its top-left pixel to the
            centre of the top-left fine cell, the same in x and y.
        network_size: (width, height) of the network's input.
        image_size: (width, height) of the original image.

    Raises:
        InvalidMapsError: maps that aren't three-dimensional, values that aren't finite,
            descriptors that aren't L2-normalised.
    """

    coarse: Float32Array
    fine: Float32Array
    coarse_stride: int
    fine_stride: int
    fine_offset: float
    network_size: tuple[int, int]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        for name in ("coarse", "fine"):
            array = np.ascontiguousarray(getattr(self, name), np.float32)
            if array.ndim != 3:
                raise InvalidMapsError(f"the {name} map is {array.shape}, not (rows, columns, D)")
            norms = np.linalg.norm(array, axis=2)
            if not np.isfinite(norms).all():
                raise InvalidMapsError(f"the {name} map holds NaN or infinite values")
            if ((np.abs(norms - 1) > NORM_TOLERANCE) & (norms != 0)).any():
                raise InvalidMapsError(f"descriptors of the {name} map are not L2-normalised")
            object.__setattr__(self, name, array)

    def fine_points(self, cells: npt.NDArray[np.integer]) -> FloatArray:
        """Where fine cells lie in the original image.

        Args:
            cells: (N,) indices, row * W + column.

        Returns:
            (N, 2) pixels, x and y, origin at the centre of the top-left pixel.
        """
        rows, columns = np.divmod(cells, self.fine.shape[1])
        seen = self.fine_stride * np.stack([columns, rows], axis=1) + self.fine_offset
        # Sizes are from border to border, half a pixel beyond the outer centres.
        return (seen + 0.5) * (np.array(self.image_size) / np.array(self.network_size)) - 0.5


def stored_bytes(maps: Maps) -> int:
    """Bytes of both maps, what the paper's table of memory counts for Dense PE."""
    return maps.coarse.nbytes + maps.fine.nbytes


class MapsMethod(Adapter):
    """Dense maps and global descriptors: subclass it and register the class by name.

    Attributes:
        centered: whether global descriptors tell images apart only once the database's mean is
            subtracted, as plain pooling needs it.
    """

    table = MAPS
    centered: bool = False

    @abstractmethod
    def maps(self, image: RgbImage) -> Maps:
        """Maps of ``image``, (H, W, 3) uint8 RGB; without cells if it is too small for one."""

    @abstractmethod
    def global_descriptor(self, image: RgbImage) -> Float32Array:
        """(D,) float32, L2-normalised; of two images, the dot product says how alike they are.

        Raises:
            D2EvalError: the image is too small for a single cell.
        """


def maps_class(name: str) -> type[MapsMethod]:
    """The class registered as ``name``, or named directly as "module:Class".

    Raises:
        D2EvalError: no such network (the nearest names are suggested), or it can't be imported.
    """
    # The base is abstract, which only matters to who builds one.
    return find_class(name, MAPS, MapsMethod, "dense maps")  # type: ignore[type-abstract]
