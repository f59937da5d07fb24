"""D2-Net as methods: single and multi-scale, off the shelf and trained."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from d2eval.contracts.architecture import Architecture, trace
from d2eval.contracts.features import Features, make_features
from d2eval.contracts.method import Method, Runtime, ScoreMap
from d2eval.contracts.options import option
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.d2net.architecture import architecture
from methods.d2net.memory import choose_strips, out_of_memory
from methods.d2net.network import CHANNELS, STRIDE, D2Network, layers, map_size
from methods.d2net.pyramid import (
    LevelImage,
    RawFeatures,
    cells_to_pixels,
    extract_pyramid,
    resize_to_limits,
    sizes_within_limits,
)
from methods.d2net.soft_detection import soft_scores
from methods.d2net.weights import (
    OFF_THE_SHELF,
    TRAINED,
    choose_weights,
    load_weights,
    state_of_weights,
    training_data,
)
from methods.vgg16.memory import MIN_STRIP_BYTES, is_out_of_memory
from methods.vgg16.network import PRECISIONS
from methods.vgg16.preprocessing import preprocess


@dataclass(frozen=True)
class D2Config:
    """The options of the authors' ``extract_features.py``."""

    weights: str = option(
        "auto",
        "bundled, official, or a path to a .pth in the authors' layout or a .safetensors; "
        "auto: official if fetched, else bundled",
        keyed=False,
    )
    preprocessing: str = option("caffe", "as the weights were trained", choices=("caffe", "torch"))
    precision: str = option(
        "fp32",
        "of the convolutions; fp32 is the reference, the others change some features",
        choices=tuple(PRECISIONS),
    )
    relu: bool = option(True, "ReLU after conv4_3, before detection and description")
    max_edge: int = option(1600, "shrink images whose longer side passes this, in pixels")
    max_sum_edges: int = option(2800, "then shrink images whose width + height pass this")

    def __post_init__(self) -> None:
        for name in ("max_edge", "max_sum_edges"):
            if getattr(self, name) < 1:
                raise D2EvalError(f"--{name.replace('_', '-')} must be 1 or more")


