"""How the page draws runs: as the figures do."""

from collections.abc import Mapping

from matplotlib.colors import to_hex

from d2eval.report.styles import LINES, MARKERS, Entry, styles

_DASHES = dict(zip(LINES, ("", "7 3", "7 3 2 3", "2 3"), strict=True))  # of SVG
_SHAPES = dict(
    zip(
        MARKERS, ("circle", "square", "up", "diamond", "down", "plus", "cross", "star"), strict=True
    )
)


def looks(methods: Mapping[str, str]) -> list[dict[str, str]]:
    """Colour, dashes and marker of each run, by its label and method, in their order."""
    found = styles([Entry(label, method) for label, method in methods.items()])
    return [
        {
            "color": to_hex(found[label].color),
            "dash": _DASHES[found[label].line],
            "marker": _SHAPES[found[label].marker],
        }
        for label in methods
    ]
