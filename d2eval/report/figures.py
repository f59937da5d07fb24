"""What the figures share: what to draw, colours, files, and legends below the panels."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from d2eval.foundation.files.atomic import write_bytes

PUBLISHED, RETURNED, MEASURED = "published", "returned by the site", "measured here"
_LEGEND_GAP_IN = 0.12
_LEGEND_PT = 9
_CHARACTER_IN, _HANDLE_IN = 0.074, 0.72  # of a legend entry
_MOST_COLUMNS = 6
_MOST_BESIDE = 3  # panels in a row
_SMALL_PX, _SMALL_QUALITY = 720, 35  # width and WebP's quality of a picture in a page
_NO_SLASHES = str.maketrans("/\\", "__")
_METADATA: dict[str, dict[str, Any]] = {
    "png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None},
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What to draw."""

    run: str | None = None  # label of the only run to draw; None for all
    published: bool = True  # whether published numbers stand in the recall panels
    sample_only: bool = False  # draw runs on the embedded sample only


@dataclass(frozen=True)
class Sources:
    """What a picture of a pair or a query is made from beside a run's rows, and how."""

    cache: Path  # where features and matches are stored
    data: Path | None = None  # the dataset's folder; None: where the run found it
    lines: int = 200  # most matches of two images that have a line
    brief: bool = False  # whether a query's best database image, or view, is enough


def new_figure(width_in: float, height_in: float) -> Figure:
    """A figure of that many inches that needs no display."""
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure


def cells(count: int) -> tuple[list[tuple[float, int]], int, int]:
    """Where so many panels stand: rows of equal or nearly equal length, shorter ones centred.

    Returns:
        Column and row of each, and how many columns and rows there are; no cell stays empty.
    """
    rows = -(-count // _MOST_BESIDE)
    columns = -(-count // rows)
    places = []
    for row in range(rows):
        own = count // rows + (row < count % rows)
        places += [(column + (columns - own) / 2, row) for column in range(own)]
    return places, columns, rows


def add_legend(
    figure: Figure, handles: Sequence[Line2D], top: float, title: str | None = None
) -> float:
    """Puts a legend in columns below the panels.

    ``top`` is its upper edge, in figure coordinates (0 is the figure's lower edge); the saved image
    is extended to hold what lies below.

    Returns:
        The upper edge for a next legend.
    """
    width, height = figure.get_size_inches()
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(width / (longest * _CHARACTER_IN + _HANDLE_IN)))
    legend = figure.legend(
        handles=handles,
        ncols=min(columns, _MOST_COLUMNS, len(handles)),
        loc="upper center",
        bbox_to_anchor=(0.5, top),
        borderaxespad=0,
        handlelength=3,
        fontsize=_LEGEND_PT,
        title=title,
        title_fontsize=_LEGEND_PT,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a label or a file's name is no formula
    return top - (legend.get_window_extent().height / figure.dpi + _LEGEND_GAP_IN) / height


def picture_uri(figure: Figure) -> str:
    """The figure as a small picture within a page, a data URI."""
    image = io.BytesIO()
    figure.savefig(
        image, format="webp", dpi=_SMALL_PX / figure.get_figwidth(), bbox_inches="tight",
        pad_inches=0.05, pil_kwargs={"quality": _SMALL_QUALITY},
    )  # fmt: skip
    return f"data:image/webp;base64,{base64.b64encode(image.getvalue()).decode()}"


def write_figure(
    figure: Figure, folder: Path, stem: str, kinds: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Writes ``<stem>.<kind>`` for each kind; the same figure gives the same SVG and PDF.

    In the stem, which may be an image's name, an underscore stands for each slash.

    Raises:
        D2EvalError: the folder can't be written.
    """
    paths = []
    for kind in kinds:
        image = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "d2eval"}):
            figure.savefig(
                image,
                format=kind,
                dpi=150,
                bbox_inches="tight",
                pad_inches=0.1,
                metadata=_METADATA[kind],
            )
        path = folder / f"{stem.translate(_NO_SLASHES)}.{kind}"
        write_bytes(path, image.getvalue())
        paths.append(path)
    return paths
