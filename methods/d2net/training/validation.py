"""Validation's matching: what the weights give when they extract, on photos not trained on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from d2eval.contracts.matching import mutual_nearest_neighbors
from d2eval.foundation.images.decoding import RgbImage, read_image
from d2eval.metrics.matching import match_errors, mean_matching_accuracy
from methods.d2net.memory import choose_strips
from methods.d2net.method import D2Config
from methods.d2net.network import D2Network
from methods.d2net.pyramid import RawFeatures, extract_pyramid, resize_to_limits
from methods.d2net.training.data.homographies import take_picture, view_homography
from methods.d2net.training.data.lighting import relight
from methods.d2net.training.data.pairs import FloatArray
from methods.vgg16.preprocessing import preprocess

SEED = 42  # of the views and lights, the same in every training
THRESHOLDS = (1, 3, 5, 10)  # pixels
TILT_DEG = 45.0
ROLL_DEG = 15.0


@dataclass(frozen=True, eq=False)
class ValidationPair:
    """A photo and another view or light of it.

    Attributes:
        image_1, image_2: (H, W, 3) uint8 RGB.
        homography: from pixels of image 1 to pixels of image 2.
    """

    image_1: RgbImage
    image_2: RgbImage
    homography: FloatArray


@dataclass(frozen=True)
class Matching:
    """Means over validation pairs.

    Attributes:
        mma: share of matches within 1, 3, 5, 10 pixels.
        features: of an image.
        matches: of a pair.
    """

    mma: tuple[float, ...]
    features: float
    matches: float


def validation_pairs(photos: list[Path]) -> list[ValidationPair]:
    """Two pairs of each photo: another viewpoint, and another light at the same viewpoint.

    Photos that an extraction would shrink are shrunk.

    Raises:
        D2EvalError: a photo can't be read.
    """
    pairs = []
    for number, path in enumerate(photos):
        photo = resize_to_limits(read_image(path), D2Config.max_edge, D2Config.max_sum_edges)
        size = (photo.shape[1], photo.shape[0])
        rng = np.random.default_rng([SEED, number])
        view = view_homography(
            ((size[0] - 1) / 2, (size[1] - 1) / 2),
            size[0] * rng.uniform(0.5, 1.0),
            size,
            tilt=np.deg2rad(rng.uniform(0, TILT_DEG)),
            azimuth=rng.uniform(0, 2 * np.pi),
            roll=np.deg2rad(rng.normal(0, ROLL_DEG)),
        )
        pairs.append(ValidationPair(photo, take_picture(photo, view, size), view))
        pairs.append(ValidationPair(photo, relight(photo, rng), np.eye(3)))
    return pairs


def measure_matching(
    weights: Mapping[str, torch.Tensor],
    pairs: list[ValidationPair],
    preprocessing: str,
    device: str,
    memory_limit: int | None,
) -> Matching:
    """Extracts at a single scale with the test-time network, matches, and compares with the truth.

    A match's error is measured in image 2 as on HPatches; a pair without matches counts as zero.
    Without pairs all is NaN.
    """
    if not pairs:
        return Matching((math.nan,) * len(THRESHOLDS), math.nan, math.nan)
    network = D2Network(weights, device=device)

    def extract(image: RgbImage) -> RawFeatures:
        pixels = torch.from_numpy(preprocess(image, preprocessing)).to(network.device)
        strips = choose_strips(image.shape[:2], (1,), network.device, memory_limit)
        return extract_pyramid(network, pixels, (1,), strips)

    accuracies, counts, matched = [], [], []
    for pair in pairs:
        first, second = extract(pair.image_1), extract(pair.image_2)
        counts += [len(first.keypoints), len(second.keypoints)]
        matches = mutual_nearest_neighbors(
            first.descriptors.cpu().numpy(), second.descriptors.cpu().numpy(), device
        )
        errors = match_errors(
            first.keypoints.cpu().numpy()[matches[:, 0]],
            second.keypoints.cpu().numpy()[matches[:, 1]],
            pair.homography,
        )
        accuracies.append([mean_matching_accuracy(errors, t) for t in THRESHOLDS])
        matched.append(len(matches))
    mma = tuple(float(share) for share in np.mean(accuracies, axis=0))
    return Matching(mma, float(np.mean(counts)), float(np.mean(matched)))
