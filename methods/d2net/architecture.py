"""D2-Net's architecture as data, read off the network and the detection as they are defined."""

from collections.abc import Sequence

from d2eval.contracts.architecture import Architecture, Level, Step
from methods.d2net.detection import MAX_EDGE_RATIO, MAX_STEP
from methods.d2net.network import CHANNELS, layers


def architecture(
    image_size: tuple[int, int], input_size: tuple[int, int], scales: Sequence[float], relu: bool
) -> Architecture:
    """D2-Net on an image.

    Args:
        image_size: (width, height) of the image.
        input_size: those after the limits on its edges.
        scales: of the pyramid.
        relu: whether a ReLU follows the last convolution.
    """
    width, height = input_size
    # As `methods.d2net.pyramid.LevelImage` cuts them to whole pixels.
    levels = tuple(Level(scale, (int(width * scale), int(height * scale))) for scale in scales)
    fusion = "each map + the sum of the coarser ones, resized to it" if len(scales) > 1 else ""
    return Architecture(
        "D2-Net", image_size, input_size, layers(relu), levels, fusion, _steps(len(scales) > 1)
    )


def _steps(multiscale: bool) -> tuple[Step, ...]:
    masked = Step(
        "detection", "Coarse to fine", "not under a coarser detection",
        "Drops a detection whose cell lies under one that a coarser level detected.",
    )  # fmt: skip
    return (
        Step(
            "detection", "Hard detection, channel", "k = argmax of the cell's channels",
            "Keeps, in each cell, the channel that is the strongest of all.",
        ),
        Step(
            "detection", "Hard detection, place", "maximum of 3x3 cells in channel k",
            "Keeps a cell that is the maximum of its 3x3 neighbourhood in that channel.",
        ),
        Step(
            "detection", "Edge test", f"det H > 0, tr²H / det H ≤ {MAX_EDGE_RATIO:g}",
            "Drops edges by the ratio of the curvatures of channel k (Hessian H from finite "
            "differences).",
        ),
        *([masked] if multiscale else []),
        Step(
            "detection", "Refinement", f"step -H⁻¹∇, each |step| < {MAX_STEP:g} cell",
            f"Moves a detection to the extremum of a quadratic fit; drops it if that is "
            f"{MAX_STEP:g} cells or more away in x or y, or outside the map.",
        ),
        Step(
            "description", "Interpolation", f"bilinear, {CHANNELS} channels at the keypoint",
            "Samples all channels of the map at the refined position.",
        ),
        Step(
            "description", "Normalisation", "to unit L2 norm",
            "Divides the descriptor by its L2 norm.",
        ),
    )  # fmt: skip
