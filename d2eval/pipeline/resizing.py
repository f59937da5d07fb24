"""Features of resized images, in pixels of the images as they are."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from d2eval.contracts.features import Features
from d2eval.contracts.image_matcher import ImageMatcher, ImageMatches
from d2eval.contracts.method import Method
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.terminal.console import note
from d2eval.pipeline.extraction import FeatureSource, MethodSource

Points = npt.NDArray[np.float32]
NONE, LONG, SHORT, BOTH = "none", "long", "short", "both"


@dataclass(frozen=True)
class Resize:
    """To which size an image is brought before its features are extracted.

    Attributes:
        side: which side gets ``size_px``: "long", "short", "both", or "none": nothing is resized.
        size_px: one number; of "both" width and height.
        rounding: of the other side, "down" or "nearest".
        multiple: each side is cut down to a multiple of this many pixels, by resizing.
        padding: "square" adds black on the right or below; features there are dropped.
        interpolation: "linear" is OpenCV's, which aliases; "antialias" Pillow's.
    """

    side: str
    size_px: list
    rounding: str
    multiple: int
    padding: str
    interpolation: str

    def __post_init__(self) -> None:
        for name, choices in {
            "side": (NONE, LONG, SHORT, BOTH), "rounding": ("down", "nearest"),
            "padding": (NONE, "square"), "interpolation": ("linear", "antialias"),
        }.items():  # fmt: skip
            if getattr(self, name) not in choices:
                raise D2EvalError(
                    f"{name} = {getattr(self, name)!r}; choose from {', '.join(choices)}"
                )
        count = {NONE: 0, BOTH: 2}.get(self.side, 1)
        sizes = self.size_px
        if len(sizes) != count or not all(isinstance(s, int) and s > 0 for s in sizes):
            raise D2EvalError(f"size_px = {sizes}: side = {self.side!r} needs {count} numbers")
        if self.multiple < 1 or any(size < self.multiple for size in sizes):
            raise D2EvalError(f"multiple = {self.multiple} must be 1 to size_px")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The width and height of a resized image, without padding."""
        sides: tuple[int, ...] = width, height
        if self.side == BOTH:
            sides = self.size_px[0], self.size_px[1]
        elif self.side != NONE:
            whole = max(sides) if self.side == LONG else min(sides)
            more = whole // 2 if self.rounding == "nearest" else 0
            # Whole numbers, so that the side that was asked for comes out exactly.
            sides = tuple((side * self.size_px[0] + more) // whole for side in (width, height))
        cut = [max(side // self.multiple * self.multiple, self.multiple) for side in sides]
        return cut[0], cut[1]

    def factors(self, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """(2,) by which x and y shrink in an image of (width, height)."""
        return np.array(self.size(*size)) / np.array(size)

    def inside(self, points: Points, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Which points of a resized image, once of (width, height), don't lie in its padding."""
        width, height = self.size(*size)
        return (points[:, 0] <= width - 0.5) & (points[:, 1] <= height - 0.5)

    def restored(self, points: Points, size: tuple[int, int]) -> Points:
        """Points of a resized image in pixels of what it was, of (width, height).

        What lies in its upper left corner does so before and after.
        """
        found = (points.astype(np.float64) + 0.5) / self.factors(size) - 0.5
        return np.clip(found.astype(np.float32), -0.5, np.array(size) - 0.5).astype(np.float32)

    def apply(self, image: RgbImage) -> RgbImage:
        """The resized and padded image."""
        size = self.size(image.shape[1], image.shape[0])
        resized: Any
        if size != (image.shape[1], image.shape[0]):
            if self.interpolation == "linear":
                resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            else:
                resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
            image = np.asarray(resized, np.uint8)
        if self.padding == "square":
            right, below = (max(size) - side for side in size)
            image = np.pad(image, ((0, below), (0, right), (0, 0)))
        return np.ascontiguousarray(image)


class ResizedMethod(Method):
    """A method that sees resized images."""

    description = "another method on resized images"

    def __init__(self, method: Method, resize: Resize) -> None:
        """Takes both."""
        self.method, self.resize = method, resize

    @property
    def descriptor_dim(self) -> int:  # type: ignore[override]
        """The method's."""
        return self.method.descriptor_dim

    def extract(self, image: RgbImage) -> Features:
        """The features of the resized image, in pixels of ``image``."""
        found = self.method.extract(self.resize.apply(image))
        original = image.shape[1], image.shape[0]
        inside = self.resize.inside(found.keypoints, original)
        by = 1 / self.resize.factors(original)

        def kept(values: Any, factor: Any) -> Any:
            return None if values is None else values[inside] * np.float32(factor)

        return Features(
            self.resize.restored(found.keypoints[inside], original),
            found.scores[inside],
            found.descriptors[inside],
            original,
            kept(found.scales, np.sqrt(by.prod())),
            None if found.orientations is None else found.orientations[inside],
            found.origin,
            kept(found.affine_shapes, by[:, None]),
        )


class ResizedImages(ImageMatcher):
    """A matcher of images that sees resized ones."""

    description = "another matcher of images on resized ones"

    def __init__(self, method: ImageMatcher, resize: Resize) -> None:
        """Takes both."""
        self.method, self.resize = method, resize

    def match_images(self, first: RgbImage, second: RgbImage) -> ImageMatches:
        """The matches of the resized images, in pixels of both as they are."""
        found = self.method.match_images(self.resize.apply(first), self.resize.apply(second))
        sizes = [(image.shape[1], image.shape[0]) for image in (first, second)]
        sides = list(zip((found.first, found.second), sizes, strict=True))
        kept = np.logical_and(*(self.resize.inside(points, size) for points, size in sides))
        one, other = (self.resize.restored(points[kept], size) for points, size in sides)
        return ImageMatches(one, other, found.scores[kept])


def resized(source: FeatureSource, resize: Resize) -> FeatureSource:
    """The features of resized images; those from files or another program are as they are."""
    if resize.side == NONE and resize.multiple == 1 and resize.padding == NONE:
        return source
    if not isinstance(source, MethodSource):
        note(f"{source.label}: images were not resized here; make its features of resized ones")
        return source
    identity = replace(
        source.identity, config={**source.identity.config, "resized": asdict(resize)}
    )
    method: Method = ResizedMethod(source.method, resize)
    if isinstance(source.method, ImageMatcher):
        method = ResizedImages(source.method, resize)
    return replace(source, method=method, identity=identity)
