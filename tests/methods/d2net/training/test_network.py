"""The network that is trained, against a plain VGG16, and which of its layers learn."""

import pytest
import torch
from torch.nn import functional as F

from d2eval.foundation.errors import D2EvalError
from methods.d2net.network import D2Network
from methods.d2net.training.network import TrainingNetwork

PREFIX = "dense_feature_extraction.model."
# The indices of the convolutions in the authors' nn.Sequential, and their channels.
VGG16 = {
    "conv1_1": 0, "conv1_2": 2,
    "conv2_1": 5, "conv2_2": 7,
    "conv3_1": 10, "conv3_2": 12, "conv3_3": 14,
    "conv4_1": 17, "conv4_2": 19, "conv4_3": 21,
}  # fmt: skip


def plain(state, images):
    """VGG16 through conv4_3, without its ReLU."""

    def conv(x, layer):
        name = f"{PREFIX}{VGG16[layer]}"
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    x = F.relu(conv(images, "conv1_1"))
    x = F.relu(conv(x, "conv1_2"))
    x = F.max_pool2d(x, kernel_size=2, stride=2)
    x = F.relu(conv(x, "conv2_1"))
    x = F.relu(conv(x, "conv2_2"))
    x = F.max_pool2d(x, kernel_size=2, stride=2)
    x = F.relu(conv(x, "conv3_1"))
    x = F.relu(conv(x, "conv3_2"))
    x = F.relu(conv(x, "conv3_3"))
    x = F.max_pool2d(x, kernel_size=2, stride=2)
    x = F.relu(conv(x, "conv4_1"))
    x = F.relu(conv(x, "conv4_2"))
    return conv(x, "conv4_3")


def noise(*size, batch=2):
    generator = torch.Generator().manual_seed(sum(size))
    return 50 * torch.randn(batch, 3, *size, generator=generator)


def in_double(state):
    return {name: tensor.double().requires_grad_() for name, tensor in state.items()}


def assert_near(found, expected):
    """Equal but for float32's rounding, in units of the largest."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("size", [(8, 8), (32, 40), (33, 47), (39, 56), (9, 31)])
def test_features_are_a_plain_networks(state, size):
    images = noise(*size)
    found = TrainingNetwork(state)(images).detach()
    assert found.shape == (2, 512, size[0] // 8, size[1] // 8)
    with torch.no_grad():
        assert_near(found, plain(in_double(state), images.double()))
    assert (found < 0).float().mean() > 0.2  # no ReLU at the end


@pytest.mark.parametrize("layers", [1, pytest.param(3, marks=pytest.mark.slow), 10])
def test_only_the_last_layers_get_gradients_and_those_are_right(state, layers):
    network, images = TrainingNetwork(state, layers), noise(32, 40)
    toward = torch.randn(2, 512, 4, 5, generator=torch.Generator().manual_seed(1))
    (network(images) * toward).sum().backward()
    tensors = in_double(state)
    (plain(tensors, images.double()) * toward).sum().backward()
    learned = list(VGG16)[-layers:]
    assert network.learned == learned
    for name, index in VGG16.items():
        for part in ("weight", "bias"):
            parameter = getattr(network.layers[name], part)
            assert parameter.requires_grad == (name in learned)
            if name in learned:
                assert_near(parameter.grad, tensors[f"{PREFIX}{index}.{part}"].grad)
            else:
                assert parameter.grad is None


@pytest.mark.parametrize("layers", [1, 3])
def test_frozen_layers_keep_no_graph(state, layers):
    network = TrainingNetwork(state, layers)
    kept = {}
    for name, layer in network.layers.items():
        layer.register_forward_hook(
            lambda _, __, output, name=name: kept.update({name: output.requires_grad})
        )
    features = network(noise(16, 16).requires_grad_())
    assert [name for name, requires in kept.items() if requires] == list(VGG16)[-layers:]

    found, waiting = set(), [features.grad_fn]
    while waiting:
        function = waiting.pop()
        if function is not None and function not in found:
            found.add(function)
            waiting += [following for following, _ in function.next_functions]
    names = [function.name() for function in found]
    assert sum("Convolution" in name for name in names) == layers
    leaves = {id(function.variable) for function in found if hasattr(function, "variable")}
    assert leaves == {id(p) for p in network.parameters() if p.requires_grad}
    assert not any("Pool" in name for name in names)  # the last pool is before conv4_1


def test_without_gradients_nothing_is_kept(state):
    network = TrainingNetwork(state, 10)
    with torch.no_grad():
        assert not network(noise(16, 16)).requires_grad
    assert network(noise(16, 16)).requires_grad


def test_weights_come_back_by_the_authors_names(state):
    network = TrainingNetwork(state, 2)
    network.to(memory_format=torch.channels_last)
    weights = network.weights()
    assert list(weights) == list(state)
    for name, tensor in weights.items():
        assert torch.equal(tensor, state[name])
        assert tensor.is_contiguous()
        assert tensor.dtype == torch.float32
        assert not tensor.requires_grad
    D2Network(weights)
    again, images = TrainingNetwork(weights, 1), noise(16, 24)
    assert torch.equal(again(images), network(images))


def test_weights_are_copies(state):
    network, before = TrainingNetwork(state), state[f"{PREFIX}21.bias"].clone()
    weights = network.weights()
    with torch.no_grad():
        network.layers["conv4_3"].bias.add_(1)
    assert torch.equal(weights[f"{PREFIX}21.bias"], before)
    assert torch.equal(state[f"{PREFIX}21.bias"], before)
    assert torch.equal(network.weights()[f"{PREFIX}21.bias"], before + 1)


def test_half_precision_weights_learn_in_single_precision(state):
    half = {name: tensor.half() for name, tensor in state.items()}
    network = TrainingNetwork(half)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert all(torch.equal(w, half[name].float()) for name, w in network.weights().items())


@pytest.mark.parametrize("layers", [-1, 0, 11])
def test_a_number_of_layers_that_there_is_not(state, layers):
    with pytest.raises(D2EvalError, match=rf"--finetune-layers {layers}: must be 1 .* to 10"):
        TrainingNetwork(state, layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(f"{PREFIX}5.bias"), "model.5.bias is missing"),
        (lambda state: state.update(classifier=torch.zeros(1)), "classifier is not part"),
        (lambda state: state.update({f"{PREFIX}0.bias": torch.full((64,), torch.nan)}), "NaN"),
    ],
)
def test_weights_that_are_not_d2nets(state, change, message):
    changed = dict(state)
    change(changed)
    with pytest.raises(D2EvalError, match=message):
        TrainingNetwork(changed)
