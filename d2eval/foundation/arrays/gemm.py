"""Products of float32 matrices on the CPU by the fastest library that PyTorch carries.

On processors with AVX-512 that Intel didn't make, oneDNN's products are more than twice as fast as
MKL's, which don't use those instructions there. PyTorch reaches oneDNN's through an operation that
`torch.compile` inserts; where a build lacks it, `torch.mm` does the same. Which one is used depends
on the build alone and never on a measurement, so a machine gives the same digits every time.
"""

import functools
import platform

import torch


@functools.cache
def has_onednn_products() -> bool:
    """Whether this build of PyTorch multiplies by oneDNN (x86 only: elsewhere it is not faster)."""
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


@torch.inference_mode()
def multiply_transposed(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """``first @ second.T`` on the calling thread and as many more as PyTorch has for it.

    Args:
        first: (M, K) float32 on the CPU, rows contiguous.
        second: (N, K) float32 likewise, or what `prepack` made of it.

    Returns:
        (M, N), contiguous.
    """
    if not has_onednn_products():
        return torch.mm(first, second.T)
    return torch.ops.mkldnn._linear_pointwise(first, second, None, "none", [], "")


@torch.inference_mode()
def prepack(second: torch.Tensor, rows: int) -> torch.Tensor:
    """Lays out a right-hand side that serves many products, which changes no digit of them.

    Args:
        second: (N, K) float32 on the CPU.
        rows: of the left-hand sides, about.

    Returns:
        What `multiply_transposed` takes in its place.
    """
    if not has_onednn_products():
        return second
    return torch.ops.mkldnn._reorder_linear_weight(second.contiguous(), rows)
