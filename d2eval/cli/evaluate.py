"""The command of a benchmark: the same for all of them."""

import argparse
from dataclasses import fields, replace

from d2eval.cli.common import add_options, add_output_argument, method_choice, options_of, positive
from d2eval.cli.matchers import add_matcher_argument, matcher_choice
from d2eval.cli.runtime import (
    add_dry_run_argument,
    add_fresh_argument,
    add_method_arguments,
    add_runtime_arguments,
    add_scheduler_argument,
    runtime_of,
)
from d2eval.evaluation.benchmark import Benchmark, Request, benchmark_class
from d2eval.foundation.errors import told
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import note, say


class Command:
    """``d2eval BENCHMARK``."""

    def __init__(self, name: str) -> None:
        """Finds the benchmark.

        Raises:
            D2EvalError: it can't be imported.
        """
        self.name = name
        self.benchmark: type[Benchmark] = benchmark_class(name)
        self.__doc__ = self.benchmark.__doc__
        self.TAKES_METHOD = self.benchmark.takes_method
        # whether the benchmark itself goes through seeds, within a run
        self.has_seeds = any(own.name == "seeds" for own in fields(self.benchmark.Options))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the options of every benchmark, and its own."""
        parser.epilog = self.benchmark.examples
        add_fresh_argument(parser)
        add_dry_run_argument(parser)
        if self.benchmark.takes_method:
            add_method_arguments(parser, required=self.benchmark.needs_method)
            add_matcher_argument(parser, self.benchmark.matcher_default)
            add_scheduler_argument(parser)
        else:
            add_runtime_arguments(parser, None)
            parser.set_defaults(method=None, matcher=None, workers=0, scheduler=None)
        parser.add_argument(
            "--data", type=expanded, metavar="DIR",
            help="the dataset's folder (default: the sample)",
        )  # fmt: skip
        if not self.has_seeds:
            parser.add_argument(
                "--seeds", type=positive, default=1, metavar="N",
                help="a run for each of N seeds, from --seed on; says how far their numbers spread",
            )  # fmt: skip
        owner = f"benchmark {self.name!r}"
        add_options(parser, self.benchmark.Options, owner, f"options of {self.name}")
        add_output_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Runs the evaluation, once for each seed, and prints the summary."""
        from d2eval.comparison.spread import spread_lines
        from d2eval.evaluation.evaluate import plan_benchmark, run_benchmark
        from d2eval.evaluation.naming import number_part
        from d2eval.scheduling.choice import open_workers

        request = Request(
            method=method_choice(args) if args.method else None,
            matcher=matcher_choice(args),
            runtime=runtime_of(args),
            output=args.output,
            workers=args.workers,
            name=args.name,
            tell=say,
        )
        benchmark = self.benchmark(options_of(self.benchmark.Options, args))
        count, folders = 1 if self.has_seeds else args.seeds, []
        with open_workers(None if args.dry_run else args.scheduler, args.threads) as workers:
            for seed in range(args.seed, args.seed + count):
                name = args.name
                if name and seed != args.seed:
                    name = f"{name}-{number_part('seed', seed)}"
                runtime = replace(request.runtime, seed=seed)
                own = replace(request, runtime=runtime, name=name)
                if args.dry_run:
                    plan_benchmark(benchmark, args.data, own)
                    continue
                folders.append(run_benchmark(benchmark, args.data, own, workers).folder)
        if len(folders) > 1:
            say(f"over {count} seeds:")
            with told(note):
                items = [benchmark.items_of(folder, folder.name) for folder in folders]
                for line in spread_lines(items):
                    say(f"  {line}")
        return 0
