"""Trains a method's weights and exports the best by validation.

Without --data it trains on a small embedded scene, rendered with depth, which shows how training
goes and teaches little. The same command goes on where it was cut off. Several processes: torchrun
--nproc-per-node N -m d2eval train ..., one GPU each; all must see the same output folder.
"""

import argparse

from d2eval.cli.common import add_options
from d2eval.cli.runtime import add_runtime_arguments
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import say

TRAINER = "d2net"
EXAMPLES = """examples:
  python -m d2eval train --output RUN --epochs 2
  python -m d2eval train --data homographies:PHOTOS --output RUN
  python -m d2eval train --data homographies:PHOTOS --output RUN --light 0 --epochs 3
  python -m d2eval prepare megadepth MEGADEPTH --output SCENES
  python -m d2eval train --data megadepth:SCENES --output RUN --recipe paper --device cuda
  python -m d2eval hpatches --method d2_ss_trained --weights RUN/best.safetensors

kinds of data:
  homographies:DIR  photos, seen twice under random perspectives and lights; every tenth is held out
  posed:DIR         images with depth maps, poses and intrinsics
  megadepth:DIR     scenes that 'd2eval prepare megadepth' wrote
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    from d2eval.contracts.training import trainer_class

    parser.epilog = EXAMPLES
    parser.add_argument(
        "--data", action="append", metavar="KIND:PATH",
        help="pairs to train on, see below; may be repeated (default: the sample)",
    )  # fmt: skip
    parser.add_argument(
        "--output", required=True, type=expanded, metavar="RUN",
        help="folder for checkpoint, weights, curves and manifest",
    )  # fmt: skip
    add_runtime_arguments(parser, "processes that draw pairs")
    add_options(parser, trainer_class(TRAINER).Config, TRAINER, f"options of {TRAINER}")


def run(args: argparse.Namespace) -> int:
    """Trains."""
    import dataclasses

    import torch

    from d2eval.cli.runtime import runtime_of
    from d2eval.contracts.training import trainer_class
    from d2eval.foundation.machine.processes import number_of_first, own_rank, together
    from d2eval.runs.manifest import environment

    rank = own_rank()
    several_gpus = args.device.startswith("cuda") and rank.world > 1
    if several_gpus:
        args.device = f"cuda:{rank.local}"
    runtime_of(args)  # there is such a device
    if several_gpus:
        torch.cuda.set_device(args.device)
    trainer = trainer_class(TRAINER)
    names = [field.name for field in dataclasses.fields(trainer.Config)]
    config = trainer.Config(**{name: getattr(args, name) for name in names})
    if args.data is None:
        from d2eval.sample.training import make_training_sample

        args.data = [f"posed:{make_training_sample(args.cache)}"]
    with together(rank, args.device):
        args.seed = number_of_first(args.seed, rank, args.device)  # a random one is drawn by each
        output = args.output
        trained = trainer(config, args.data, output, runtime_of(args), args.workers, rank)
        trained.train(lambda: environment(args.device), say)
    return 0
