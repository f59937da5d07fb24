import numpy as np
import pytest
from PIL import Image

from d2eval.inloc.verification.imresize import shrink


def kernel(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def shrink_line(values, factor: int) -> list[int]:
    """One pixel after the other; a mirror stands at both ends."""
    n, shrunk = len(values), []
    for out in range(-(-n // factor)):
        middle = (out + 0.5) * factor - 0.5
        total = weight = 0.0
        for i in range(int(middle - 2 * factor) - 1, int(middle + 2 * factor) + 3):
            inside = i
            while not 0 <= inside < n:
                inside = -1 - inside if inside < 0 else 2 * n - 1 - inside
            w = kernel((middle - i) / factor)
            total, weight = total + w * float(values[inside]), weight + w
        shrunk.append(min(255, max(0, int(np.floor(total / weight + 0.5)))))
    return shrunk


@pytest.mark.parametrize(
    ("size", "factor"), [((16, 24), 8), ((13, 21), 8), ((9, 5), 2), ((3, 4), 8)]
)
def test_equals_a_loop_over_columns_then_rows(size, factor):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    planes = []
    for c in range(3):
        down = np.array([shrink_line(column, factor) for column in image[..., c].T]).T
        planes.append([shrink_line(row, factor) for row in down])
    expected = np.moveaxis(np.array(planes), 0, 2)
    assert shrink(image, factor).shape == expected.shape
    assert np.abs(shrink(image, factor).astype(int) - expected).max() == 0


def test_equals_pillow_away_from_the_border():
    image = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    smooth = np.array(Image.fromarray(image).resize((320, 240), Image.Resampling.BILINEAR))
    other = np.array(Image.fromarray(smooth).resize((40, 30), Image.Resampling.BICUBIC))
    difference = np.abs(shrink(smooth, 8).astype(int) - other)[3:-3, 3:-3]
    assert difference.max() <= 1  # Pillow rounds rows first
    assert (difference == 0).mean() > 0.6


def test_a_single_grey_stays():
    assert (shrink(np.full((20, 30, 3), 77, np.uint8), 8) == 77).all()


def test_factor_one_changes_nothing():
    image = np.random.default_rng(2).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(shrink(image, 1), image)
