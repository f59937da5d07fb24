"""What follows from layers, against numbers worked out by hand and a slow search."""

import dataclasses

import numpy as np
import pytest

from d2eval.contracts.architecture import Architecture, Layer, Level, trace

STEM = Layer("stem", "stem_1", "convolution", 7, 2, 1, 3, 3, 64, relu=True)
POOL = Layer("stem", "pool", "max pool", 3, 2, 1, 1, 64, 64)
WIDE = Layer("body", "body_1", "convolution", 3, 1, 4, 4, 64, 10)
LAYERS = (STEM, POOL, WIDE)


def test_by_hand():
    """A ResNet's beginning, then a dilated convolution: 7x7 / 2, 3x3 / 2, 3x3 with dilation 4."""
    stem, pool, wide = trace(LAYERS, (224, 100))
    assert (stem.size, pool.size, wide.size) == ((112, 50), (56, 25), (56, 25))
    assert (stem.receptive_field, pool.receptive_field, wide.receptive_field) == (7, 11, 43)
    assert (stem.jump, pool.jump, wide.jump) == (2, 4, 4)
    assert stem.layer.parameters == 7 * 7 * 3 * 64 + 64
    assert pool.layer.parameters == pool.flop == 0
    assert wide.layer.parameters == 3 * 3 * 64 * 10 + 10
    assert stem.flop == 2 * 7 * 7 * 3 * 64 * 112 * 50
    assert wide.flop == 2 * 3 * 3 * 64 * 10 * 56 * 25


def test_a_classifier_by_hand():
    """5x5 with batch normalization, then all of its 4x4 maps connected to 7 numbers."""
    first = Layer("a", "a", "convolution", 5, 1, 1, 0, 1, 6, relu=True, batch_norm=True)
    last = Layer("b", "b", "fully connected", 4, 1, 1, 0, 6, 7)
    maps, scores = trace((first, last), (8, 8))
    assert (maps.size, scores.size) == ((4, 4), (1, 1))
    assert first.parameters == 6 * 25 + 6 + 2 * 6
    assert last.parameters == 96 * 7 + 7
    assert scores.flop == 2 * 96 * 7


def reached(layers: tuple[Layer, ...], cell: int) -> set[int]:
    """Positions of the input that a cell of the output sees, by going back through the layers."""
    cells = {cell}
    for layer in reversed(layers):
        cells = {
            at * layer.stride - layer.padding + tap * layer.dilation
            for at in cells
            for tap in range(layer.kernel)
        }
    return cells


def test_random_layers_against_a_search():
    generator = np.random.default_rng(0)
    for _ in range(200):
        layers = tuple(
            Layer("b", "l", "convolution", *(int(generator.integers(1, 5)) for _ in range(3)),
                  int(generator.integers(0, 3)), 1, 1)
            for _ in range(generator.integers(1, 5))
        )  # fmt: skip
        last = trace(layers, (300, 300))[-1]
        first, second = reached(layers, 40), reached(layers, 41)
        assert last.receptive_field == max(first) - min(first) + 1
        assert last.jump == min(second) - min(first)


@pytest.mark.parametrize("length", range(12))
def test_lengths_against_counting(length):
    for layer in (STEM, POOL, WIDE, dataclasses.replace(WIDE, padding=0)):
        taps = [tap * layer.dilation for tap in range(layer.kernel)]
        starts = range(-layer.padding, length + layer.padding, layer.stride)
        fit = [start for start in starts if start + taps[-1] < length + layer.padding]
        assert layer.output_length(length) == len(fit)


def test_levels_add_up():
    levels = (Level(0.5, (112, 50)), Level(1, (224, 100)))
    whole = Architecture("net", (224, 100), (224, 100), LAYERS, levels, "sum", ())
    single = dataclasses.replace(whole, levels=levels[1:])
    half = dataclasses.replace(whole, levels=levels[:1])
    assert whole.flop() == single.flop() + half.flop() > half.flop() > 0
    assert whole.parameters == 7 * 7 * 3 * 64 + 64 + 3 * 3 * 64 * 10 + 10
    assert [t.size for t in whole.trace()] == [(112, 50), (56, 25), (56, 25)]
