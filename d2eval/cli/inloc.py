"""Evaluates a method on InLoc: a pose of each query from the depth of retrieved cutouts.

The strategies are rows of the paper's table: sparse features matched directly (direct) or verified
by homographies (sparse), dense maps (dense), and the union of sparse and dense (merge); with
--dense-pv, views rendered from the scans choose among the poses. With reference poses the queries
are scored here; without, the submission file for visuallocalization.net is written. Without --data
it runs on a small embedded building, whose numbers compare with nothing published. Writes
queries.csv, candidates.csv, summary.csv, stages.csv, manifest.json and the submission under
OUTPUT/inloc/ROW/.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from d2eval.cli.common import (
    INLOC_PROTOCOLS,
    add_fresh_argument,
    add_method_arguments,
    add_output_argument,
    method_options,
    runtime_of,
    without_pose,
)
from d2eval.cli.matchers import add_matcher_argument, matcher_choice
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say, say_lines
from d2eval.foundation.text.labels import make_label

if TYPE_CHECKING:
    from d2eval.inloc.rows import DenseChoice

TAKES_METHOD = True
DENSE_NETWORK = "vgg16_dense"
STRATEGIES = ("sparse", "direct", "pooled", "dense", "merge")
EXAMPLES = """examples:
  python -m d2eval inloc --method d2_ss
  python -m d2eval inloc --method d2_ms --data INLOC --dense-pv
  python -m d2eval inloc --method rootsift --data INLOC --strategy direct
  python -m d2eval inloc --data INLOC --strategy dense --dense-pv
  python -m d2eval inloc --method d2_ms --data INLOC --strategy merge
  python -m d2eval inloc --data INLOC --strategy dense --dense-pv --protocol inloc_demo
  python -m d2eval inloc --method d2_ss --data INLOC --protocol inloc_hloc \\
      --retrieval pairs-query-netvlad20.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    add_fresh_argument(parser)
    add_method_arguments(parser, required=False)
    add_matcher_argument(parser, "the protocol's, mnn; dense maps take none")
    parser.add_argument(
        "--data", type=expanded, metavar="DIR",
        help="the dataset's folder, which holds query and database (default: the sample)",
    )  # fmt: skip
    parser.add_argument(
        "--protocol", choices=INLOC_PROTOCOLS, default="inloc",
        help="the paper's; as its code has it, faults included (inloc_demo); or hloc's, which "
        "pools all matches of a query",
    )  # fmt: skip
    parser.add_argument(
        "--strategy", choices=STRATEGIES,
        help="how candidate poses are found (default: sparse; pooled for inloc_hloc)",
    )  # fmt: skip
    parser.add_argument(
        "--dense-pv", action="store_true",
        help="choose among the poses by views rendered from the scans; merge always does",
    )  # fmt: skip
    parser.add_argument(
        "--dense-network", default=DENSE_NETWORK, metavar="NAME",
        help="whose maps the strategies dense and merge match",
    )  # fmt: skip
    parser.add_argument(
        "--dense-weights", default="bundled", metavar="FILE",
        help="its weights: bundled (a stand-in for NetVLAD's), or a path, e.g. Pitts30K_struct.mat",
    )  # fmt: skip
    parser.add_argument(
        "--global-retrieval", action="store_true",
        help="retrieve cutouts by the dense network's global descriptors",
    )  # fmt: skip
    parser.add_argument(
        "--retrieval", type=expanded, metavar="FILE",
        help="retrieved cutouts: a pair list as hloc writes it, or scores.mat "
        "(default: the dataset's)",
    )  # fmt: skip
    parser.add_argument(
        "--reference-poses", type=expanded, metavar="FILE",
        help="DUC_refposes_all.mat (default: the dataset's, if it is there)",
    )  # fmt: skip
    add_output_argument(parser)


def row_label(method: str | None, strategy: str, dense_pv: bool) -> str:
    """How a row is called, after its method."""
    name = "dense" if strategy == "dense" else f"{method}_{strategy}"
    if strategy == "merge":
        return f"inloc_{method}"
    return f"{name}_pv" if dense_pv else name


