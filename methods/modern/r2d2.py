"""R2D2: a dense network whose maps say where keypoints are repeatable and where reliable.

Revaud et al., "R2D2: Repeatable and Reliable Detector and Descriptor", NeurIPS 2019. The layers are
those that the paper describes (L2-Net, fully convolutional, its last 8x8 convolution as three of
2x2), the settings the defaults of the authors' ``extract.py``: scales from 1 down by 2^(1/4), at
which the longer side has 256 to 1024 pixels; maxima of 3x3 cells with repeatability and reliability
of 0.7 or more; the 5000 of highest product. As there, pixel i of a shrunk image lies at i times
the ratio of sizes. The weights are for non-commercial use only, so they are not bundled.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from d2eval.contracts.features import Features, make_features, no_features
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weights import load_state_dict
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.modern.networks import FetchedMethod, FetchedWeights, load_into, rgb_tensor
from methods.vgg16.preprocessing import TORCH_MEAN_RGB, TORCH_STD_RGB

WEIGHTS = FetchedWeights("r2d2", "r2d2_WASF_N16.pt")
DIM, STEP = 128, 2**0.25
SCALE = 32  # pixels of the image that a descriptor at scale 1 sees
# Channels, kernel, dilation, whether normalised and whether rectified. What would halve the maps
# widens the next kernels instead, so that they keep the image's size.
LAYERS = (
    *((c, 3, d, True, True) for c, d in ((32, 1), (32, 1), (64, 1), (64, 2), (128, 2), (128, 4))),
    *((DIM, 2, 4, True, False), (DIM, 2, 8, True, False), (DIM, 2, 16, False, False)),
)


class Network(nn.Module):
    """(1, 3, H, W) -> descriptors (128, H, W), reliability (H, W) and repeatability (H, W)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for outputs, kernel, dilation, normalised, rectified in LAYERS:
            padding = (kernel - 1) * dilation // 2
            layers.append(nn.Conv2d(channels, outputs, kernel, padding=padding, dilation=dilation))
            layers += [nn.BatchNorm2d(outputs, affine=False)] * normalised
            layers += [nn.ReLU(inplace=True)] * rectified
            channels = outputs
        self.ops = nn.Sequential(*layers)
        self.clf = nn.Conv2d(DIM, 2, 1)
        self.sal = nn.Conv2d(DIM, 1, 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both maps are read from the squared features."""
        # On a CPU, dilated convolutions take half the time in this format.
        maps = self.ops(pixels.contiguous(memory_format=torch.channels_last))
        squared = maps**2
        positive = functional.softplus(self.sal(squared))[0, 0]
        reliability = self.clf(squared).softmax(dim=1)[0, 1]
        return functional.normalize(maps, dim=1)[0], reliability, positive / (1 + positive)


@dataclass(frozen=True)
class R2d2Config:
    """The authors' settings."""

    num_features: int = option(5000, "keep at most this many keypoints, the strongest")
    reliability: float = option(0.7, "least reliability")
    repeatability: float = option(0.7, "least repeatability")
    min_size: int = option(256, "longer side of the smallest image of the pyramid, in pixels")
    max_size: int = option(1024, "longer side of the largest, in pixels")
    weights: str = WEIGHTS.option()

    def __post_init__(self) -> None:
        if self.num_features < 1 or not 1 <= self.min_size <= self.max_size:
            raise D2EvalError("--num-features must be 1 or more, --min-size up to --max-size")
        if not 0 <= self.reliability < 1 or not 0 <= self.repeatability < 1:
            raise D2EvalError("--reliability and --repeatability must be from 0 to below 1")


class R2d2(FetchedMethod):
    """R2D2 of several scales; scores are repeatability times reliability."""

    description = "R2D2 (WASF N16), multi-scale"
    license = "CC BY-NC-SA 3.0"
    papers = ("revaud2019r2d2",)
    descriptor_dim = DIM
    version = 2  # convolutions in another memory format, whose sums round otherwise
    Config = R2d2Config
    fetched = WEIGHTS

    def __init__(self, config: R2d2Config, runtime: Runtime) -> None:
        """Builds the network.

        Raises:
            D2EvalError: weights that are missing or don't fit.
        """
        path = self.choose(config.weights, runtime)
        self._config, self._device = config, runtime.device
        self._network = load_into(Network(), load_state_dict(path), path, runtime.device)
        self._mean, self._deviation = (
            torch.tensor(values, device=runtime.device)[:, None, None]
            for values in (TORCH_MEAN_RGB, TORCH_STD_RGB)
        )

    @torch.inference_mode()
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, strongest first."""
        height, width = image.shape[:2]
        pixels = (rgb_tensor(image, self._device) - self._mean) / self._deviation
        scale, longer, found = 1.0, max(height, width), []
        # A small image is taken as it is, of which the authors' code has no features.
        while scale == 1 or (scale + 0.001) * longer >= self._config.min_size:
            if (scale - 0.001) * longer <= self._config.max_size:
                found.append(self._of_scale(pixels, scale, (width, height)))
            scale /= STEP
            size = round(height * scale), round(width * scale)
            if not min(size):
                break
            pixels = functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
        if not found:
            return no_features(DIM, (width, height))
        points, scores, descriptors, scales = (torch.cat(a) for a in zip(*found, strict=True))
        kept = torch.argsort(scores, descending=True, stable=True)[: self._config.num_features]
        arrays = [a[kept].cpu().numpy() for a in (points, scores, descriptors, scales)]
        return make_features(arrays[0], arrays[1], arrays[2], (width, height), arrays[3])

    def _of_scale(
        self, pixels: torch.Tensor, scale: float, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keypoints, scores, descriptors and scales of one image of the pyramid."""
        maps, reliability, repeatability = self._network(pixels)
        maxima = functional.max_pool2d(repeatability[None], 3, stride=1, padding=1)[0]
        chosen = (repeatability == maxima) & (repeatability >= self._config.repeatability)
        rows, columns = (chosen & (reliability >= self._config.reliability)).nonzero().T
        ratio = torch.tensor(size, device=maps.device) / torch.tensor(
            (pixels.shape[3], pixels.shape[2]), device=maps.device
        )
        scores = reliability[rows, columns] * repeatability[rows, columns]
        points = torch.stack([columns, rows], dim=1) * ratio
        return points, scores, maps[:, rows, columns].T, torch.full_like(scores, SCALE / scale)
