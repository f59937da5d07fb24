"""Tables in LaTeX: booktabs, best numbers bold, second best underlined."""

import re
from collections.abc import Iterator, Mapping, Sequence

from d2eval.foundation.text.display import printable
from d2eval.report.tables import Cells, Content, TableSection, page_parts, shown_cells

PAGE = 72  # characters of a line in \footnotesize that fit an article's column of 345 pt
_BETWEEN = 2  # that a column takes beside them
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_SPECIAL: dict[str, str | int | None] = {
    **{c: f"\\{c}" for c in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "\N{DEGREE SIGN}": r"\textdegree{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
}  # fmt: skip
_PREAMBLE = (
    "% \\usepackage{booktabs} and \\usepackage[T1]{fontenc} belong into the preamble;\n"
    "% all of these tables at once need \\extrafloats{200} there, too."
)


def latex_text(text: str) -> str:
    """Text that LaTeX shows as it is."""
    return printable(text).translate(str.maketrans(_SPECIAL))


def latex_tables(name: str, content: Content) -> str:
    """A ``table`` for each section, with its notes below; to be put into a paper as it is.

    What doesn't fit a page beside the key columns follows in a further ``table``.
    """
    heading = content.start[0].lstrip("# ")
    parts = [_PREAMBLE]
    for index, section in enumerate(content.sections, 1):
        parts += _tables(section, content, heading, f"tab:{name}-{index}")
    return "\n\n".join(parts) + "\n"


def _tables(section: TableSection, content: Content, heading: str, label: str) -> Iterator[str]:
    records = [line.shown for line in section.lines if line.shown]
    cells, notes = shown_cells(content.columns, records)
    parts = list(page_parts(_with_few_keys(cells), PAGE, _width)) if records else []
    caption = ". ".join(filter(None, (heading, section.title, section.before.rstrip(":."))))
    below = [f"{title}: {note}." for title, note in notes] + [*section.notes]
    for index, part in enumerate(parts):
        said = f"{caption} (continued)." if index else f"{caption}."
        lines = [
            r"\begin{table}[tbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\addtocounter{{table}}{{-1}}\caption{{{_prose(said)}}}"
            if index
            else rf"\caption{{{_prose(said)}}}\label{{{label}}}",
            _tabular(part),
        ]
        if below and part is parts[-1]:
            text = r"\\ ".join(map(_prose, below))
            lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {text}}}")
        yield "\n".join([*lines, r"\end{table}"])


def _with_few_keys(cells: Sequence[Cells]) -> list[Cells]:
    """The columns, without the runs' names where the rows' tell all rows apart."""
    keys = [texts[1:] for column, texts in cells if column.key and not column.warns]
    if not keys or len({*keys[0]}) < len(keys[0]):
        return list(cells)
    first = next(column for column, _ in cells if column.key)
    return [own for own in cells if not own[0].key or own[0] is first or own[0].warns]


def _prose(text: str) -> str:
    """A sentence; what stands in backquotes is code."""
    parts = text.split("`")
    return "".join(
        rf"\texttt{{{latex_text(part)}}}" if odd % 2 else latex_text(part)
        for odd, part in enumerate(parts)
    )


def _tabular(columns: Sequence[Cells]) -> str:
    """A part of a table, the header first."""
    kinds = "".join("r" if all(map(_is_number, texts)) else "l" for _, (_, *texts) in columns)
    cells = [
        [_header(header, texts), *(mark(texts, column.best) if column.best else
                                   map(latex_text, texts))]
        for column, (header, *texts) in columns
    ]  # fmt: skip
    rows = [" & ".join(row) + r" \\" for row in zip(*cells, strict=True)]
    return "\n".join(
        [rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}", r"\toprule", rows[0], r"\midrule",
         *rows[1:], r"\bottomrule", r"\end{tabular}"]
    )  # fmt: skip


def _is_number(text: str) -> bool:
    return not text or text[0] == "-" or _NUMBER.match(text) is not None


def _header_lines(header: str, texts: Sequence[str]) -> list[str]:
    """The header in one line, or in two where it is longer than every cell."""
    if len(header) <= max(map(len, texts)) or " " not in header:
        return [header]
    spaces = [i for i, c in enumerate(header) if c == " "]
    middle = min(spaces, key=lambda i: abs(i - len(header) / 2))
    return [header[:middle], header[middle + 1 :]]


def _header(header: str, texts: Sequence[str]) -> str:
    lines = [latex_text(line) for line in _header_lines(header, texts)]
    return lines[0] if len(lines) == 1 else rf"\shortstack{{{lines[0]}\\{lines[1]}}}"


def _width(cells: Sequence[str]) -> int:
    return max(map(len, [*_header_lines(cells[0], cells[1:]), *cells[1:]])) + _BETWEEN


def mark(texts: Sequence[str], best: str) -> list[str]:
    r"""Cells of one column in LaTeX, the best number ``\textbf``, the second ``\underline``.

    A cell may hold several numbers, joined by " / ": each is marked among those of its place.
    What is equal as it is printed is marked alike; of fewer than three rows only the best is.
    """
    split = [text.split(" / ") if text else [] for text in texts]
    places = max(map(len, split), default=0)
    marks: list[Mapping[str, str]] = []
    for place in range(places):
        found = {
            match[0]
            for parts in split
            if place < len(parts) and (match := _NUMBER.match(parts[place]))
        }
        ordered = sorted(found, key=float, reverse=best == "most")
        commands = ["textbf", "underline"] if len(ordered) > 2 else ["textbf"]
        marks.append(dict(zip(ordered, commands, strict=False)) if len(ordered) > 1 else {})
    return [
        " / ".join(_emphasised(part, own) for part, own in zip(parts, marks, strict=False))
        for parts in split
    ]


def _emphasised(text: str, marks: Mapping[str, str]) -> str:
    match = _NUMBER.match(text)
    if match is None or match[0] not in marks:
        return latex_text(text)
    return rf"\{marks[match[0]]}{{{match[0]}}}{latex_text(text[match.end() :])}"
