"""Table and figure of a benchmark of image pairs."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from d2eval.contracts.leaks import NOTE, leak_text
from d2eval.evaluation.dataset import OVERALL
from d2eval.evaluation.pairs_published import PublishedRow, share
from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.evaluation.pairs_shown import Curves
from d2eval.foundation.errors import D2EvalError
from d2eval.report.figures import write_figure
from d2eval.report.tables import LEAK, Table, TableLine, TableSection, build_table
from d2eval.report.threshold_curves import Axes, draw, measured_curves
from d2eval.runs.columns import Column, number
from d2eval.runs.folder import format_value
from d2eval.runs.measured import COMPLETE, SUMMARY, named
from d2eval.runs.rows import REMEDY, reading

_NUMBER = re.compile(r"[-+.0-9e]+")
_ABOUT = ("method", "split", "dataset", "weights")
_ELSEWHERE = "published with other constants"
_BESIDE = (
    Column("published", "Published [%]", best="most"),
    Column("measured", "Measured [%]", best="most"),
    Column("difference", "Difference"),
    Column("constants", "With"),
)
_FROM = (
    Column("published_as", "Published as", about=True),
    Column("published_in", "Published in", about=True),
)


def summary_table(
    benchmark: str,
    runs: Sequence[PairsRun],
    notes: Sequence[str] = (),
    part: Callable[[PairsRun], str] = lambda _: "",
    published: Sequence[PublishedRow] = (),
) -> Table:
    """A line for each run and split, by the ``part`` that a run belongs to; the sample's last.

    Published rows stand beside runs of the same method and constants, alone, or, where their
    constants are others than the protocol's, in sections of their own.
    """
    sections: dict[tuple[int, str], list[TableLine]] = {}
    leaking = set()
    for run in runs:
        title = (2, f"Embedded sample: {part(run)}".removesuffix(": ")) if run.is_sample else (
            0, part(run)
        )  # fmt: skip
        beside = [own for own in published if own.is_of(run, part(run))]
        lines = sections.setdefault(title, [])
        lines += [_line(run, split, part(run), beside) for split in run.rows]
        leaking |= {title} if run.leaks else set()
    for own in published:
        title = (1, f"{own.protocol}, {_ELSEWHERE}") if own.constants else (0, own.protocol)
        if not any(own.is_of(run, part(run)) for run in runs):
            sections.setdefault(title, []).append(_alone(own))
    shown = [
        TableSection(
            title[1], _before(sections[title]), sections[title], [NOTE] if title in leaking else []
        )
        for title in sorted(sections)
    ]
    records = [record for section in shown for line in section.lines for record in line.flat]
    names = dict.fromkeys(["label", *(name for record in records for name in record)])
    columns = [Column(name) for name in names]
    return build_table(benchmark, [f"# {benchmark}"], shown, _columns(names), columns, notes)


def _before(lines: Sequence[TableLine]) -> str:
    """What the numbers of cells with several are."""
    found = [name for line in lines for name in line.flat[0] if name.endswith("_published")]
    names = [name.removesuffix("_published").replace("_", " ") for name in dict.fromkeys(found)]
    return f"Published and measured over all pairs: {' / '.join(names)}." if names else ""


def _line(
    run: PairsRun, split: str, part: str, published: Sequence[PublishedRow] = ()
) -> TableLine:
    """A split's numbers, each with the ends of its interval where that is known."""
    shown = {"label": run.label}
    if run.leaks:
        shown[LEAK.name] = leak_text(run.leaks)
    flat = {**shown, **({"protocol": part} if part else {})}  # in Markdown the section says it
    for name, text in run.rows[split].items():
        if not text:
            continue
        shown[name] = flat[name] = text
        if ends := run.intervals.get(split, {}).get(name):
            low, high = map(format_value, ends)
            flat |= {f"{name}_low": low, f"{name}_high": high}
            shown[name] = f"{_rounded(text)} ({ends[0]:.4g} to {ends[1]:.4g})"
    for own in published if split == OVERALL else ():
        further = _beside(own, run)
        shown |= {name: text for name, text in further.items() if name in _SHOWN}
        flat |= {name: text for name, text in further.items() if name not in _TRIPLES}
    return TableLine(shown, [flat])


