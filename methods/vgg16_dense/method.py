"""VGG16 as `MapsMethod`: the network of InLoc's Dense PE and of its retrieval."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from d2eval.contracts.maps import Float32Array, Maps, MapsMethod
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from methods.vgg16.memory import is_out_of_memory
from methods.vgg16.preprocessing import CAFFE_MEAN_BGR, TORCH_MEAN_RGB, TORCH_STD_RGB
from methods.vgg16_dense.matlab import SUFFIX as MATLAB
from methods.vgg16_dense.netvlad import gem, netvlad_of
from methods.vgg16_dense.trunk import COARSE_CHANNELS, COARSE_STRIDE, FINE_STRIDE, Vgg16
from methods.vgg16_dense.weights import BUNDLED, choose_weights, load_weights

MAX_AREA = 1600 * 1200  # in pixels; images of more are shrunk
SHRUNK_LONG_SIDE = 1600


@dataclass(frozen=True)
class Vgg16Config:
    """Which weights, and what belongs to them."""

    weights: str = option(
        BUNDLED,
        "bundled (a stand-in for NetVLAD's), or a path: hloc's Pitts30K_struct.mat (NetVLAD), or "
        "VGG16 as .safetensors or .pth with torchvision's or Caffe's names",
        keyed=False,
    )
    preprocessing: str = option(
        "auto",
        "as the weights were trained: caffe (BGR minus mean), netvlad (RGB minus mean) or torch; "
        "auto: netvlad for its .mat, else caffe",
        choices=("auto", "caffe", "netvlad", "torch"),
    )
    pooling: str = option(
        "auto",
        "of the global descriptor; auto: netvlad if the weights have its parameters, else gem",
        choices=("auto", "netvlad", "gem"),
    )


def network_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the network's input for an image of (width, height).

    Source: InLoc_demo, at_imageresize, whose imresize rounds sizes up.
    """
    width, height = image_size
    if width * height <= MAX_AREA:
        return width, height
    longer = max(width, height)
    # In whole numbers, so that no rounding error makes it a pixel more.
    return -(-SHRUNK_LONG_SIDE * width // longer), -(-SHRUNK_LONG_SIDE * height // longer)


def resize(image: RgbImage, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(H, W, 3) float32 in 0..255, by bicubic interpolation that averages when it shrinks.

    As MATLAB's imresize of numbers that aren't bytes, values aren't rounded and may overshoot.
    """
    if (image.shape[1], image.shape[0]) == size:
        return image.astype(np.float32)
    channels = [
        Image.fromarray(image[:, :, c].astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        for c in range(3)
    ]
    return np.stack([np.asarray(channel, np.float32) for channel in channels], axis=2)


def preprocess(image: RgbImage, size: tuple[int, int], how: str) -> torch.Tensor:
    """(H, W, 3) float32, the network's input of (width, height) ``size``.

    ``how`` is "caffe", "netvlad" or "torch"; see `Vgg16Config`.
    """
    pixels = torch.from_numpy(resize(image, size))
    if how == "torch":
        return (pixels / 255 - torch.tensor(TORCH_MEAN_RGB)) / torch.tensor(TORCH_STD_RGB)
    pixels = pixels - torch.tensor(CAFFE_MEAN_BGR[::-1])
    return pixels if how == "netvlad" else pixels.flip(2)


class Vgg16Dense(MapsMethod):
    """VGG16's conv5_3 (stride 16) and pool3 (stride 8)."""

    description = "VGG16 conv5_3 and pool3, dense; NetVLAD or GeM for whole images"
    license = "MIT"
    papers = ("simonyan2015vgg", "arandjelovic2016netvlad")
    version = 3  # equal outputs where the image is flat
    Config = Vgg16Config

    def __init__(self, config: Vgg16Config, runtime: Runtime) -> None:
        """Loads the weights.

        Raises:
            D2EvalError: weights missing, broken or of another architecture; ``--pooling netvlad``
                with weights that lack its parameters.
        """
        paths, self.weights = choose_weights(config.weights)
        state = load_weights(paths)
        try:
            self._netvlad = None
            if config.pooling != "gem":
                self._netvlad = netvlad_of(state, COARSE_CHANNELS, runtime.device)
            if config.pooling == "netvlad" and self._netvlad is None:
                raise D2EvalError("holds no NetVLAD parameters (centroids)")
            self._network = Vgg16(state, runtime.device)
        except D2EvalError as error:
            raise D2EvalError(
                f"{paths[-1]}: {error}; give VGG16 weights of the names that --weights takes"
            ) from error
        self.centered = self._netvlad is None
        self._preprocessing = config.preprocessing
        if config.preprocessing == "auto":
            self._preprocessing = "netvlad" if paths[0].suffix == MATLAB else "caffe"
        self._memory_limit = runtime.memory_limit

    def _run(self, image: RgbImage) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
        """Both maps, not normalised, and the (width, height) that the network saw."""
        size = network_size((image.shape[1], image.shape[0]))
        pixels = preprocess(image, size, self._preprocessing)
        try:
            return *self._network(pixels, self._memory_limit), size
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise D2EvalError(
                f"an image of {size[0]}x{size[1]} doesn't fit into memory; free some, or lower "
                "--memory-limit so that smaller strips are taken"
            ) from error

    @torch.inference_mode()
    def maps(self, image: RgbImage) -> Maps:
        """conv5_3 before its ReLU and pool3, L2-normalised cell by cell.

        Source: InLoc_demo, at_serialAllFeats_convfeat and at_cnnfeat2vlfeat.
        """
        coarse, fine, size = self._run(image)
        return Maps(
            functional.normalize(coarse, dim=2).cpu().numpy(),
            functional.normalize(fine, dim=2).cpu().numpy(),
            COARSE_STRIDE,
            FINE_STRIDE,
            (FINE_STRIDE - 1) / 2,
            size,
            (image.shape[1], image.shape[0]),
        )

    @torch.inference_mode()
    def global_descriptor(self, image: RgbImage) -> Float32Array:
        """NetVLAD or GeM of conv5_3; see ``--pooling``."""
        coarse, _, size = self._run(image)
        if not coarse.shape[0]:
            raise D2EvalError(
                f"an image of {size[0]}x{size[1]} has no global descriptor; it takes "
                f"{COARSE_STRIDE}x{COARSE_STRIDE} pixels"
            )
        pooling = gem if self._netvlad is None else self._netvlad
        found: Float32Array = pooling(coarse.flatten(0, 1)).cpu().numpy()
        return found

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """Which weights are taken without ``--weights``."""
        return choose_weights(BUNDLED)[1].name

    @classmethod
    def training_data(cls, runtime: Runtime) -> tuple[str, ...] | None:
        """That of the same weights."""
        return choose_weights(BUNDLED)[1].trained_on
