"""Published Aachen numbers, as data in ``results/published``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from d2eval.aachen.report.groups import CHALLENGE, PAPER, Group, thresholds
from d2eval.localization.localized import percent
from d2eval.metrics.poses import Threshold
from d2eval.report.names import method_name
from d2eval.runs.published import REMEDY, presentation, published_file
from d2eval.runs.rows import read_rows, reading

_FURTHER = {
    Group(CHALLENGE, "2020", "night"): "aachen_2020.csv",
    Group("aachen_hloc", "2020", "night"): "aachen_hloc.csv",
    Group("aachen_hloc", "2020", "day"): "aachen_hloc.csv",
}
PUBLISHED = (PAPER.group, *_FURTHER)  # the groups with published numbers
_HEADER = re.compile(r"([0-9.]+)m, ([0-9.]+)deg")


@dataclass(frozen=True)
class PublishedRow:
    """A published row of one group.

    Attributes:
        label: the method's name.
        printed: its name as published.
        method: the name under which d2eval measures it.
        features: printed mean number of features, such as "11.3K", verbatim; None where unsaid.
        percent: of localized queries, by threshold.
        source: where it was published; None for the paper.
    """

    label: str
    printed: str
    method: str
    features: str | None
    percent: Mapping[Threshold, float]
    source: str | None


def load_published(group: Group) -> list[PublishedRow]:
    """The published rows of ``group``, in their order; often none.

    Raises:
        D2EvalError: a file is missing or broken.
    """
    if group == PAPER.group:
        return load_paper()
    name = _FURTHER.get(group)
    if name is None:
        return []
    path = published_file(name)
    with reading(path, REMEDY):
        wanted = thresholds(group.protocol, group.epoch)
        return [
            PublishedRow(
                method_name(row["measured_as"]),
                row["method"],
                row["measured_as"],
                None,
                _percents(row, wanted),
                row["source"],
            )
            for row in read_rows(path, ["method", "measured_as", "split", "source"])
            if row["split"] == group.split
        ]


def load_paper() -> list[PublishedRow]:
    """The rows of the paper's table: night queries, epoch 2019.

    Raises:
        D2EvalError: the file is missing or broken, or its rows are not those of ``aachen.toml``.
    """
    path = published_file("aachen.csv")
    methods = presentation("aachen")["rows"]
    with reading(path, REMEDY):
        rows = read_rows(path, ["method", "features"])
        if [row["method"] for row in rows] != list(methods):
            raise ValueError("its rows are not those of aachen.toml, in their order")
        wanted = thresholds(CHALLENGE, PAPER.group.epoch)
        return [
            PublishedRow(
                row["method"],
                row["method"],
                methods[row["method"]],
                row["features"],
                _percents(row, wanted),
                None,
            )
            for row in rows
        ]


def _percents(row: Mapping[str, str], wanted: Sequence[Threshold]) -> dict[Threshold, float]:
    percents = {}
    for column, text in row.items():
        if match := _HEADER.fullmatch(column):
            threshold = Threshold(float(match[1]), float(match[2]))
            percents[threshold] = percent(text)
    if list(percents) != list(wanted):
        raise ValueError(
            "its thresholds are not those of the file in benchmarks, which may have been edited"
        )
    return percents
