from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from d2eval.report.figures import cells
from d2eval.report.names import method_name
from d2eval.report.styles import PALETTE, Entry, Style, color_of, line_of, styles
from d2eval.runs.published import presentation

# Machado, Oliveira and Fernandes, A physiologically-based model for simulation of color vision
# deficiency (2009): linear RGB as seen without one kind of cones.
SEEN = {
    "all": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
       [0.0193339, 0.1191920, 0.9503041]]  # fmt: skip


def lab(color: str, cones: str) -> np.ndarray:
    """CIELAB of a colour as somebody with these cones sees it."""
    srgb = np.array(to_rgb(color))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    x = np.array(XYZ) @ np.clip(np.array(SEEN[cones]) @ linear, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(x > 216 / 24389, np.cbrt(x), x * 841 / 108 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("cones", SEEN)
def test_the_palette_is_told_apart_by_everybody(cones: str) -> None:
    for first, second in combinations(PALETTE, 2):
        assert np.linalg.norm(lab(first, cones) - lab(second, cones)) > 15, (first, second)
    white = lab("white", cones)
    assert all(np.linalg.norm(lab(color, cones) - white) > 20 for color in PALETTE)


def test_the_papers_methods_have_the_papers_colours() -> None:
    for row in presentation("hpatches")["rows"]:
        assert (color_of(row["method"]), line_of(row["method"])) == (row["color"], row["line"])


METHODS = [
    "d2_ss", "d2_ms", "d2_ms_trained", "rootsift", "upright_rootsift", "superpoint", "r2d2", "disk",
    "methods.orb:Orb", "precomputed", "x\udcff",
]  # fmt: skip


def test_a_methods_colour_does_not_depend_on_what_else_is_drawn() -> None:
    every = styles([Entry(method, method) for method in METHODS])
    for method in METHODS:
        alone = styles([Entry(method, method)])[method]
        assert alone.color == every[method].color == color_of(method)
        for other in METHODS:
            both = styles([Entry(method, method), Entry(f"{other}-2k", other)])
            assert both[method].color == alone.color


def test_no_two_look_alike() -> None:
    entries = [Entry(f"{method}-{i}", method) for method in METHODS for i in range(5)]
    assert len(set(styles(entries).values())) == len(entries)


def test_the_line_that_is_asked_for_is_kept_while_there_are_markers() -> None:
    entries = [Entry(f"run{i}", "d2_ms", ":") for i in range(8)]
    found = styles(entries)
    assert {style.line for style in found.values()} == {":"}
    assert len({style.marker for style in found.values()}) == 8
    assert found["run0"] == Style("green", ":", "o")


def test_a_method_has_one_name() -> None:
    """The three tables of the paper agree, and its figure's spellings are not used."""
    for row in presentation("hpatches")["rows"]:
        assert method_name(row["method"]) == row.get("label", row["legend"])
    for label, method in presentation("aachen")["rows"].items():
        assert method_name(method) == label
    for row in presentation("inloc")["rows"]:
        if row["method"] != "vgg16_dense":
            assert method_name(row["method"]) in row["label"]
    assert method_name("rootsift") == "rootsift"


@pytest.mark.parametrize("count", range(1, 14))
def test_panels_leave_no_cell_empty(count: int) -> None:
    places, columns, rows = cells(count)
    assert len(set(places)) == count
    lengths = [sum(row == own for _, own in places) for row in range(rows)]
    assert sum(lengths) == count
    assert max(lengths) == columns <= 3
    assert min(lengths) >= columns - 1
    for row in range(rows):
        own = [column for column, place in places if place == row]
        assert own[0] == columns - 1 - own[-1]  # centred
        assert all(b - a == 1 for a, b in pairwise(own))
