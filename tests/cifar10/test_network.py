"""The network against a count by hand."""

import torch
from torch import nn

from d2eval.cifar10.network import architecture, layers, new_network, scaled
from d2eval.cifar10.protocol import load_benchmark

PROTOCOL = load_benchmark()
PARAMETERS = {  # weights and biases, by hand
    "conv1": 16 * 3 * 9 + 16, "conv1_norm": 32,
    "conv2": 32 * 16 * 9 + 32, "conv2_norm": 64,
    "conv3": 32 * 32 * 9 + 32, "conv3_norm": 64,
    "fc1": 1152 * 128 + 128, "fc2": 128 * 64 + 64, "fc3": 64 * 10 + 10,
}  # fmt: skip
SHAPES = {  # of one image, by hand: 32 - 2 = 30, 15, 13, 6 (13 / 2), 6
    "conv1": (16, 30, 30), "conv1_relu": (16, 30, 30), "conv1_norm": (16, 30, 30),
    "pool1": (16, 15, 15),
    "conv2": (32, 13, 13), "conv2_relu": (32, 13, 13), "conv2_norm": (32, 13, 13),
    "pool2": (32, 6, 6),
    "conv3": (32, 6, 6), "conv3_relu": (32, 6, 6), "conv3_norm": (32, 6, 6),
    "flatten": (1152,),
    "fc1": (128,), "fc1_relu": (128,), "fc2": (64,), "fc2_relu": (64,), "fc3": (10,),
}  # fmt: skip


def test_shapes_and_parameters_by_hand():
    network = new_network(PROTOCOL, 0).eval()
    image, shapes = torch.zeros(1, 3, 32, 32), {}
    for name, module in network.named_children():
        image = module(image)
        shapes[name] = tuple(image.shape[1:])
    assert list(shapes.items()) == list(SHAPES.items())
    counted = {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in network.named_children()
        if [*module.parameters()]
    }
    assert counted == PARAMETERS
    assert sum(counted.values()) == 170_986


def test_the_settings_that_are_printed():
    network = new_network(PROTOCOL, 0)
    convolutions = [module for module in network if isinstance(module, nn.Conv2d)]
    assert [c.padding for c in convolutions] == [(0, 0), (0, 0), (1, 1)]
    for module in network:
        if isinstance(module, nn.MaxPool2d):
            assert (module.kernel_size, module.stride) == (2, 2)
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-5, 0.1)


def test_what_is_described_has_these_shapes_and_parameters():
    described = architecture(PROTOCOL)
    for traced in described.trace():
        name = traced.layer.name
        assert traced.layer.parameters == PARAMETERS.get(name, 0) + PARAMETERS.get(
            f"{name}_norm", 0
        )
        shape = SHAPES[name]
        assert traced.layer.outputs == shape[0]
        assert traced.size == (shape[1:] or (1, 1))
    assert described.parameters == 170_986
    assert [layer.name for layer in layers(PROTOCOL)] == [
        "conv1", "pool1", "conv2", "pool2", "conv3", "fc1", "fc2", "fc3"
    ]  # fmt: skip


def test_a_seed_gives_the_weights_and_disturbs_no_other():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (new_network(PROTOCOL, seed).conv1.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(3), expected)


def test_pixels_are_scaled_to_minus_one_to_one():
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8)
    assert torch.allclose(scaled(pixels, PROTOCOL), torch.tensor([-1.0, 1.0, -0.6]))