def name_parts(
    args: argparse.Namespace,
    strategy: str,
    sparse: tuple[str, dict[str, Any]] | None,
    dense: "DenseChoice",
    matcher: Sequence[str] = (),
) -> list[str | None]:
    """What a run is called by when ``--name`` doesn't say; ``matcher`` has the matcher's words."""
    from d2eval.cli.naming import (
        data_part,
        file_part,
        method_parts,
        number_part,
        option_parts,
        protocol_part,
    )
    from d2eval.contracts.maps import maps_class

    method, *options = method_parts(*sparse) if sparse else [None]
    network: list[str | None] = []
    if strategy in ("dense", "merge") or args.global_retrieval:
        network = [None if dense.name == DENSE_NETWORK else make_label(dense.name)]
        config = maps_class(dense.name).Config
        network += option_parts(config, {**dense.options, "weights": args.dense_weights})
    return [
        row_label(method, strategy, args.dense_pv),
        *options,
        *matcher,
        *network,
        protocol_part(args.protocol, "inloc"),
        "global" if args.global_retrieval else None,
        file_part(args.retrieval),
        file_part(args.reference_poses),
        data_part(args.data is None),
        number_part("seed", args.seed, 0),
    ]


def run(args: argparse.Namespace) -> int:
    """Runs the evaluation and prints the summary."""
    from d2eval.cli.naming import matcher_parts, run_name
    from d2eval.foundation.errors import D2EvalError
    from d2eval.foundation.terminal.progress import Progress
    from d2eval.inloc.benchmark import load_benchmark
    from d2eval.inloc.data.dataset import load_dataset
    from d2eval.inloc.report.plots import plot_recall
    from d2eval.inloc.report.runs import Runs, load_run
    from d2eval.inloc.report.site import SITE
    from d2eval.inloc.report.table import table_of_runs
    from d2eval.inloc.rows import DenseChoice, open_row, retrieve_globally
    from d2eval.inloc.run import Settings, run
    from d2eval.pipeline.store import Store
    from d2eval.report.tables import write_table

    strategy = args.strategy or ("pooled" if args.protocol == "inloc_hloc" else "sparse")
    if args.method is None and strategy != "dense":
        raise D2EvalError(f"--strategy {strategy} takes local features: name a --method")
    chosen = matcher_choice(args)
    if chosen and strategy == "dense":
        raise D2EvalError("--matcher: strategy dense matches maps, not features; leave it out")
    benchmark = load_benchmark(args.protocol)
    table_of_runs(Runs([], []))  # what can't be reported is told now, not after the work
    if args.data is None:
        from d2eval.sample.inloc import make_inloc_sample

        root = make_inloc_sample(args.cache)
    else:
        root = args.data
    with Progress("reading the dataset"):
        dataset = load_dataset(
            root, benchmark, args.data is None, args.reference_poses, args.retrieval
        )
    runtime = runtime_of(args)
    dense = DenseChoice(args.dense_network, {"weights": args.dense_weights})
    if args.global_retrieval:
        dataset = retrieve_globally(dataset, benchmark, dense, runtime)
    options = method_options(args) if args.method else {}
    sparse = None if args.method is None or strategy == "dense" else (args.method, options)
    matcher = matcher_parts(chosen, benchmark.matcher)
    name = run_name(args.name, name_parts(args, strategy, sparse, dense, matcher))
    row = open_row(
        name, strategy, sparse, dense, args.dense_pv, dataset, benchmark, runtime, chosen
    )
    say(
        *row.headlines,
        f"{benchmark.name} {dataset.completeness}: {len(dataset.queries)} queries, "
        f"{len(dataset.cutouts)} cutouts, {len(dataset.references)} reference poses",
    )
    for line in dataset.notes:
        note(line)
    settings = Settings(args.seed, args.device, args.workers)
    result = run(row, dataset, benchmark, Store(args.cache, args.fresh), args.output, settings)
    say_lines(summary_text(result.summary, scored=bool(dataset.references)))
    say(*without_pose(result.queries, "posed"))
    for line in result.notes:
        note(line)
    if not dataset.references:
        file = f"InLoc_{result.folder.name}.txt"
        say(f"no reference poses: submit {result.folder / file} to visuallocalization.net")
    written = load_run(result.folder)
    runs = Runs([written], SITE.read(result.folder / "site.csv"))
    write_table(table_of_runs(runs), result.folder)
    plot_recall(runs, result.folder, sample_only=written.is_sample)
    say(f"rows, candidates, summary, manifest, table and plot: {result.folder}")
    return 0


def summary_text(summary: list[dict[str, Any]], scored: bool) -> str:
    """A line for each floor and all of them."""
    lines = []
    for floor in dict.fromkeys(row["floor"] for row in summary):
        rows = [row for row in summary if row["floor"] == floor]
        text = f"{floor:>6}  {rows[0]['posed']}/{rows[0]['queries']} with a pose"
        if scored:
            text += "  " + "  ".join(
                f"{row['position_m']:g} m, {row['rotation_deg']:g} deg: "
                f"{row['localized']} ({row['percent']:.1f} %)"
                for row in rows
            )
        lines.append(text)
    return "\n".join(lines)
