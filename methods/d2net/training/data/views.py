"""What can be set of the views that training pairs from plain photos are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Views:
    """How photos are seen, and how far the two cameras of a pair differ.

    Attributes:
        per_photo: how often an epoch shows each photo.
        light: strength of the photometric changes (`random_lighting`); 0: none.
        width: photo pixels across the first crop, as shares of the photo's shorter side.
        zoom: the second crop's width is the first's times 2^uniform(-zoom, zoom).
        tilt_deg: largest angle between the second camera's axis and the plane's normal.
        roll_deg: standard deviation of the second camera's turn about its axis.
        shift: largest distance between the crops' centres, in widths of the first crop.
        visible: least share of the second crop that shows the photo.
    """

    per_photo: int = 1
    light: float = 1.0
    width: tuple[float, float] = (0.5, 1.0)
    zoom: float = 0.3
    tilt_deg: float = 25.0
    roll_deg: float = 4.0
    shift: float = 0.25
    visible: float = 0.6
