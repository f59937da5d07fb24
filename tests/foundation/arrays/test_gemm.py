"""Products against float64, on whichever library this build has and on the other one."""

import pytest
import torch

from d2eval.foundation.arrays import gemm


@pytest.fixture(params=["as built", "torch.mm"])
def library(request, monkeypatch):
    if request.param == "torch.mm":
        monkeypatch.setattr(gemm, "has_onednn_products", lambda: False)


def random_sides(m: int, n: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(m + n + k)
    return torch.randn(m, k, generator=generator), torch.randn(n, k, generator=generator)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 5, 3), (128, 256, 512), (100, 37, 64)])
def test_equals_the_product_in_double_precision(sizes, packed, library):
    first, second = random_sides(*sizes)
    right = gemm.prepack(second, len(first)) if packed else second
    found = gemm.multiply_transposed(first, right)
    assert (found.shape, found.dtype) == (sizes[:2], torch.float32)
    assert found.is_contiguous()
    wanted = first.double() @ second.double().T
    assert (found - wanted).abs().max() < 1e-5 * max(1, sizes[2] ** 0.5)


def test_parts_of_larger_matrices(library):
    first, second = random_sides(60, 50, 16)
    found = gemm.multiply_transposed(first[10:43], second[5:38])
    wanted = first[10:43].double() @ second[5:38].double().T
    assert (found - wanted).abs().max() < 1e-4


def test_packing_changes_no_digit(library):
    first, second = random_sides(128, 256, 128)
    plain = gemm.multiply_transposed(first, second)
    assert torch.equal(gemm.multiply_transposed(first, gemm.prepack(second, 128)), plain)


def test_autograd_is_left_out(library):
    first, second = random_sides(4, 4, 4)
    assert not gemm.multiply_transposed(first.requires_grad_(), second).requires_grad
