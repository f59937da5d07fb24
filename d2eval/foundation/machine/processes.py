"""Processes that work together as torchrun starts them, and what they tell each other."""

import contextlib
import hashlib
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait

from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.terminal.console import complain

PATIENCE = timedelta(hours=12)  # the others wait while the first process validates
_PEER_GONE = ("connection closed by peer", "connection reset by peer", "broken pipe")


@dataclass(frozen=True)
class Rank:
    """This process among those that work together; the default is alone."""

    rank: int = 0  # 0 to world - 1; 0 writes
    world: int = 1  # how many processes
    local: int = 0  # its number on this machine, which is its GPU


def own_rank() -> Rank:
    """This process among those that torchrun started; alone without torchrun."""
    said = os.environ.get
    return Rank(int(said("RANK", "0")), int(said("WORLD_SIZE", "1")), int(said("LOCAL_RANK", "0")))


@contextlib.contextmanager
def together(rank: Rank, device: str) -> Iterator[None]:
    """Joins the group of processes for a block; nothing where there is one process.

    A process whose block fails says why and ends at once, with exit code 2 for a `D2EvalError`: its
    farewell to the group would wait for processes that wait for it. torchrun then ends the others.
    GPUs talk by NCCL, other devices by Gloo.
    """
    if rank.world == 1:
        yield
        return
    import torch

    backend = "nccl" if device.startswith("cuda") else "gloo"
    try:
        torch.distributed.init_process_group(backend, timeout=PATIENCE)
        yield
    except BaseException as error:  # noqa: BLE001 - whatever it is, the others must not wait
        code = _explain(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    torch.distributed.destroy_process_group()


def _explain(error: BaseException) -> int:
    """Says on standard error why the process ends; its exit code."""
    import torch

    if isinstance(error, D2EvalError):
        complain(str(error))
        return 2
    if isinstance(error, KeyboardInterrupt):
        return 130
    gone = any(text in str(error).lower() for text in _PEER_GONE)
    if gone or isinstance(error, torch.distributed.DistError):
        complain(f"another process ended ({reason_of(error)}); its message says why")
        return 2
    traceback.print_exception(error)
    return 1


def end_with_parent(_: int = 0) -> None:
    """Lets this child process, which multiprocessing started, end as soon as its parent has.

    A data loader's worker notices by itself, but then waits for ever to hand over what nobody will
    take. To be called in the child, such as by ``worker_init_fn``.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def number_of_first(number: int, rank: Rank, device: str) -> int:
    """What the first process gives as ``number``."""
    if rank.world == 1:
        return number
    import torch

    shared = torch.tensor(number, dtype=torch.int64, device=device)
    torch.distributed.broadcast(shared, 0)
    return int(shared)


def same_for_all(text: str, rank: Rank, device: str) -> bool:
    """Whether all processes give the same text; each waits for all others."""
    if rank.world == 1:
        return True
    import torch

    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    both = torch.tensor([number, -number], dtype=torch.int64, device=device)
    torch.distributed.all_reduce(both, torch.distributed.ReduceOp.MAX)
    return int(both[0]) == number and int(both[1]) == -number
