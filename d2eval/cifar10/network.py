"""The document's network, as a PyTorch module and as layers that are described."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from d2eval.cifar10.protocol import Cifar10Protocol
from d2eval.contracts.architecture import Architecture, Layer, Level

COLORS = 3


def layers(protocol: Cifar10Protocol) -> tuple[Layer, ...]:
    """The network, layer by layer; a fully connected one is as wide as the map that it gets."""
    found, inputs, side = [], COLORS, protocol.data.size_px
    for number, own in enumerate(protocol.network["convolutions"], 1):
        name, outputs, kernel = f"conv{number}", own["channels"], own["kernel"]
        shape = kernel, 1, 1, own["padding"], inputs, outputs
        found.append(Layer(name, name, "convolution", *shape, relu=True, batch_norm=True))
        side = found[-1].output_length(side)
        if (pool := own["pool"]) > 1:
            name = f"pool{number}"
            found.append(Layer(name, name, "max pool", pool, pool, 1, 0, outputs, outputs))
            side = found[-1].output_length(side)
        inputs = outputs
    widths = [*protocol.network["connected"], protocol.data.classes]
    for number, outputs in enumerate(widths, 1):
        name, relu = f"fc{number}", number < len(widths)
        found.append(Layer(name, name, "fully connected", side, 1, 1, 0, inputs, outputs, relu))
        inputs, side = outputs, 1
    return tuple(found)


def architecture(protocol: Cifar10Protocol) -> Architecture:
    """The network on one of the dataset's images."""
    size = protocol.data.size_px, protocol.data.size_px
    levels = (Level(1.0, size),)
    return Architecture(protocol.network["name"], size, size, layers(protocol), levels, "", ())


class NetCustom(nn.Sequential):
    """Three convolutions, each with ReLU, batch normalization and perhaps a pool; a classifier."""

    def __init__(self, protocol: Cifar10Protocol) -> None:
        super().__init__()
        for layer in layers(protocol):
            for name, module in _modules(layer, protocol.network["batch_norm"]).items():
                self.add_module(name, module)


def _modules(layer: Layer, batch_norm: Mapping[str, Any]) -> dict[str, nn.Module]:
    """What a layer is in PyTorch, in its order."""
    if layer.is_pool:
        return {layer.name: nn.MaxPool2d(layer.kernel, layer.stride)}
    found: dict[str, nn.Module] = {}
    if layer.kind == "convolution":
        found[layer.name] = nn.Conv2d(
            layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding
        )
    else:
        if layer.kernel > 1:
            found["flatten"] = nn.Flatten()
        found[layer.name] = nn.Linear(layer.inputs * layer.kernel**2, layer.outputs)
    if layer.relu:
        found[f"{layer.name}_relu"] = nn.ReLU()
    if layer.batch_norm:
        found[f"{layer.name}_norm"] = nn.BatchNorm2d(layer.outputs, **batch_norm)
    return found


def scaled(images: Tensor, protocol: Cifar10Protocol) -> Tensor:
    """Images (N, 3, H, W) uint8 as the network takes them, float32."""
    data = protocol.data
    return (images.to(torch.float32) / 255 - data.mean) / data.deviation


def new_network(protocol: Cifar10Protocol, seed: int) -> NetCustom:
    """An untrained one; the same seed gives the same, and nothing else is drawn differently."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NetCustom(protocol)
