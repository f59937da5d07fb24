"""Options of how and where a command computes, and the `Runtime` that they make."""

import argparse
from typing import TYPE_CHECKING

from d2eval.cli.common import add_cache_argument, memory_size, not_negative, seed
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.threads import thread_count

if TYPE_CHECKING:
    from d2eval.contracts.method import Runtime


def runtime_of(args: argparse.Namespace) -> "Runtime":
    """Device, seed and cache folder of ``args``.

    Raises:
        D2EvalError: there is no such device.
    """
    from d2eval.contracts.method import Runtime
    from d2eval.foundation.machine.resources import require_device
    from d2eval.foundation.machine.threads import use_threads
    from d2eval.scheduling.choice import is_local

    devices = args.device.split(",")
    for device in devices:
        require_device(device)
    if len(devices) > 1 and not is_local(getattr(args, "scheduler", None)):
        raise D2EvalError(f"--device {args.device}: several go with --scheduler local:N")
    if args.threads is not None:
        use_threads(args.threads)
    fresh = getattr(args, "fresh", False)  # not every command stores anything
    return Runtime(
        devices[0], args.seed, args.memory_limit, args.cache, fresh, threads=args.threads,
        devices=tuple(devices) if len(devices) > 1 else (),
    )  # fmt: skip


def _threads(text: str) -> int:
    """An argument that libraries are told as it stands, see `claim_threads`."""
    count = thread_count(text)
    if count is None:
        raise argparse.ArgumentTypeError("must be a number from 1 to 9999")
    return count


def add_method_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds ``--method`` and what `add_runtime_arguments` adds."""
    parser.add_argument(
        "--method",
        required=required,
        metavar="NAME",
        help="a name that 'd2eval methods' lists, module:Class, precomputed:WHERE (a folder of "
        "feature files, or hloc's .h5), or external:COMMAND (a program that is given a list of "
        "images and a folder); several, repeated or joined by commas, run one after the other; "
        "all: every method that lacks nothing",
    )
    add_runtime_arguments(parser, "threads that read images and write features meanwhile")


def add_runtime_arguments(parser: argparse.ArgumentParser, workers: str | None) -> None:
    """Adds ``--device``, ``--threads``, ``--memory-limit``, ``--workers``, ``--seed``, ``--cache``.

    ``workers`` says what the workers are; None: the command has none.
    """
    parser.add_argument(
        "--device",
        default="cpu",
        help="torch device, e.g. cpu, cuda, cuda:1; with --scheduler local:N several, joined by "
        "commas, of which each process has one",
    )
    parser.add_argument(
        "--threads",
        type=_threads,
        metavar="N",
        help="of PyTorch, OpenCV, numba, BLAS and COLMAP in this process and in each worker "
        "(default: as many as there are cores; of workers, their share)",
    )
    parser.add_argument(
        "--memory-limit",
        type=memory_size,
        metavar="SIZE",
        help="what the process may come to hold, e.g. 4GB, for methods that can do with less "
        "(default: 80 %% of what is free)",
    )
    if workers is not None:
        parser.add_argument(
            "--workers", type=not_negative, default=1, metavar="N", help=f"{workers}; 0: none"
        )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N|random",
        help="seed of whatever draws random numbers; random: another one each time, which the "
        "manifest names",
    )
    add_cache_argument(parser)


def add_scheduler_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--scheduler``."""
    parser.add_argument(
        "--scheduler",
        metavar="WHERE",
        help="where features, matches and poses are made: local:N, N processes of this machine, "
        "among which its cores (and GPUs, with --device cuda) are divided; or the workers of a "
        "Dask scheduler that runs, by its address or its file (default: in this process)",
    )


def add_dry_run_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--dry-run``."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what is to be made and what of it is stored, with time and disk by the "
        "costs on record; writes nothing",
    )


def add_fresh_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--fresh``."""
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="extract and compute everything again, whatever is stored of it, and store that",
    )
