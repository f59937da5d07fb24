"""Which features of an image are beyond doubt, and which hang on the last bits of a sum.

Two correct implementations add the same products in another order, so their activations differ by
a few units in the last place and a test that is nearly a tie may come out either way. `limits`
follows such an error through every test of the reference: a *certain* feature passes whatever the
errors are, a *possible* one passes for some. Every correct implementation gives all the certain
features and only possible ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import d2net_reference as reference
import numpy as np
import torch

from d2eval.contracts.features import Features

# Largest error of an activation, in parts of the map's greatest. Seen: 1.5e-6 for plain sums of
# thousands of products, 4e-6 for Winograd's algorithm.
ACTIVATION_ERROR = 1e-5
CLOSE_PX = 1e-3
CLOSE_DESCRIPTOR = 2e-5


@dataclass
class Limits:
    """What is known of one level; maps are (512, h, w).

    Attributes:
        level: of the reference.
        error: largest error of an activation.
        certain: features that must be there.
        possible: features that may be there.
        step_error: largest error of the localization's step, in cells.
    """

    level: reference.Level
    error: float
    certain: torch.Tensor
    possible: torch.Tensor
    step_error: torch.Tensor


def _second_strongest(features: torch.Tensor) -> torch.Tensor:
    """For every channel of every cell, the strongest of the other channels."""
    first, second = features.topk(2, dim=0).values
    return torch.where(features == first, second, first)


def _strongest_neighbour(features: torch.Tensor) -> torch.Tensor:
    """The greatest of the eight neighbours in the same channel."""
    height, width = features.shape[1:]
    padded = torch.nn.functional.pad(features, (1, 1, 1, 1), value=-torch.inf)
    shifted = [
        padded[:, i : i + height, j : j + width]
        for i in range(3)
        for j in range(3)
        if (i, j) != (1, 1)
    ]
    return torch.stack(shifted).amax(dim=0)


def _tests(features: torch.Tensor, error: float) -> tuple[torch.Tensor, ...]:
    """Bounds of the detection, of the sub-cell tests and of the step, before banning."""
    e = error
    f = features.double()
    d_i, d_j = reference.derivative(f, reference.D_I), reference.derivative(f, reference.D_J)
    d_ii, d_jj = reference.derivative(f, reference.D_II), reference.derivative(f, reference.D_JJ)
    d_ij = reference.derivative(f, reference.D_IJ)
    # An error e of every activation gives 4 e in d_ii and d_jj, e in d_ij, d_i and d_j.
    det, trace = d_ii * d_jj - d_ij**2, d_ii + d_jj
    det_error = 4 * e * (d_ii.abs() + d_jj.abs()) + 2 * e * d_ij.abs() + 17 * e**2
    edge = reference.EDGE_RATIO * det - trace**2
    edge_error = reference.EDGE_RATIO * det_error + 16 * e * trace.abs() + 64 * e**2
    # step = upper / det
    upper = torch.stack([-(d_jj * d_i - d_ij * d_j), -(d_ii * d_j - d_ij * d_i)])
    cross = e * (d_ij.abs() + 5 * e)
    upper_error = torch.stack(
        [
            e * d_jj.abs() + 4 * e * d_i.abs() + e * d_j.abs() + cross,
            e * d_ii.abs() + 4 * e * d_j.abs() + e * d_i.abs() + cross,
        ]
    )

    height, width = f.shape[1:]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]

    def passes(sign: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Detected, kept: with every error against (-1) or in favour (+1) of the feature."""
        others = torch.maximum(_second_strongest(f), _strongest_neighbour(f))
        detected = f - others + sign * 2 * e >= 0
        detected &= (det + sign * det_error > 0) & (edge + sign * edge_error >= 0)
        room = 0.5 * (det + sign * det_error) - upper.abs() + sign * upper_error
        kept = (room > 0).all(dim=0)
        # Outwards from the first and the last cells there is nothing to interpolate with.
        inwards = upper + sign * upper_error, -upper + sign * upper_error
        kept &= (rows > 0) | (inwards[0][0] >= 0)
        kept &= (columns > 0) | (inwards[0][1] >= 0)
        kept &= (rows < height - 1) | (inwards[1][0] >= 0)
        kept &= (columns < width - 1) | (inwards[1][1] >= 0)
        return detected, kept

    certainly_detected, certainly_kept = passes(-1)
    possibly_detected, possibly_kept = passes(+1)
    # A step that is kept is below 0.5.
    step_error = (upper_error.amax(dim=0) + 0.5 * det_error) / (det - det_error).clamp(min=1e-300)
    return (
        certainly_detected, certainly_kept, possibly_detected, possibly_kept,
        step_error.clamp(max=1),
    )  # fmt: skip


