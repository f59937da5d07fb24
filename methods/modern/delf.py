"""DELF: features of a ResNet's third block, chosen by attention, at seven scales.

Noh et al., "Large-Scale Image Retrieval with Attentive Deep Local Features", ICCV 2017. The network
and the extraction are those of the authors' ``delf_v1.py`` and ``feature_extractor.py``
(github.com/tensorflow/models, research/delf): TensorFlow-Slim's ResNet-50, which halves at the end
of a block, to block 3; attention by two 1x1 convolutions and softplus; scales from 0.25 to 2 by
sqrt(2). As in the D2-Net paper, attention of 25 or more, all 1024 dimensions without PCA, and any
number of features. As there, feature (i, j) of a scale lies at 32 i / scale and 32 j / scale, and
no two suppress each other; one that would lie out of the image for rounding is moved onto its edge.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from d2eval.contracts.features import Features, make_features, no_features
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.modern.networks import FetchedMethod, FetchedWeights, load_into, rgb_tensor
from methods.modern.tensorflow import load_variables, resized

FIRST = FetchedWeights("delf", "delf_v1_20171026.tar.gz")
NEW = FetchedWeights("delf_new", "delf_gld_20190411.tar.gz")
DIM, STRIDE = 1024, 32
SCALES = (0.25, 0.3536, 0.5, 0.7071, 1.0, 1.4142, 2.0)
BLOCKS = ((64, 3), (128, 4), (256, 6))  # channels inside of a unit, units


class Convolution(nn.Conv2d):
    """A convolution without bias, normalised."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.BatchNorm = nn.BatchNorm2d(outputs)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Not rectified."""
        normalised: torch.Tensor = self.BatchNorm(super().forward(maps))
        return normalised


class Unit(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self._stride = stride
        if inputs != 4 * inner:
            self.shortcut = Convolution(inputs, 4 * inner, 1, stride)
        self.conv1 = Convolution(inputs, inner, 1)
        self.conv2 = Convolution(inner, inner, 3, stride)
        self.conv3 = Convolution(inner, 4 * inner, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """A shortcut of as many channels takes every stride-th pixel."""
        inner = self.conv2(self.conv1(maps).relu_()).relu_()
        step = self._stride
        beside = self.shortcut(maps) if hasattr(self, "shortcut") else maps[:, :, ::step, ::step]
        added: torch.Tensor = self.conv3(inner) + beside
        return added.relu_()


def nested(scopes: str, module: nn.Module) -> nn.Module:
    """A module under names that its variables have in TensorFlow, "a.b"."""
    for scope in reversed(scopes.split(".")):
        module = nn.ModuleDict({scope: module})
    return module


class Network(nn.Module):
    """(1, 3, H, W) in -1..1 -> (1024, h, w) features and (h, w) attention, a 32nd of the size."""

    def __init__(self) -> None:
        super().__init__()
        trunk = nn.ModuleDict({"conv1": Convolution(3, 64, 7, 2)})
        channels = 64
        for number, (inner, units) in enumerate(BLOCKS, 1):
            block = nn.ModuleDict()
            for k in range(1, units + 1):
                unit = Unit(channels, inner, 2 if k == units else 1)
                block[f"unit_{k}"] = nested("bottleneck_v1", unit)
                channels = 4 * inner
            trunk[f"block{number}"] = block
        self.resnet_v1_50 = trunk
        layers = {"conv1": Convolution(DIM, 512, 1), "conv2": nn.Conv2d(512, 1, 1)}
        self.attention_block = nested("attention.compute", nn.ModuleDict(layers))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pool's windows begin at the image's border where its side is even."""
        maps = self.get_submodule("resnet_v1_50.conv1")(pixels).relu_()
        above, left = (side % 2 for side in maps.shape[2:])
        maps = functional.pad(maps, (left, 1, above, 1), value=-torch.inf)
        maps = functional.max_pool2d(maps, 3, 2)
        for number, (_, units) in enumerate(BLOCKS, 1):
            for k in range(1, units + 1):
                name = f"resnet_v1_50.block{number}.unit_{k}.bottleneck_v1"
                maps = self.get_submodule(name)(maps)
        layers = self.get_submodule("attention_block.attention.compute")
        attention = layers.get_submodule("conv2")(layers.get_submodule("conv1")(maps).relu_())
        return maps[0], functional.softplus(attention)[0, 0]


@dataclass(frozen=True)
class DelfConfig:
    """The settings of the D2-Net paper."""

    threshold: float = option(25.0, "least attention")
    num_features: int = option(0, "keep this many features, the strongest; 0: all")
    weights: str = FIRST.option()

    def __post_init__(self) -> None:
        if not self.threshold >= 0 or self.num_features < 0:
            raise D2EvalError("--threshold and --num-features must be 0 or more")


@dataclass(frozen=True)
class DelfNewConfig(DelfConfig):
    """Likewise, with later weights."""

    weights: str = NEW.option()


class Delf(FetchedMethod):
    """DELF of 2017; scores are attention, scales the inverse of the image's."""

    description = "DELF, 1024 dimensions"
    license = "Apache-2.0"
    papers = ("noh2017delf",)
    descriptor_dim = DIM
    Config: ClassVar[type] = DelfConfig
    fetched = FIRST

    def __init__(self, config: DelfConfig, runtime: Runtime) -> None:
        """Builds the network.

        Raises:
            D2EvalError: weights that are missing or don't fit.
        """
        path = self.choose(config.weights, runtime)
        self._config, self._device = config, runtime.device
        self._network = load_into(Network(), load_variables(path), path, runtime.device)

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, strongest first."""
        height, width = image.shape[:2]
        pixels = (rgb_tensor(image, self._device) * 255 - 128) / 128
        found = [self._of_scale(pixels, scale) for scale in SCALES]
        points, scores, descriptors, scales = (torch.cat(a) for a in zip(*found, strict=True))
        if not len(points):
            return no_features(DIM, (width, height))
        order = torch.argsort(scores, descending=True, stable=True)
        order = order[: self._config.num_features or None]
        arrays = [a[order].cpu().numpy() for a in (points, scores, descriptors, scales)]
        edge = np.array([width - 0.5, height - 0.5], np.float32)
        points_xy = np.minimum(arrays[0], edge)
        return make_features(points_xy, arrays[1], arrays[2], (width, height), arrays[3])

    def _of_scale(
        self, pixels: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Places, attention, descriptors and scales of one image of the pyramid."""
        sides = np.round(np.array(pixels.shape[2:], np.float32) * np.float32(scale))
        height, width = (max(int(side), 1) for side in sides)
        maps, attention = self._network(resized(pixels, (height, width)))
        rows, columns = (attention >= self._config.threshold).nonzero().T
        places = torch.stack([columns, rows], dim=1) * (STRIDE / scale)
        descriptors = functional.normalize(maps[:, rows, columns].T, dim=1)
        scores = attention[rows, columns]
        return places, scores, descriptors, torch.full_like(scores, 1 / scale)


class DelfNew(Delf):
    """DELF with the weights of 2019 (Google Landmarks), the figure's "DELF New"."""

    description = "DELF of 2019, 1024 dimensions"
    Config = DelfNewConfig
    fetched = NEW
