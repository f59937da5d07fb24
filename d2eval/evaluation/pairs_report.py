"""Table and figure of a benchmark of image pairs that has no published numbers."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from d2eval.contracts.leaks import NOTE, leak_text
from d2eval.evaluation.pairs import Curves
from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.foundation.errors import D2EvalError
from d2eval.report.figures import write_figure
from d2eval.report.tables import LEAK, Table, TableLine, TableSection, build_table
from d2eval.report.threshold_curves import Axes, draw, measured_curves
from d2eval.runs.columns import Column, number
from d2eval.runs.folder import format_value
from d2eval.runs.measured import SUMMARY
from d2eval.runs.rows import REMEDY, reading

_NUMBER = re.compile(r"[-+.0-9e]+")
_ABOUT = ("method", "split", "dataset", "weights")


def summary_table(
    benchmark: str,
    runs: Sequence[PairsRun],
    notes: Sequence[str] = (),
    part: Callable[[PairsRun], str] = lambda _: "",
) -> Table:
    """A line for each run and split, by the ``part`` that a run belongs to; the sample's last."""
    sections, names = [], dict.fromkeys(["label"])

    def title_of(run: PairsRun) -> str:
        return ": ".join(filter(None, ("Embedded sample" if run.is_sample else "", part(run))))

    for title, _ in sorted({title_of(run): run.is_sample for run in runs}.items(), key=_last):
        own = [run for run in runs if title_of(run) == title]
        lines = [_line(run, split, part(run)) for run in own for split in run.rows]
        if lines:
            leaking = any(run.leaks for run in own)
            sections.append(TableSection(title, "", lines, [NOTE] if leaking else []))
        names |= dict.fromkeys(name for line in lines for name in line.flat[0])
    columns = [Column(name) for name in names]
    return build_table(benchmark, [f"# {benchmark}"], sections, _columns(names), columns, notes)


def _line(run: PairsRun, split: str, part: str) -> TableLine:
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
    return TableLine(shown, [flat])


def _last(section: tuple[str, bool]) -> tuple[bool, str]:
    title, is_sample = section
    return is_sample, title


def _columns(names: Iterable[str]) -> list[Column]:
    columns = [Column("label", "Run", key=True), LEAK, Column("split", "Split", key=True)]
    for name in names:
        if name not in ("label", "protocol", LEAK.name, *_ABOUT):
            columns.append(Column(name, name.replace("_", " "), _rounded))
    return [*columns, *(Column(name, name.capitalize(), about=True) for name in _ABOUT[2:])]


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
