"""How lines and marks look: a method has one colour in every figure, whatever else is drawn.

The paper's methods have the paper's colours. All others have one of a palette whose colours stay
apart for colour-blind readers, too (Paul Tol's "muted"). Line and marker are the second cue: what
shares a colour differs in one of them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from d2eval.runs.published import presentation

PALETTE = ("#CC6677", "#882255", "#332288", "#999933", "#44AA99", "#88CCEE")
# Rows of the paper's other tables, and methods of today that are often drawn together. Any other
# method's colour is drawn by its name, but not among RootSIFT's two, which all are compared with.
_ASSIGNED = {
    "rootsift": PALETTE[0], "upright_rootsift": PALETTE[1], "vgg16_dense": PALETTE[2],
    "affine_rootsift": PALETTE[3], "dense_sfm": PALETTE[4],
    "orb": PALETTE[2], "keynet_hardtfeat": PALETTE[3], "xfeat": PALETTE[4], "aliked": PALETTE[5],
    "disk": "#DDCC77", "r2d2": "#AA4499",
}  # fmt: skip
_OPEN = PALETTE[2:]
LINES = ("-", "--", "-.", ":")
MARKERS = "os^DvPX*"
MARKS = {"-": "_", "--": "x", "-.": "+", ":": "1"}  # of published numbers, by the line they'd have
_EVERY = 0.12  # of the panel's diagonal, from marker to marker


@dataclass(frozen=True)
class Entry:
    """Something to be drawn."""

    key: str  # names it, no two alike
    method: str  # the method's registered name, which decides the colour
    line: str | None = None  # a line style, or None for the method's


@dataclass(frozen=True)
class Style:
    """Colour, line style and marker, in matplotlib's words."""

    color: str
    line: str
    marker: str

    @property
    def of_steps(self) -> dict[str, Any]:
        """Arguments for a curve with more corners than markers."""
        return {
            "color": self.color, "linestyle": self.line, "linewidth": 1.5, "marker": self.marker,
            "markersize": 5, "markerfacecolor": "white", "markevery": _EVERY,
        }  # fmt: skip


@cache
def _paper() -> dict[str, tuple[str, str]]:
    rows = presentation("hpatches")["rows"]
    return {row["method"]: (row["color"], row["line"]) for row in rows}


def _drawn(text: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode(errors="replace")).digest()[:4], "big") % count


def color_of(method: str) -> str:
    """The method's colour."""
    if method in _paper():
        return _paper()[method][0]
    return _ASSIGNED.get(method, _OPEN[_drawn(method, len(_OPEN))])


def line_of(method: str) -> str:
    """The method's line style: the paper's, else a solid one."""
    return _paper()[method][1] if method in _paper() else LINES[0]


def _markers(entry: Entry) -> Iterable[str]:
    """From the one that fits best on: the method's, then by the entry's name."""
    own = LINES.index(line_of(entry.method))
    if entry.method not in _paper():
        own = _drawn(entry.method, len(MARKERS))
    first = _drawn(entry.key, len(MARKERS))
    return [MARKERS[own], *MARKERS[first:], *MARKERS[:first]]


def styles(entries: Sequence[Entry]) -> dict[str, Style]:
    """A style for each entry by its key, no two alike while there are enough."""
    found: dict[str, Style] = {}
    for entry in sorted(entries, key=lambda entry: entry.key):
        color, line = color_of(entry.method), entry.line or line_of(entry.method)
        lines = [line, *(other for other in LINES if other != line)]
        choices = [Style(color, ln, marker) for ln in lines for marker in _markers(entry)]
        used = set(found.values())
        found[entry.key] = next((c for c in choices if c not in used), choices[0])
    return found
