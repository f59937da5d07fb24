"""Winograd convolutions against PyTorch's, in double precision."""

import itertools

import pytest
import torch
from torch.nn import functional

from methods.vgg16.flat import WindowConvolution
from methods.vgg16.network import direct_convolution
from methods.vgg16.stages import Convolution
from methods.vgg16.winograd import BLOCK_TILES, TILE, WinogradConvolution, Workers


@pytest.fixture(scope="module")
def workers() -> Workers:
    return Workers(160)


def random_layer(inputs: int, outputs: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / 9 / inputs) ** 0.5
    return weight, torch.randn(outputs, generator=generator)


def expected(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dilation: int, relu: bool
) -> torch.Tensor:
    """The whole map with zero padding, (H, W, C), by PyTorch in float64."""
    x = rows.permute(2, 0, 1)[None].double()
    y = functional.conv2d(x, weight.double(), bias.double(), padding=dilation, dilation=dilation)
    return (y.relu() if relu else y)[0].permute(1, 2, 0)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 8), (9, 7), (37, 50), (61, 83)])
def test_equals_the_direct_convolution(size, dilation, relu, workers):
    weight, bias = random_layer(64, 160, seed=sum(size))
    rows = torch.randn(*size, 64, generator=torch.Generator().manual_seed(1))
    layer = WinogradConvolution(weight, bias, dilation, relu, workers)
    windows = WindowConvolution(weight, bias, dilation, relu)
    found = Convolution(layer, windows, TILE * dilation).push(rows, last=True)
    wanted = expected(rows, weight, bias, dilation, relu)
    assert found.shape == wanted.shape
    # F(4x4, 3x3) in float32: a few 1e-5 of activations of size one
    assert (found - wanted).abs().max() < 1e-4


def test_more_tiles_than_one_block(workers):
    assert (64 // TILE) ** 2 > BLOCK_TILES
    weight, bias = random_layer(32, 32, seed=0)
    rows = torch.randn(64, 64, 32, generator=torch.Generator().manual_seed(2))
    layer = WinogradConvolution(weight, bias, 1, True, workers)
    found = Convolution(layer, WindowConvolution(weight, bias, 1, True), TILE).push(rows, last=True)
    assert (found - expected(rows, weight, bias, 1, True)).abs().max() < 1e-4


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("winograd", [True, False])
@pytest.mark.parametrize("cuts", [[1, 2, 3], [5, 5, 20, 33], [40], [8, 16, 24, 32], [0, 41]])
def test_rows_fed_in_pieces_give_the_map_of_all_rows(cuts, winograd, dilation, workers):
    weight, bias = random_layer(16, 24, seed=3)
    rows = torch.randn(47, 29, 16, generator=torch.Generator().manual_seed(4))
    if winograd:
        layer, multiple = WinogradConvolution(weight, bias, dilation, True, workers), 4 * dilation
    else:
        layer, multiple = direct_convolution(weight, bias, dilation, True), 1
    windows = WindowConvolution(weight, bias, dilation, True)
    stage = Convolution(layer, windows, multiple)
    bounds = [0, *cuts, 47]
    pieces = [
        stage.push(rows[first:last], last == 47) for first, last in itertools.pairwise(bounds)
    ]
    wanted = expected(rows, weight, bias, dilation, True)
    assert (torch.cat(pieces) - wanted).abs().max() < 1e-4


def test_threads_of_pytorch_are_as_before():
    before = torch.get_num_threads()
    weight, bias = random_layer(16, 16, seed=5)
    WinogradConvolution(weight, bias, 1, True, Workers(16))(torch.zeros(20, 20, 16))
    assert torch.get_num_threads() == before
