"""Adds what the benchmark's site returned for a submission, to stand beside published numbers.

The values are percentages of localized queries, from the finest threshold to the coarsest, as the
site shows them. They are written to OUTPUT/BENCHMARK/LABEL/site.csv; 'd2eval tables' and 'd2eval
plot' show them as returned by the site, never as measured. Aachen's are of an epoch of the ground
truth and of day or night queries, InLoc's of a floor.
"""

import argparse
from datetime import datetime, timezone
from pathlib import Path

from d2eval.cli.common import add_folder_argument, label_argument
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.evaluation.benchmark import benchmark_class
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.terminal.console import note, say

EXAMPLES = """examples:
  python -m d2eval import-result aachen --method d2_ms --values 44.9 66.3 88.8 --epoch 2019
  python -m d2eval import-result aachen --method d2_ms --values '74.5 / 86.7 / 100.0' --epoch 2020
  python -m d2eval import-result aachen --method mine --label mine_4k --epoch 2020 --split day \\
      --values 84.6/91.4/97.1 --source 'visuallocalization.net, entry 416'
  python -m d2eval import-result inloc --method d2_ms --label d2_ms_sparse --floor DUC1 \\
      --values 39.9 57.6 67.2
"""
SITE = "visuallocalization.net"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", choices=_sites(), help="whose site")
    parser.add_argument(
        "--method", required=True, metavar="NAME", help="the method that was submitted"
    )
    parser.add_argument(
        "--values",
        required=True,
        nargs="+",
        metavar="PERCENT",
        help="one for each threshold; the fourth of Aachen's epoch 2019 may be left out",
    )
    parser.add_argument(
        "--protocol",
        help="aachen, aachen_v1_1, aachen_hloc or aachen_v1_1_hloc; inloc, inloc_demo or "
        "inloc_hloc (default: the benchmark's)",
    )
    parser.add_argument(
        "--label",
        type=label_argument,
        metavar="LABEL",
        help="the run's name (default: the method's name, and the protocol's)",
    )
    parser.add_argument("--source", default=SITE, metavar="TEXT", help="where the numbers are from")
    add_folder_argument(parser, "results/runs", "the folder of runs")


def add_chosen(parser: argparse.ArgumentParser, benchmark: str) -> None:
    """Adds what the site of the benchmark that is named tells apart."""
    if benchmark in _sites():
        for part, (default, text) in benchmark_class(benchmark).site_parts.items():
            parser.add_argument(f"--{part}", required=default is None, default=default, help=text)


def _sites() -> list[str]:
    """The benchmarks whose queries only a site can score."""
    return [name for name in registered(BENCHMARKS) if benchmark_class(name).site_parts]


def run(args: argparse.Namespace) -> int:
    """Writes the result beside the run, or into a folder of its own."""
    from d2eval.evaluation.naming import protocol_part, run_name
    from d2eval.foundation.files.atomic import exclusive
    from d2eval.localization.site import FILE, SiteResult
    from d2eval.pipeline.extraction import default_label

    protocol = args.protocol or args.benchmark
    own = protocol_part(protocol, args.benchmark)
    label = args.label or run_name(None, [default_label(args.method), own]).label
    try:
        benchmark = benchmark_class(args.benchmark)
        site = benchmark().site()
        parts = [getattr(args, part) for part in benchmark.site_parts]
        group = site.make_group(protocol, *parts)
        values = site.percents(args.values, group)
    except ValueError as error:
        raise D2EvalError(f"import-result: {error}; give it as the site shows it") from error
    folder = args.output / args.benchmark / label
    _check_run(folder, args.benchmark, args.method, protocol)
    today = datetime.now(timezone.utc).date().isoformat()
    with exclusive(folder):
        result = SiteResult(args.method, label, group, values, args.source, today)
        replaced = site.add(folder / FILE, result)
    if replaced:
        note(f"an earlier result of {group} was replaced")
    say(f"wrote {folder / FILE}: {args.method}, {group}")
    return 0


def _check_run(folder: Path, benchmark: str, method: str, protocol: str) -> None:
    """Sees to it that a run that is there already is the submitted one.

    Raises:
        D2EvalError: it is of another method or protocol; also when its manifest is broken. A
            method that neither is registered nor in the paper's table only gets a note.
    """
    from d2eval.report.names import published_methods
    from d2eval.runs.manifest import load_manifest
    from d2eval.runs.measured import MANIFEST, named

    if (folder / MANIFEST).is_file():
        manifest = load_manifest(folder, benchmark)
        said = manifest.content.get("protocol")
        # InLoc's merged rows are of two methods.
        measured = named(manifest.method, manifest.matcher)
        if method not in measured.split(" and ") or said != protocol:
            raise D2EvalError(
                f"{folder}: holds a run of {measured}, protocol {said}, not of {method}, "
                f"protocol {protocol}; choose the right --method and --protocol, or another --label"
            )
    elif method not in {*registered(), *published_methods(benchmark)}:
        note(f"{method} is no method that d2eval knows; taken as it is")
