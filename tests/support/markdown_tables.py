"""Reads the tables of a report back: parts of one table joined, and cells by threshold."""

import re

PAGE = 140
_NAMES = {
    "Published": "published", "Measured diff.": "measured diff.", "Site": "site",
    "Site diff.": "site diff.",
}  # fmt: skip


def sections(markdown: str) -> dict[str, str]:
    """Title -> text."""
    parts = (part.partition("\n") for part in markdown.split("\n## ")[1:])
    return {title: body for title, _, body in parts}


def rows(body: str, keys: int) -> list[dict[str, str]]:
    """The rows of a section's table, whose parts have the first ``keys`` columns in common."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for part in re.findall(r"(?:^\|.*\n?)+", body, re.M):
        header, _, *lines = [
            [cell.strip() for cell in line[1:-1].split(" | ")] for line in part.splitlines()
        ]
        for line in lines:
            own = dict(zip(header, line, strict=True))
            found.setdefault(tuple(line[:keys]), {}).update(own)
    columns = dict.fromkeys(name for row in found.values() for name in row)
    return [{name: row.get(name, "") for name in columns} for row in found.values()]


def notes(body: str) -> dict[str, str]:
    """What a note says of all rows, of all that have one, or of a few that it names."""
    found = re.findall(r"^- ([^:\n]+): (.*) \([^()]*\)\.$", body, re.M)
    return dict(found)


def by_threshold(body: str, keys: int) -> list[dict[str, str]]:
    """`rows` with a cell for each threshold, such as "1 m, 5° measured": "50.0 (49; 40.0-60.0)"."""
    (said,) = re.findall(r"^At (.*):$", body, re.M)
    expanded = []
    for row in rows(body, keys):
        cells = {k: v for k, v in row.items() if k not in _NAMES}
        measured = [cells.pop(name, "") for name in ("Measured", "Localized", "95 % intervals")]
        counts = measured[1].partition(" of ")[0].split(" / ")
        for index, threshold in enumerate(said.split(" / ")):
            for column, name in _NAMES.items():
                if column in row:
                    values = row[column].split(" / ")
                    cells[f"{threshold} {name}"] = values[index] if row[column] else ""
            if measured[0]:
                percent, interval = (measured[i].split(" / ")[index] for i in (0, 2))
                cells[f"{threshold} measured"] = f"{percent} ({counts[index]}; {interval})"
        expanded.append(cells)
    return expanded