_TRIPLES = ("published", "measured", "difference")  # cells of several numbers
_SHOWN = (*_TRIPLES, "constants", *(column.name for column in _FROM))


def _beside(own: PublishedRow, run: PairsRun | None) -> dict[str, str]:
    """What a published row says, and, of a run on all of the benchmark, what that has more."""
    found = {"published_as": own.row, "published_in": own.source, "constants": own.constants}
    found["published"] = " / ".join(f"{value:.1f}" for value in own.percent.values())
    found |= {f"{name}_published": f"{share(v):.6g}" for name, v in own.percent.items()}
    row = run.rows[OVERALL] if run else {}
    if run and all(row.get(name) for name in own.percent):
        with reading(run.folder / SUMMARY, REMEDY):
            measured = {name: number(row, name, 1.0) for name in own.percent}
        found["measured"] = " / ".join(f"{100 * value:.1f}" for value in measured.values())
        if run.dataset == COMPLETE:
            more = {name: measured[name] - share(v) for name, v in own.percent.items()}
            found["difference"] = " / ".join(f"{100 * value:+.1f}" for value in more.values())
            found |= {f"{name}_difference": f"{value:.6g}" for name, value in more.items()}
    return {name: text for name, text in found.items() if text}


def _alone(own: PublishedRow) -> TableLine:
    """A published row that no run stands beside."""
    found = _beside(own, None)
    method = {"method": named(own.measured_as, own.matcher)} if own.measured_as else {}
    flat = {"protocol": own.protocol, "split": OVERALL, **method, **found}
    del flat["published"]
    return TableLine(
        {
            "label": own.row,
            **{k: v for k, v in found.items() if k in _SHOWN and k != "published_as"},
        },
        [flat],
    )


def _columns(names: Iterable[str]) -> list[Column]:
    hidden = ("label", "protocol", LEAK.name, *_ABOUT, *_SHOWN)
    columns = [Column("label", "Run", key=True), LEAK, Column("split", "Split", key=True), *_BESIDE]
    for name in names:
        if name not in hidden and not name.endswith(("_published", "_difference", "_low", "_high")):
            columns.append(Column(name, name.replace("_", " "), _rounded))
    about = (Column(name, name.capitalize(), about=True) for name in _ABOUT[2:])
    return [*columns, *about, *_FROM]


def _rounded(text: str) -> str:
    return f"{float(text):.4g}" if _NUMBER.fullmatch(text) and "." in text else text


def plot_curves(
    benchmark: str, runs: Sequence[PairsRun], shown: Curves, output: Path
) -> list[Path]:
    """Draws ``<benchmark>.*``, and ``<benchmark>_sample.*`` if there are sample runs.

    Raises:
        D2EvalError: there is nothing to draw.
    """
    paths: list[Path] = []
    for suffix, is_sample in (("", False), ("_sample", True)):
        own = [(run, _values(run, shown)) for run in runs if run.is_sample == is_sample]
        if own:
            splits = list(dict.fromkeys(split for _, values in own for split in values))
            panels = [(split, split.capitalize()) for split in splits]
            axes = Axes(shown.thresholds, panels, shown.xlabel, shown.ylabel)
            title = f"Embedded sample (not {benchmark})" if is_sample else None
            figure = draw(measured_curves(own), axes, title)
            paths += write_figure(figure, output, benchmark + suffix)
    if not paths:
        raise D2EvalError("nothing to draw: no run of it is there; evaluate a method first")
    return paths


def _values(run: PairsRun, shown: Curves) -> dict[str, dict[float, float]]:
    with reading(run.folder / SUMMARY, REMEDY):
        return {
            split: {
                t: number(row, c) for t in shown.thresholds if row.get(c := shown.column.format(t))
            }
            for split, row in run.rows.items()
        }
