"""VGG16's layers as data, and weights by their names.

All convolutions are 3x3 with "same" zero padding. A pool follows each block and drops a last odd
row or column. A network of them is a tuple of `Layer`, in their order.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from d2eval.contracts.architecture import Layer
from d2eval.contracts.weights import check_tensor

KERNEL = 3
POOL_KERNEL = 2
# name, index in torchvision's `features`, input and output channels
CONVOLUTIONS = (
    ("conv1_1", 0, 3, 64), ("conv1_2", 2, 64, 64),
    ("conv2_1", 5, 64, 128), ("conv2_2", 7, 128, 128),
    ("conv3_1", 10, 128, 256), ("conv3_2", 12, 256, 256), ("conv3_3", 14, 256, 256),
    ("conv4_1", 17, 256, 512), ("conv4_2", 19, 512, 512), ("conv4_3", 21, 512, 512),
    ("conv5_1", 24, 512, 512), ("conv5_2", 26, 512, 512), ("conv5_3", 28, 512, 512),
)  # fmt: skip
THROUGH_CONV4 = CONVOLUTIONS[:10]
POOLED = ("conv1_2", "conv2_2", "conv3_3", "conv4_3")  # a pool follows

Weights = dict[str, tuple[torch.Tensor, torch.Tensor]]  # of each convolution: weight and bias


def layers_of(
    convolutions: Sequence[tuple[str, int, int, int]],
    relu: bool,
    dilations: Mapping[str, int] | None = None,
    average: Sequence[str] = (),
) -> tuple[Layer, ...]:
    """The convolutions and the pools between them.

    Args:
        convolutions: the first ones of `CONVOLUTIONS`.
        relu: whether a ReLU follows the last of them, as it does the others.
        dilations: by block, such as "conv4"; 1 in the others.
        average: pools, such as "pool3", that are averages with stride 1; the others are maxima
            with stride 2.
    """
    found = []
    last = convolutions[-1][0]
    for name, _, inputs, outputs in convolutions:
        block = name.partition("_")[0]
        dilation = (dilations or {}).get(block, 1)
        padding = dilation * (KERNEL // 2)
        found.append(
            Layer(
                block, name, "convolution", KERNEL, 1, dilation, padding, inputs, outputs,
                relu or name != last,
            )
        )  # fmt: skip
        if name in POOLED and name != last:
            pool = block.replace("conv", "pool")
            mean = pool in average
            found.append(
                Layer(
                    block, pool, "average pool" if mean else "max pool",
                    POOL_KERNEL, 1 if mean else 2, 1, 0, outputs, outputs,
                )
            )  # fmt: skip
    return tuple(found)


def weights_of(
    state: Mapping[str, torch.Tensor],
    convolutions: Sequence[tuple[str, int, int, int]],
    named: Callable[[str, int], str],
) -> Weights:
    """Weight and bias of every convolution by its name, as they are stored.

    Args:
        state: tensors; what else it holds is left alone.
        convolutions: some of `CONVOLUTIONS`.
        named: what ``state`` calls a convolution, by its name and index, without ".weight".

    Raises:
        D2EvalError: one is missing, of another shape, or not finite.
    """
    found = {}
    for name, index, inputs, outputs in convolutions:
        pair = []
        for part, shape in (("weight", (outputs, inputs, KERNEL, KERNEL)), ("bias", (outputs,))):
            key = f"{named(name, index)}.{part}"
            check_tensor(state, key, shape)
            pair.append(state[key])
        found[name] = (pair[0], pair[1])
    return found