@torch.inference_mode()
def limits(
    pyramid: Sequence[reference.Level], activation_error: float = ACTIVATION_ERROR
) -> list[Limits]:
    """What is certain and possible at each level; a doubt at one is a doubt at the next."""
    found: list[Limits] = []
    certain_ban = possible_ban = None
    total_error = 0.0
    for level in pyramid:
        size = level.features.shape[1:]
        total_error += activation_error * float(level.features.abs().max())
        certainly, certainly_kept, possibly, possibly_kept, step_error = _tests(
            level.features, total_error
        )
        if certain_ban is None or possible_ban is None:
            certain_ban = possible_ban = torch.zeros(size, dtype=torch.bool)
        certain_ban = reference.ban(certain_ban, size)
        possible_ban = reference.ban(possible_ban, size)
        certainly, possibly = certainly & ~possible_ban, possibly & ~certain_ban
        certain_ban = certain_ban | certainly.any(dim=0)
        possible_ban = possible_ban | possibly.any(dim=0)
        certain, possible = certainly & certainly_kept, possibly & possibly_kept
        found.append(Limits(level, total_error, certain, possible, step_error))
    return found


@dataclass
class Comparison:
    """How features agree with the reference's.

    Attributes:
        pairs: (M, 2) indices of equal features: ours, the reference's.
        lost: indices of the reference's features that are missing.
        extra: indices of ours that the reference does not have.
        far: indices (of ours) of equal features beyond `CLOSE_PX` or `CLOSE_DESCRIPTOR`.
    """

    pairs: np.ndarray
    lost: np.ndarray
    extra: np.ndarray
    far: np.ndarray


def compare(
    found: Features,
    expected: reference.ReferenceFeatures,
    doubts: Sequence[Limits],
    to_image: tuple[float, float] = (1, 1),
) -> Comparison:
    """Pairs up the features and asserts that whatever differs is borderline.

    Args:
        found: of the package.
        expected: of the reference.
        doubts: `limits` of the same image.
        to_image: as `reference.extract_levels`.
    """
    assert found.scales is not None
    by_index = {doubt.level.index: doubt for doubt in doubts}
    pairs = []
    used = np.zeros(len(found), bool)
    for theirs, (index, channel, row, column) in enumerate(expected.cells):
        doubt = by_index[index]
        step_error = float(doubt.step_error[channel, row, column])
        px = max(4 * step_error * max(doubt.level.to_input) * max(to_image), CLOSE_PX)
        near = ~used & (found.scales == expected.scales[theirs])
        near &= (np.abs(found.keypoints - expected.keypoints[theirs]) <= px).all(axis=1)
        near &= np.abs(found.scores - expected.scores[theirs]) <= doubt.error / (index + 1)
        tolerance = max(2 * step_error, CLOSE_DESCRIPTOR)
        difference = np.abs(found.descriptors - expected.descriptors[theirs])
        near &= (difference <= tolerance).all(axis=1)
        if near.any():
            ours = int(near.argmax())
            used[ours] = True
            pairs.append((ours, theirs))
    paired = np.array(pairs, np.int64).reshape(-1, 2)
    assert (np.diff(paired[:, 0]) > 0).all(), "another order than level, channel, row, column"

    lost = np.setdiff1d(np.arange(len(expected.cells)), paired[:, 1])
    for index, channel, row, column in expected.cells[lost]:
        doubt = by_index[index]
        assert not doubt.certain[channel, row, column], (
            f"lost, and not borderline: level {index}, channel {channel}, ({row}, {column})"
        )
    extra = np.flatnonzero(~used)
    for ours in extra:
        _assert_possible(found, int(ours), doubts, to_image)
    ours, theirs = paired.T
    far = np.abs(found.keypoints[ours] - expected.keypoints[theirs]).max(axis=1, initial=0)
    far_descriptor = np.abs(found.descriptors[ours] - expected.descriptors[theirs])
    beyond = (far > CLOSE_PX) | (far_descriptor.max(axis=1, initial=0) > CLOSE_DESCRIPTOR)
    return Comparison(paired, lost, extra, ours[beyond])


def _assert_possible(
    found: Features, ours: int, doubts: Sequence[Limits], to_image: tuple[float, float]
) -> None:
    assert found.scales is not None
    x, y = found.keypoints[ours]
    for doubt in doubts:
        if found.scales[ours] != np.float32(1 / doubt.level.scale):
            continue
        height, width = doubt.possible.shape[1:]
        i = round((y / doubt.level.to_input[0] / to_image[0] - 1.5) / 4)
        j = round((x / doubt.level.to_input[1] / to_image[1] - 1.5) / 4)
        for row in range(max(i - 1, 0), min(i + 2, height)):
            for column in range(max(j - 1, 0), min(j + 2, width)):
                scores = doubt.level.features[:, row, column] / (doubt.level.index + 1)
                same = (scores - float(found.scores[ours])).abs() <= doubt.error
                if (same & doubt.possible[:, row, column] & ~doubt.certain[:, row, column]).any():
                    return
    raise AssertionError(f"extra, and not borderline: ({x:.3f}, {y:.3f})")


def assert_same(
    found: Features,
    expected: reference.ReferenceFeatures,
    doubts: Sequence[Limits],
    to_image: tuple[float, float] = (1, 1),
) -> Comparison:
    """`compare`, and at most one feature in a thousand (or one in all) differs."""
    result = compare(found, expected, doubts, to_image)
    allowed = max(len(expected.cells) // 1000, 1)
    differing = len(result.lost) + len(result.extra) + len(result.far)
    assert differing <= allowed, f"{differing} of {len(expected.cells)} features differ"
    return result
