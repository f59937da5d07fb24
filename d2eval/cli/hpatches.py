"""Evaluates a method on HPatches sequences as the D2-Net paper did.

Without --data it runs on a small embedded sample, whose numbers compare with nothing published.
Writes pairs.csv, summary.csv, manifest.json, a table and a plot under OUTPUT/hpatches/RUN/.
"""

import argparse
import math
from typing import Any

from d2eval.cli.common import (
    add_fresh_argument,
    add_method_arguments,
    add_output_argument,
    method_options,
    positive,
    runtime_of,
)
from d2eval.cli.matchers import add_matcher_argument, matcher_choice
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say, say_lines

TAKES_METHOD = True
EXAMPLES = """examples:
  python -m d2eval hpatches --method d2_ms
  python -m d2eval hpatches --method d2_ss --data hpatches-sequences-release
  python -m d2eval hpatches --method d2_ss --weights official --data ... --top-k 2000 --name d2_2k
  python -m d2eval hpatches --method rootsift --num-features 4000 --data ... --sequences 'v_*'
  python -m d2eval hpatches --method rootsift --matcher mnn_ratio --matcher-ratio 0.9
  python -m d2eval hpatches --method precomputed:features/r2d2 --data ...
  python -m d2eval hpatches --method d2_ms --help      # with the method's own options
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    add_fresh_argument(parser)
    add_method_arguments(parser)
    add_matcher_argument(parser, "the protocol's, mnn")
    parser.add_argument(
        "--data",
        type=expanded,
        metavar="DIR",
        help="the folder that holds i_* and v_* (default: the sample)",
    )
    parser.add_argument(
        "--sequences",
        default="*",
        metavar="PATTERN",
        help="only these, e.g. 'v_*' or 'i_leuven,v_bird'",
    )
    parser.add_argument(
        "--top-k",
        type=positive,
        metavar="K",
        help="keep the K features of highest score of each image",
    )
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the evaluation and prints the summary."""
    from d2eval.cli.naming import (
        data_part,
        matcher_parts,
        method_parts,
        number_part,
        run_name,
    )
    from d2eval.foundation.text.labels import make_label
    from d2eval.hpatches.benchmark import load_benchmark
    from d2eval.hpatches.dataset import load_dataset
    from d2eval.hpatches.report.curves import plot_runs
    from d2eval.hpatches.report.published import shown_thresholds
    from d2eval.hpatches.report.runs import load_run
    from d2eval.hpatches.report.table import table_of_runs
    from d2eval.hpatches.run import Settings, run
    from d2eval.pipeline.extraction import open_source
    from d2eval.pipeline.pairs import open_matcher
    from d2eval.pipeline.store import Store
    from d2eval.report.tables import write_table

    benchmark = load_benchmark()
    shown = shown_thresholds()
    table_of_runs([])  # what can't be reported is told now, not after the work
    if args.data is None:
        from d2eval.sample.hpatches import make_hpatches_sample

        root = make_hpatches_sample(args.cache)
    else:
        root = args.data
    dataset = load_dataset(root, benchmark, args.sequences, sample=args.data is None)
    options, chosen = method_options(args), matcher_choice(args)
    name = run_name(
        args.name,
        [
            *method_parts(args.method, options),
            *matcher_parts(chosen, benchmark.matcher),
            number_part("top", args.top_k),
            make_label(args.sequences) if args.sequences != "*" else None,
            data_part(dataset.sample),
            number_part("seed", args.seed, 0),
        ],
    )
    runtime = runtime_of(args)
    matcher = open_matcher(chosen, benchmark.matcher, runtime)
    source = open_source(args.method, options, runtime, args.name)
    say(source.headline(), *matcher.headlines())
    images = sum(len(sequence.images) for sequence in dataset.sequences)
    say(f"HPatches {dataset.completeness}: {len(dataset.sequences)} sequences, {images} images")
    if dataset.excluded:
        say(f"excluded by the protocol: {', '.join(dataset.excluded)}")
    if dataset.ignored:
        note(f"not sequences, left alone: {', '.join(dataset.ignored)}")
    result = run(
        source, matcher, dataset, benchmark, Store(args.cache, args.fresh), args.output,
        Settings(args.top_k, args.seed, args.device, args.workers), name,
    )  # fmt: skip
    say_lines(summary_text(result.summary))
    say(f"extracted {result.extracted} of {images} images; features are kept in {args.cache}")
    for line in result.notes:
        note(line)
    sole = [load_run(result.folder, shown)]
    write_table(table_of_runs(sole), result.folder)
    drawn = plot_runs(sole, result.folder, published=not dataset.sample, sample_only=dataset.sample)
    say(f"rows, summary, manifest and table: {result.folder}; curves: {drawn[0]}")
    return 0


def summary_text(summary: list[dict[str, Any]]) -> str:
    """The paper's columns, and MMA at a few thresholds, as aligned text."""
    shown = {
        "split": "split", "pairs": "pairs", "mean_features": "features", "mean_matches": "matches",
        "mma_1px": "MMA@1px", "mma_3px": "MMA@3px", "mma_5px": "MMA@5px", "mma_10px": "MMA@10px",
    }  # fmt: skip
    lines = [[shown[name] for name in shown]]
    for row in summary:
        cells = []
        for name in shown:
            value = row.get(name, "")
            places = 3 if name.startswith("mma") else 1
            number = isinstance(value, float) and not math.isnan(value)
            cells.append(f"{value:.{places}f}" if number else str(value).replace("nan", "-"))
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(shown))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
