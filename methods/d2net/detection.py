"""Detection and localization on the strongest channel of each cell.

A detection is a local maximum of its channel and the strongest channel of its cell (D2-Net paper,
section 3.1), so the spatial tests need only be made there. Sources of the constants: d2-net
0a3356c, ``lib/model_test.py`` (hard detection and localization modules) and ``lib/utils.py``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from methods.d2net.network import CHANNELS

EDGE_THRESHOLD = 5
MAX_EDGE_RATIO = (EDGE_THRESHOLD + 1) ** 2 / EDGE_THRESHOLD  # of tr^2 / det: 7.2
MAX_STEP = 0.5  # cells; a detection that moves further is dropped, not moved


@dataclass(frozen=True)
class Strip:
    """Rows of a feature map, of which ``[start, stop)`` are to be searched.

    The others lie beside them so that 3x3 neighbourhoods are whole.

    Attributes:
        features: (rows, w, 512) float32, contiguous.
        first: the map row of ``features[0]``.
        start, stop: map rows to be searched.
        height: rows of the whole map.
    """

    features: torch.Tensor
    first: int
    start: int
    stop: int
    height: int


def strips(feature_rows: Iterable[torch.Tensor], height: int) -> Iterator[Strip]:
    """Adds to each strip of a feature map the neighbouring rows that its search needs.

    Args:
        feature_rows: (rows, w, 512) from top to bottom.
        height: rows of the whole map.
    """
    first = start = 0
    held: torch.Tensor | None = None
    for new in feature_rows:
        held = new if held is None else torch.cat([held, new])
        end = first + len(held)
        stop = height if end == height else end - 1
        if stop > start:
            yield Strip(held, first, start, stop, height)
            held = held[max(stop - 1, 0) - first :].clone()
            first, start = max(stop - 1, 0), stop


@dataclass(frozen=True)
class Detections:
    """Detections of one strip, before the sub-cell tests.

    Attributes:
        channel, row, column: (N,) int64, rows in the whole map.
        score: (N,) float32, activation at the cell.
        step: (N, 2) float32, refinement (rows, columns) in cells.
    """

    channel: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    score: torch.Tensor
    step: torch.Tensor

    def select(self, mask: torch.Tensor) -> "Detections":
        """Those where ``mask`` (N,) is True."""
        return Detections(
            self.channel[mask], self.row[mask], self.column[mask], self.score[mask], self.step[mask]
        )


def _strongest(strip: Strip) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(row in the strip, column, channel) wherever a channel equals its cell's maximum.

    Channels that tie for the maximum all pass, as in the authors' comparison. All-zero cells are
    left out: their neighbourhood in a ReLU's output can't curve downwards, so nothing is lost.
    """
    core = strip.features[strip.start - strip.first : strip.stop - strip.first]
    best, channel = core.max(dim=2)
    rows, columns = torch.nonzero(best != 0, as_tuple=True)
    channels = channel[rows, columns]
    # A second maximum without the first: much cheaper than comparing every channel with it.
    core.scatter_(2, channel[..., None], -torch.inf)
    ties = core.amax(dim=2) == best
    core.scatter_(2, channel[..., None], best[..., None])
    tied_rows, tied_columns = torch.nonzero(ties & (best != 0), as_tuple=True)
    if len(tied_rows):
        equal = core[tied_rows, tied_columns] == best[tied_rows, tied_columns, None]
        cell, channel_of_tie = torch.nonzero(equal, as_tuple=True)
        single = ~ties[rows, columns]
        rows = torch.cat([rows[single], tied_rows[cell]])
        columns = torch.cat([columns[single], tied_columns[cell]])
        channels = torch.cat([channels[single], channel_of_tie])
    return rows + (strip.start - strip.first), columns, channels


def detect(strip: Strip) -> Detections:
    """Hard detection (three tests) and the step of the localization, for the strip's own rows.

    The tests: the channel is the strongest of its cell; it is the maximum of its 3x3 neighbourhood
    (ties pass); the Hessian has det > 0 and tr^2 / det <= 7.2. Derivatives are taken with zero
    padding. The step is -H^-1 g in the same channel.
    """
    features = strip.features
    height, width = features.shape[:2]
    row, column, channel = _strongest(strip)
    flat = features.reshape(-1)
    centre = flat[(row * width + column) * CHANNELS + channel]

    neighbours: dict[tuple[int, int], torch.Tensor] = {(0, 0): centre}
    is_maximum = torch.ones_like(centre, dtype=torch.bool)
    for oi in (-1, 0, 1):
        for oj in (-1, 0, 1):
            if oi == oj == 0:
                continue
            i, j = row + oi, column + oj
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            index = (i.clamp(0, height - 1) * width + j.clamp(0, width - 1)) * CHANNELS + channel
            value = flat[index]
            is_maximum &= ~inside | (value <= centre)
            neighbours[oi, oj] = value * inside
    n = {offset: value[is_maximum] for offset, value in neighbours.items()}
    row, column, channel = row[is_maximum], column[is_maximum], channel[is_maximum]

    dii = n[-1, 0] - 2 * n[0, 0] + n[1, 0]
    djj = n[0, -1] - 2 * n[0, 0] + n[0, 1]
    dij = 0.25 * (n[-1, -1] - n[-1, 1] - n[1, -1] + n[1, 1])
    det = dii * djj - dij * dij
    trace = dii + djj
    not_edge = (det > 0) & (trace * trace / det <= MAX_EDGE_RATIO)

    di = 0.5 * (n[1, 0] - n[-1, 0])
    dj = 0.5 * (n[0, 1] - n[0, -1])
    step_i = -(djj / det * di - dij / det * dj)
    step_j = -(-dij / det * di + dii / det * dj)
    found = Detections(
        channel, row + strip.first, column, n[0, 0], torch.stack([step_i, step_j], dim=1)
    )
    return found.select(not_edge)


def localize(found: Detections, strip: Strip) -> tuple[Detections, torch.Tensor, torch.Tensor]:
    """Keeps the detections whose refined position is valid and samples their descriptors.

    A detection is dropped if it moves by half a cell or more in either direction, or if one of the
    four cells around its refined position lies outside the map. The descriptor is the bilinear
    mean of those cells, L2-normalised afterwards.

    Returns:
        The detections kept, their refined positions (N, 2) in cells (row, column), and their
        descriptors (N, 512).
    """
    found = found.select((found.step.abs() < MAX_STEP).all(dim=1))
    position = torch.stack([found.row, found.column], dim=1).float() + found.step
    low, high = position.floor().long(), position.ceil().long()
    width = strip.features.shape[1]
    size = torch.tensor([strip.height, width], device=position.device)
    inside = ((low >= 0) & (high < size)).all(dim=1)
    found, position = found.select(inside), position[inside]
    low, high = low[inside], high[inside]

    weight = position - low
    descriptors = torch.zeros(len(position), CHANNELS, device=position.device)
    for i, wi in ((low[:, 0], 1 - weight[:, 0]), (high[:, 0], weight[:, 0])):
        for j, wj in ((low[:, 1], 1 - weight[:, 1]), (high[:, 1], weight[:, 1])):
            descriptors += (wi * wj)[:, None] * strip.features[i - strip.first, j]
    return found, position, functional.normalize(descriptors, dim=1)
