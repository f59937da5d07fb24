"""Pictures of matches: kinds by error, which have lines, and where these begin and end."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from d2eval.report.matches import (
    COLORS,
    MatchedImages,
    MatchKind,
    chosen_lines,
    draw_matches,
    kinds_by_error,
)


def test_kinds_by_hand() -> None:
    kind, kinds = kinds_by_error(np.array([0.0, 1.0, 1.01, 5.0, 10.0, 10.5, np.inf]), (1, 5, 10))
    assert kind.tolist() == [0, 0, 1, 1, 2, 3, 3]
    assert [own.name for own in kinds] == ["\u2264 1 px", "1 to 5 px", "5 to 10 px", "> 10 px"]
    assert (kinds[0].color, kinds[-1].color) == (COLORS[0].lower(), COLORS[-1].lower())


def test_lines_have_each_kinds_share() -> None:
    kind = np.array([1] * 60 + [0] * 30 + [2] * 10)
    assert sorted(chosen_lines(kind, 100)) == list(range(100))
    shown = kind[chosen_lines(kind, 20)]
    assert np.bincount(shown).tolist() == [6, 12, 2]


def test_lines_join_the_points_and_the_lower_image_is_as_high() -> None:
    left, right = np.zeros((10, 20, 3), np.uint8), np.zeros((5, 5, 3), np.uint8)
    points, others = np.array([[0.0, 0.0], [19.0, 9.0]]), np.array([[4.0, 4.0], [0.0, 0.0]])
    kinds = [MatchKind("right", "#0000ff"), MatchKind("wrong", "#ff0000")]
    row = MatchedImages("a title", left, right, points, others, np.array([0, 1]), kinds)
    (axes,) = draw_matches([row], "v_bird/1-5", 10).axes
    found = {
        to_hex(own.get_colors()[0]): own.get_segments()[0].tolist()
        for own in axes.collections
        if isinstance(own, LineCollection)
    }
    start = 20 / 10 + 0.02  # where the right image begins, in heights
    np.testing.assert_allclose(found["#0000ff"], [[0.05, 0.05], [start + 0.9, 0.9]])
    np.testing.assert_allclose(found["#ff0000"], [[1.95, 0.95], [start + 0.1, 0.1]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["right: 1", "wrong: 1"]
