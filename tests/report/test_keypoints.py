import dataclasses

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection, LineCollection, PathCollection
from matplotlib.figure import Figure

from d2eval.contracts.features import Features, make_features, no_features
from d2eval.contracts.method import ScoreMap
from d2eval.report.figures import write_figure
from d2eval.report.keypoints import draw

WIDTH, HEIGHT = 130, 90
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
POINTS = np.array([[10, 20], [60, 40], [120, 80], [5, 85]])
SCORES = np.array([3.0, 9.0, 1.0, 5.0])
SCALES = np.array([2.0, 0.5, 1.0, 1.0])


def features(**optional) -> Features:
    return make_features(POINTS, SCORES, np.eye(4), (WIDTH, HEIGHT), **optional)


def of_kind(figure: Figure, kind: type) -> list:
    return [found for found in figure.axes[0].collections if type(found) is kind]


def test_circles_by_scale_and_score():
    figure = draw(IMAGE, features(scales=SCALES), None, None, "title")
    assert figure.get_suptitle() == "title"
    # The median scale is 1, whose radius is a 130th of 130 pixels.
    assert figure.axes[0].get_title(loc="left") == "4 keypoints, radius 1 px x scale"
    _, circles = of_kind(figure, EllipseCollection)
    np.testing.assert_array_equal(circles.get_offsets(), POINTS[[2, 0, 3, 1]])  # the best last
    np.testing.assert_allclose(circles.get_widths(), 2 * SCALES[[2, 0, 3, 1]])
    colors = circles.get_edgecolors()
    assert len(np.unique(colors, axis=0)) == 4
    assert (np.diff(colors[:, 1]) > 0).all()  # more green towards yellow
    assert not of_kind(figure, LineCollection)


def test_the_image_keeps_its_pixels_and_its_shape():
    figure = draw(IMAGE, features(), None, None, "title")
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), IMAGE)
    assert axes.get_xlim() == (-0.5, WIDTH - 0.5) and axes.get_ylim() == (HEIGHT - 0.5, -0.5)
    box = axes.get_window_extent()
    assert box.width / box.height == pytest.approx(WIDTH / HEIGHT, rel=0.01)


def test_orientations_point_from_x_towards_y():
    turned = features(scales=SCALES, orientations=np.array([0, np.pi / 2, np.pi, 0]))
    _, lines = of_kind(draw(IMAGE, turned, None, None, "title"), LineCollection)
    segments = {tuple(start): end - start for start, end in lines.get_segments()}
    np.testing.assert_allclose(segments[10, 20], (2, 0), atol=1e-5)
    np.testing.assert_allclose(segments[60, 40], (0, 0.5), atol=1e-5)  # y goes down
    np.testing.assert_allclose(segments[120, 80], (-1, 0), atol=1e-5)


def test_without_scales_there_are_dots():
    figure = draw(IMAGE, features(), None, None, "title")
    (dots,) = of_kind(figure, PathCollection)
    assert len(dots.get_offsets()) == 4
    assert figure.axes[0].get_title(loc="left") == "4 keypoints"


def test_the_best_by_score():
    figure = draw(IMAGE, features(scales=SCALES), 2, None, "title")
    assert figure.axes[0].get_title(loc="left").startswith("2 best of 4 keypoints, ")
    circles = of_kind(figure, EllipseCollection)[-1]
    np.testing.assert_array_equal(circles.get_offsets(), POINTS[[3, 1]])


def test_scales_of_another_unit_give_circles_of_the_same_size():
    small = draw(IMAGE, features(scales=SCALES), None, None, "title")
    large = draw(IMAGE, features(scales=SCALES * 10), None, None, "title")
    widths = [of_kind(figure, EllipseCollection)[-1].get_widths() for figure in (small, large)]
    np.testing.assert_allclose(*widths, rtol=1e-6)


@pytest.mark.parametrize("with_scales", [False, True])
def test_no_keypoints(tmp_path, with_scales):
    none = no_features(4, (WIDTH, HEIGHT), with_scales)
    figure = draw(IMAGE, none, 1000, None, "title")
    assert figure.axes[0].get_title(loc="left") == "0 keypoints"
    assert write_figure(figure, tmp_path, "none")[0].stat().st_size > 1000


def test_equal_scores_have_a_colour(tmp_path):
    equal = dataclasses.replace(features(scales=SCALES), scores=np.ones(4, np.float32))
    write_figure(draw(IMAGE, equal, None, None, "title"), tmp_path, "equal")


def test_the_score_map_lies_where_its_cells_are():
    values = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    scores = ScoreMap("soft $detection", values, (12, 10), (30, 20))
    figure = draw(IMAGE, features(), None, scores, "title")
    axes = figure.axes[2]  # after the keypoints and their bar
    (shown,) = axes.images
    assert axes.get_title(loc="left") == "soft $detection"
    # Cell (0, 0) spans 30 x 20 pixels around (12, 10).
    assert shown.get_extent() == [-3, 117, 60, 0]
    np.testing.assert_allclose(shown.get_array(), values / 6.5)
    assert axes.get_xlim() == (-0.5, WIDTH - 0.5) and axes.get_ylim() == (HEIGHT - 0.5, -0.5)


def test_a_score_map_of_zeros(tmp_path):
    scores = ScoreMap("zeros", np.zeros((3, 4), np.float32), (12, 10), (30, 20))
    write_figure(draw(IMAGE, features(), None, scores, "title"), tmp_path, "zeros")
