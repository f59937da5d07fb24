"""Trains a method's weights and exports the best by validation.

The same command goes on where it was cut off. Several processes: torchrun --nproc-per-node N -m
d2eval train ..., one GPU each; all must see the same output folder.
"""

import argparse
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from d2eval.cli.common import add_options, add_runtime_arguments

if TYPE_CHECKING:
    from d2eval.training import Rank

TRAINER = "d2net"
PATIENCE = timedelta(hours=12)
EXAMPLES = """examples:
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
    from d2eval.training import trainer_class

    parser.epilog = EXAMPLES
    parser.add_argument(
        "--data", required=True, action="append", metavar="KIND:PATH",
        help="pairs to train on, see below; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--output", required=True, type=Path, metavar="RUN",
        help="folder for checkpoint, weights, curves and manifest",
    )  # fmt: skip
    add_runtime_arguments(parser, "processes that draw pairs")
    add_options(parser, trainer_class(TRAINER).Config, TRAINER, f"options of {TRAINER}")


def run(args: argparse.Namespace) -> int:
    """Trains."""
    import dataclasses

    import torch

    from d2eval.cli.common import runtime_of
    from d2eval.manifest import environment
    from d2eval.training import trainer_class

    rank = _rank()
    several_gpus = args.device.startswith("cuda") and rank.world > 1
    if several_gpus:
        args.device = f"cuda:{rank.local}"
    runtime = runtime_of(args)
    if several_gpus:
        torch.cuda.set_device(args.device)
    trainer = trainer_class(TRAINER)
    names = [field.name for field in dataclasses.fields(trainer.Config)]
    config = trainer.Config(**{name: getattr(args, name) for name in names})
    if rank.world > 1:
        # The others wait in the next step while the first process validates.
        torch.distributed.init_process_group("nccl" if several_gpus else "gloo", timeout=PATIENCE)
    try:
        output = args.output.expanduser()
        trained = trainer(config, args.data, output, runtime, args.workers, rank)
        done = trained.train(lambda: environment(args.device))
    finally:
        if rank.world > 1:
            torch.distributed.destroy_process_group()
    if done:
        print(done)
    return 0


def _rank() -> "Rank":
    """This process among those that torchrun started."""
    from d2eval.training import Rank

    rank, world, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    return Rank(rank, world, local)
