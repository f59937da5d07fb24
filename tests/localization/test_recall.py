from itertools import pairwise

import pytest

from d2eval.localization.recall import MEASURED, PUBLISHED, RecallPanel, Shown, draw_recall
from d2eval.metrics.poses import Threshold
from d2eval.report.styles import Style

LIMITS = (Threshold(0.25, 2), Threshold(0.5, 5), Threshold(5, 10))
OWN = Style("green", "-", "o")


def curve(*rises: float, label: str = "mine") -> Shown:
    """A quarter more at each."""
    metres = [0.0, *rises, 10.0]
    return Shown(MEASURED, label, OWN, metres, [min(i, len(rises)) / 4 for i in range(len(metres))])


def panel(*shown: Shown, title: str = "title") -> RecallPanel:
    return RecallPanel(title, "x", LIMITS, "post", True, shown)


def test_the_axis_is_logarithmic_and_cut_to_the_data() -> None:
    first, last = panel(curve(0.002, 0.01, 0.02)).span()
    assert 0.001 < first < 0.002  # from just before the first step
    assert 0.25 < last < 0.5  # to just behind the finest threshold
    marks = Shown(PUBLISHED, "D2 MS", OWN, [0.25, 0.5, 5.0], [0.1, 0.2, 0.3])
    assert 5 < panel(curve(0.002), marks).span()[1] < 10
    assert panel(curve(3.0)).span()[1] == pytest.approx(3.9)
    figure = draw_recall([panel(curve(0.002, 0.01))])
    assert figure.axes[0].get_xscale() == "log"


def test_one_step_far_below_the_others_takes_no_width() -> None:
    first, last = panel(curve(1e-9, 0.3)).span()
    assert last / first <= 1.001e4


def test_steps_before_their_corner_rise_where_they_rise() -> None:
    """InLoc's curves hold their value up to the corner: the last one is no step."""
    shown = Shown(MEASURED, "mine", OWN, [0.0, 0.1, 0.3, 2.0], [0.0, 0.0, 0.5, 1.0])
    assert RecallPanel("t", "x", LIMITS, "pre", False, [shown]).span()[1] == pytest.approx(0.39)


@pytest.mark.parametrize("rises", [(0.002, 0.01), (0.0003, 0.4, 7.0), (0.24,), (0.02, 0.03, 6.0)])
def test_labels_of_ticks_and_angles_do_not_touch(rises: tuple[float, ...]) -> None:
    marks = Shown(PUBLISHED, "D2 MS", OWN, [0.25, 0.5, 5.0], [0.1, 0.2, 0.3])
    for shown in ([curve(*rises)], [curve(*rises), marks]):
        figure = draw_recall([panel(*shown)] * 3)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        assert len(axes.get_xticks()) >= 2
        for texts in (axes.get_xticklabels(), axes.texts):
            boxes = sorted((text.get_window_extent() for text in texts), key=lambda box: box.x0)
            assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_twenty_runs_leave_the_figure_larger_than_its_legend() -> None:
    shown = [
        curve(0.01 * (i + 1), label=f"d2_ms_trained_sparse_pv{i}, 16 of 356") for i in range(20)
    ]
    for count in (1, 3):
        figure = draw_recall([panel(*shown)] * count)
        (legend,) = figure.legends
        assert legend.get_title().get_text() == MEASURED
        assert len(legend.get_texts()) == 20
        assert legend.get_window_extent().height < 0.6 * figure.bbox.height
        assert legend.get_window_extent().width <= figure.bbox.width


def test_panels_and_legends_do_not_cover_each_other() -> None:
    marks = Shown(PUBLISHED, "D2 MS", OWN, [0.25, 0.5, 5.0], [0.1, 0.2, 0.3])
    panels = [
        panel(curve(0.01), marks, title=f"A title of a usual length, number {i}") for i in range(5)
    ]
    figure = draw_recall(panels, "Above all")
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes.append(figure._suptitle.get_window_extent())
    for i, first in enumerate(boxes):
        for second in boxes[i + 1 :]:
            assert not first.overlaps(second)
