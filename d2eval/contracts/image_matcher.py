"""The contract of a matcher of images: it finds points in two images at once, without features."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from d2eval.contracts.features import Features, Float32Array, InvalidFeaturesError, make_features
from d2eval.contracts.method import Method
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage


@dataclass(frozen=True, eq=False)
class ImageMatches:
    """Points of two images, match by match.

    Attributes:
        first: (M, 2) float32 x, y in pixels of the first image, from the centre of its top-left
            pixel.
        second: (M, 2) likewise of the second.
        scores: (M,) float32, higher is better.
    """

    first: Float32Array
    second: Float32Array
    scores: Float32Array


class ImageMatcher(Method):
    """A dense or semi-dense matcher: subclass it in one file and register the class as a method.

    Benchmarks of image pairs take it as a ``--method``; no matcher follows.
    """

    @abstractmethod
    def match_images(self, first: RgbImage, second: RgbImage) -> ImageMatches:
        """Matches of two images, each (H, W, 3) uint8 RGB.

        The same images give the same matches, whatever was matched before.
        """

    def extract(self, image: RgbImage) -> NoReturn:
        """Refuses: one image has no features.

        Raises:
            D2EvalError: always.
        """
        raise no_features_of_one(type(self).__name__)


def no_features_of_one(name: str) -> D2EvalError:
    """What to tell somebody who wants features of a matcher of images."""
    return D2EvalError(
        f"{name} matches two images at once and has no features of one: only benchmarks of image "
        "pairs take it (twoview, homography, hpatches)"
    )


def points_of_images(
    matcher: ImageMatcher, first: RgbImage, second: RgbImage
) -> tuple[Features, Features]:
    """What ``matcher`` gives, checked: points of both images, match by match, as features.

    Raises:
        InvalidFeaturesError: it breaks the contract.
    """
    found = matcher.match_images(first, second)
    if len({len(found.first), len(found.second), len(found.scores)}) > 1:
        raise InvalidFeaturesError(
            f"{len(found.first)} points, {len(found.second)} and {len(found.scores)} scores"
        )
    sides = []
    for points, image in ((found.first, first), (found.second, second)):
        same = np.ones((len(points), 1), np.float32)  # points have no descriptors
        size = image.shape[1], image.shape[0]
        sides.append(make_features(points, found.scores, same, size, scales=None))
    return sides[0], sides[1]
