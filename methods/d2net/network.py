"""The test-time network: VGG16 through conv4_3 at a stride of 4.

pool3 is an average pool of stride 1 and conv4_1..4_3 have dilation 2 (d2-net 0a3356c,
``model_test.py``; D2-Net paper, section 4.2). The map of an H x W image has
(H // 4 - 1) x (W // 4 - 1) cells of 512 channels.
"""

from collections.abc import Iterator, Mapping

import torch

from d2eval.contracts.architecture import Layer
from d2eval.foundation.errors import D2EvalError
from methods.vgg16.layers import THROUGH_CONV4, Weights, layers_of, weights_of
from methods.vgg16.network import ImageRows, Precision, StreamedVgg16

CHANNELS = 512
STRIDE = 4
LAST = "conv4_3"
PREFIX = "dense_feature_extraction.model."  # the authors' nn.Sequential


def layers(relu: bool) -> tuple[Layer, ...]:
    """The convolutions and pools.

    Args:
        relu: whether a ReLU follows the last convolution.
    """
    return layers_of(THROUGH_CONV4, relu, dilations={"conv4": 2}, average=("pool3",))


def map_size(height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of the feature map of an image; 0 where the image is too small."""
    return max(height // STRIDE - 1, 0), max(width // STRIDE - 1, 0)


def weights_by_layer(state: Mapping[str, torch.Tensor]) -> Weights:
    """Makes sure that weights are D2-Net's, and gives those of each layer.

    Raises:
        D2EvalError: a name is missing or extra, a shape differs, or a value is not finite.
    """
    found = weights_of(state, THROUGH_CONV4, lambda _, index: f"{PREFIX}{index}")
    indices = [index for _, index, _, _ in THROUGH_CONV4]
    known = {f"{PREFIX}{index}.{part}" for index in indices for part in ("weight", "bias")}
    extra = sorted(set(state) - known)
    if extra:
        raise D2EvalError(f"weights of another architecture: {extra[0]} is not part of D2-Net")
    return found


class D2Network(StreamedVgg16):
    """Dense features of an image, from the authors' weights."""

    def __init__(
        self,
        state: Mapping[str, torch.Tensor],
        relu: bool = True,
        device: torch.device | str = "cpu",
        precision: Precision = torch.float32,
    ) -> None:
        """Takes the weights.

        Args:
            state: tensors by the authors' names; other entries are not allowed.
            relu: whether a ReLU follows conv4_3 (the authors' default at test time).
            device: where it runs.
            precision: of weights and activations; features come out in float32.

        Raises:
            D2EvalError: as `weights_by_layer`.
        """
        super().__init__(layers(relu), weights_by_layer(state), device, precision)

    def feature_rows(self, image: ImageRows, strip_bytes: int) -> Iterator[torch.Tensor]:
        """Yields the feature map from top to bottom, (rows, w, 512) float32 at a time.

        Args:
            image: at least 8 pixels in either direction, so that there is a map.
            strip_bytes: see `StreamedVgg16.maps`.
        """
        for found in self.maps(image, strip_bytes, (LAST,)):
            if len(found[0]):
                yield found.pop().float()