class D2SingleScale(Method):
    """D2-Net at the image's own scale, off the shelf."""

    description = "D2-Net, single scale, off-the-shelf VGG16"
    license = "BSD-3-Clause-Clear"
    papers = ("dusmanu2019d2net",)
    version = 3  # equal outputs where the image is flat
    descriptor_dim = CHANNELS
    Config = D2Config
    scales: ClassVar[tuple[float, ...]] = (1,)
    official_file: ClassVar[str] = OFF_THE_SHELF

    def __init__(self, config: D2Config, runtime: Runtime) -> None:
        """Loads the weights; see `methods.d2net.weights.choose_weights` for which.

        Raises:
            D2EvalError: weights missing, broken or of another architecture; no such device.
        """
        paths, self.weights = choose_weights(config.weights, self.official_file, runtime.cache)
        state = load_weights(paths)
        try:
            self.network = D2Network(
                state, config.relu, runtime.device, PRECISIONS[config.precision]
            )
        except D2EvalError as error:
            raise D2EvalError(f"{paths[-1]}: {error}; give D2-Net weights") from error
        self.config = config
        self.memory_limit = runtime.memory_limit

    def extract(self, image: RgbImage) -> Features:
        """Features in pixels of ``image``; an image too small for a single cell has none."""
        height, width = image.shape[:2]
        resized = resize_to_limits(image, self.config.max_edge, self.config.max_sum_edges)
        raw = self._extract_resized(resized)
        keypoints = raw.keypoints.cpu().numpy()
        keypoints[:, 0] *= width / resized.shape[1]
        keypoints[:, 1] *= height / resized.shape[0]
        return make_features(
            keypoints,
            raw.scores.cpu().numpy(),
            raw.descriptors.cpu().numpy(),
            (width, height),
            raw.scales.cpu().numpy(),
        )

    def _upload(self, image: RgbImage) -> torch.Tensor:
        """The preprocessed image on the network's device."""
        pixels = torch.from_numpy(preprocess(image, self.config.preprocessing))
        if self.network.device.type == "cuda":
            # From page-locked memory the copy goes on while the first layers are being launched.
            return pixels.pin_memory().to(self.network.device, non_blocking=True)
        return pixels.to(self.network.device)

    def _extract_resized(self, image: RgbImage) -> RawFeatures:
        """Runs in strips as large as memory allows; in smaller ones after all when it runs out."""
        pixels = self._upload(image)
        strip_bytes = choose_strips(
            image.shape[:2], self.scales, self.network.device, self.memory_limit
        )
        while True:
            try:
                return extract_pyramid(self.network, pixels, self.scales, strip_bytes)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                strip_bytes //= 4
                if strip_bytes < MIN_STRIP_BYTES:
                    raise out_of_memory(image.shape[:2]) from error

    def run_network(self, image: RgbImage) -> float:
        """The convolutions of every level, and how many operations they are worth."""
        pixels = self._upload(image)
        strip_bytes = choose_strips(
            image.shape[:2], self.scales, self.network.device, self.memory_limit
        )
        operations = 0
        for scale in self.scales:
            level = LevelImage(pixels, scale)
            for _ in self.network.feature_rows(level, strip_bytes):
                pass
            traced = trace(layers(self.config.relu), level.size[::-1])
            operations += sum(layer.flop for layer in traced)
        return float(operations)

    @classmethod
    def architecture(cls, config: D2Config, size: tuple[int, int]) -> Architecture:
        """The network, its levels and what follows it, as ``config`` sets them."""
        sizes = sizes_within_limits(size, config.max_edge, config.max_sum_edges)
        return architecture(size, [size, *sizes][-1], cls.scales, config.relu)

    @torch.inference_mode()
    def score_map(self, image: RgbImage) -> ScoreMap | None:
        """Soft detection scores (section 3.2 of the paper) of the test-time map at scale 1.

        Cells lie where `cells_to_pixels` puts them, as keypoints do. None for an image without a
        cell.
        """
        height, width = image.shape[:2]
        resized = resize_to_limits(image, self.config.max_edge, self.config.max_sum_edges)
        if not all(map_size(*resized.shape[:2])):
            return None
        strip_bytes = choose_strips(resized.shape[:2], (1,), self.network.device, self.memory_limit)
        level = LevelImage(self._upload(resized), 1)
        try:
            features = torch.cat(list(self.network.feature_rows(level, strip_bytes)))
            scores = soft_scores(features.permute(2, 0, 1)[None])[0]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory(resized.shape[:2]) from error
        first = float(cells_to_pixels(torch.zeros(())))
        to_image = width / resized.shape[1], height / resized.shape[0]
        return ScoreMap(
            "soft detection at scale 1",
            scores.cpu().numpy(),
            (first * to_image[0], first * to_image[1]),
            (STRIDE * to_image[0], STRIDE * to_image[1]),
        )

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """Which weights ``--weights auto`` would take now."""
        return state_of_weights("auto", cls.official_file, runtime.cache)

    @classmethod
    def training_data(cls, runtime: Runtime) -> tuple[str, ...] | None:
        """That of the same weights."""
        return training_data(cls.official_file, runtime.cache)


class D2MultiScale(D2SingleScale):
    """D2-Net over a pyramid of half, full and double size, off the shelf."""

    description = "D2-Net, multi-scale (0.5, 1, 2), off-the-shelf VGG16"
    scales = (0.5, 1, 2)


class D2SingleScaleTrained(D2SingleScale):
    """D2-Net at the image's own scale, with trained weights: the authors', or those bundled."""

    description = "D2-Net, single scale, trained"
    official_file = TRAINED


class D2MultiScaleTrained(D2MultiScale):
    """D2-Net over the pyramid, with trained weights: the authors', or those bundled."""

    description = "D2-Net, multi-scale (0.5, 1, 2), trained"
    official_file = TRAINED
