"""Evaluates a method on Aachen Day-Night: triangulates the database images, registers the queries.

With reference poses (--reference-poses, or reference_poses.txt in the dataset) the queries are
scored here; without, the submission file for visuallocalization.net is written, and import-result
brings the site's numbers back. Without --data it runs on a small embedded sample, whose numbers
compare with nothing published. Writes queries.csv, summary.csv, stages.csv, manifest.json, the
COLMAP model, the submission and a table under OUTPUT/aachen/RUN/.
"""

import argparse
from typing import Any

from d2eval.cli.common import (
    AACHEN_PROTOCOLS,
    add_fresh_argument,
    add_method_arguments,
    add_output_argument,
    method_options,
    positive,
    runtime_of,
    without_pose,
)
from d2eval.cli.matchers import add_matcher_argument, matcher_choice
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say, say_lines

TAKES_METHOD = True
EXAMPLES = """examples:
  python -m d2eval aachen --method d2_ss
  python -m d2eval aachen --method d2_ms --data AACHEN
  python -m d2eval aachen --method rootsift --data AACHEN --holdout 100 --name rootsift_holdout
  python -m d2eval aachen --method d2_ss --data AACHEN --protocol aachen_hloc --name d2_ss_hloc \\
      --pairs pairs-covis20-netvlad30.txt
  python -m d2eval aachen --method d2_ss --help      # with the method's own options
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    add_fresh_argument(parser)
    add_method_arguments(parser)
    add_matcher_argument(parser, "the protocol's, mnn")
    parser.add_argument(
        "--data", type=expanded, metavar="DIR",
        help="the dataset's folder, which holds database.db (default: the sample)",
    )  # fmt: skip
    parser.add_argument(
        "--protocol", choices=AACHEN_PROTOCOLS, default="aachen",
        help="the challenge on v1 or v1.1, or hloc's protocol on v1",
    )  # fmt: skip
    parser.add_argument(
        "--reference-poses", type=expanded, metavar="FILE",
        help="poses of the queries, lines `name qw qx qy qz tx ty tz` "
        "(default: reference_poses.txt in the dataset, if it is there)",
    )  # fmt: skip
    parser.add_argument(
        "--pairs", type=expanded, metavar="FILE",
        help="pair list instead of the dataset's: pairs of database images and retrieved ones",
    )  # fmt: skip
    parser.add_argument(
        "--holdout", type=positive, metavar="N",
        help="hold out N database images, and register them instead of the queries",
    )  # fmt: skip
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the evaluation and prints the summary."""
    from d2eval.aachen.benchmark import load_benchmark
    from d2eval.aachen.data.covisibility import with_covisible_pairs
    from d2eval.aachen.data.dataset import load_dataset
    from d2eval.aachen.data.holdout import hold_out
    from d2eval.aachen.report.pictures import plot_recall, plot_topview
    from d2eval.aachen.report.runs import Runs, load_run
    from d2eval.aachen.report.site import SITE
    from d2eval.aachen.report.table import table_of_runs
    from d2eval.aachen.run import Settings, run
    from d2eval.cli.naming import (
        data_part,
        file_part,
        matcher_parts,
        method_parts,
        number_part,
        protocol_part,
        run_name,
    )
    from d2eval.foundation.terminal.progress import Progress
    from d2eval.pipeline.extraction import open_source
    from d2eval.pipeline.pairs import open_matcher
    from d2eval.pipeline.store import Store
    from d2eval.report.tables import write_table

    benchmark = load_benchmark(args.protocol)
    table_of_runs(Runs([], []))  # what can't be reported is told now, not after the work
    if args.data is None:
        from d2eval.sample.aachen import make_aachen_sample

        root = make_aachen_sample(args.cache)
    else:
        root = args.data
    with Progress("reading the dataset"):
        dataset = load_dataset(root, benchmark, args.data is None, args.reference_poses, args.pairs)
    if benchmark.covisible_pairs and args.pairs is None:
        model = root / benchmark.layout.model
        dataset = with_covisible_pairs(dataset, model, benchmark.covisible_pairs)
    if args.holdout:
        dataset = hold_out(dataset, args.holdout)
    options, chosen = method_options(args), matcher_choice(args)
    name = run_name(
        args.name,
        [
            *method_parts(args.method, options),
            *matcher_parts(chosen, benchmark.matcher),
            protocol_part(args.protocol, "aachen"),
            file_part(args.pairs),
            file_part(args.reference_poses),
            number_part("holdout", args.holdout),
            data_part(args.data is None),
            number_part("seed", args.seed, 0),
        ],
    )
    runtime = runtime_of(args)
    matcher = open_matcher(chosen, benchmark.matcher, runtime)
    source = open_source(args.method, options, runtime, args.name)
    say(source.headline(), *matcher.headlines())
    say(
        f"{benchmark.name} {dataset.completeness}: {len(dataset.poses)} database images with a "
        f"pose, {len(dataset.queries)} queries, {len(dataset.pairs)} pairs"
    )
    for line in dataset.notes:
        note(line)
    settings = Settings(args.seed, args.device, args.workers, args.holdout)
    store = Store(args.cache, args.fresh)
    result = run(source, matcher, dataset, benchmark, store, args.output, settings, name)
    say_lines(stages_text(result.stages))
    say_lines(summary_text(result.summary, scored=bool(dataset.references)))
    say(*without_pose(result.queries, "registered"))
    say(f"extracted {result.extracted} images; finished work is kept in {args.cache}")
    for line in result.notes:
        note(line)
    if not dataset.references:
        file = f"Aachen_eval_{result.folder.name}.txt"
        say(f"no reference poses: submit {result.folder / file} to visuallocalization.net")
    written = load_run(result.folder)
    runs = Runs([written], SITE.read(result.folder / "site.csv"))
    write_table(table_of_runs(runs), result.folder)
    plot_recall(runs, result.folder, sample_only=written.is_sample)
    plot_topview(written, result.folder)
    say(f"rows, summary, model, manifest, table and plots: {result.folder}")
    return 0


def stages_text(stages: list[dict[str, Any]]) -> str:
    """A line for each stage: what it left, and its seconds."""
    lines = []
    for row in stages:
        counts = [
            f"{value:.4g} {name}" if isinstance(value, float) else f"{value} {name}"
            for name, value in row.items()
            if value is not None and name not in ("stage", "seconds", "peak_memory_mb")
        ]
        text = ", ".join(counts).replace("_", " ")
        lines.append(f"{row['stage']:>13}  {row['seconds']:7.1f} s  {text}")
    return "\n".join(lines)


def summary_text(summary: list[dict[str, Any]], scored: bool) -> str:
    """A line for each epoch and split."""
    lines = []
    for epoch, split in dict.fromkeys((row["epoch"], row["split"]) for row in summary):
        rows = [row for row in summary if (row["epoch"], row["split"]) == (epoch, split)]
        first = rows[0]
        text = f"{split:>8}  epoch {epoch}  {first['registered']}/{first['queries']} registered"
        if scored:
            text += "  " + "  ".join(
                f"{row['position_m']:g} m, {row['rotation_deg']:g} deg: "
                f"{row['localized']} ({row['percent']:.1f} %)"
                for row in rows
            )
        lines.append(text)
    return "\n".join(lines)
