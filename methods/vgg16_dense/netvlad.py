"""A descriptor of the whole image from its conv5_3 map: NetVLAD, or GeM without its parameters.

Arandjelovic et al., "NetVLAD: CNN architecture for weakly supervised place recognition", CVPR 2016;
Radenovic et al., "Fine-tuning CNN image retrieval with no human annotation" (GeM), TPAMI 2019.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from d2eval.contracts.weights import check_values
from d2eval.foundation.errors import D2EvalError

GEM_POWER = 3.0
GEM_FLOOR = 1e-6  # activations below it count as it, as in the authors' code

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class NetVlad:
    """NetVLAD's parameters.

    Attributes:
        assignment: (K, D) weights of the soft assignment.
        assignment_bias: (K,), or None.
        centroids: (K, D), subtracted from the descriptors.
        whitening: (E, K D) of the PCA, cluster by cluster, or None.
        whitening_bias: (E,), or None without whitening.
    """

    assignment: torch.Tensor
    assignment_bias: torch.Tensor | None
    centroids: torch.Tensor
    whitening: torch.Tensor | None = None
    whitening_bias: torch.Tensor | None = None

    def __call__(self, descriptors: torch.Tensor) -> torch.Tensor:
        """(N, D) activations of one image to its (K D,) or whitened (E,) L2-normalised descriptor.

        Each activation is L2-normalised and shared among the clusters by a softmax; the residuals
        of a cluster are summed and normalised by themselves, then all together.
        """
        local = functional.normalize(descriptors, dim=1)
        share = functional.linear(local, self.assignment, self.assignment_bias).softmax(dim=1)
        # The sum over n of a_nk (x_n - c_k), without the (N, K, D) residuals.
        residuals = share.T @ local - share.sum(dim=0)[:, None] * self.centroids
        pooled = functional.normalize(functional.normalize(residuals, dim=1).flatten(), dim=0)
        if self.whitening is None:
            return pooled
        whitened = functional.linear(pooled, self.whitening, self.whitening_bias)
        return functional.normalize(whitened, dim=0)


def gem(descriptors: torch.Tensor) -> torch.Tensor:
    """Generalised mean of (N, D) activations of one image, (D,), L2-normalised."""
    powers = descriptors.clamp(min=GEM_FLOOR) ** GEM_POWER
    return functional.normalize(powers.mean(dim=0) ** (1 / GEM_POWER), dim=0)


def _find(state: State, endings: tuple[str, ...]) -> tuple[str, torch.Tensor] | None:
    """The one tensor whose name is, or ends with a dot and, one of ``endings``."""
    for ending in endings:
        for name, tensor in state.items():
            if name == ending or name.endswith(f".{ending}"):
                check_values(name, tensor)
                return name, tensor.float()
    return None


def _shaped(found: tuple[str, torch.Tensor], shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor without its dimensions of 1x1 convolutions, if it then has ``shape``."""
    name, tensor = found
    flat = tensor.flatten(1) if tensor.ndim > 1 else tensor
    if tuple(flat.shape) != shape:
        raise D2EvalError(
            f"weights of another architecture: {name} is {tuple(tensor.shape)}, not {shape}"
        )
    return flat.contiguous()


def netvlad_of(state: State, channels: int, device: torch.device | str) -> NetVlad | None:
    """NetVLAD's parameters in ``state``, or None if it has none.

    Args:
        state: ``centroids`` (K, D) and ``conv.weight`` (K, D, 1, 1), perhaps ``conv.bias``, and
            for the whitening ``pca_layer.weight`` or ``WPCA.0.weight`` (E, K D, 1, 1) and its bias;
            all of them after whatever prefix. The names of the public PyTorch ports.
        channels: D.
        device: where it runs.

    Raises:
        D2EvalError: a part is missing, of another shape, or not finite.
    """
    centroids = _find(state, ("centroids",))
    if centroids is None:
        return None
    prefix = centroids[0].removesuffix("centroids")
    assignment = _find(state, (f"{prefix}conv.weight",))
    if assignment is None:
        raise D2EvalError(f"weights of another architecture: {prefix}conv.weight is missing")
    clusters = len(centroids[1])
    bias = _find(state, (f"{prefix}conv.bias",))
    whitening = _find(state, ("pca_layer.weight", "WPCA.0.weight"))
    parts: list[torch.Tensor | None] = [
        _shaped(assignment, (clusters, channels)),
        None if bias is None else _shaped(bias, (clusters,)),
        _shaped(centroids, (clusters, channels)),
    ]
    if whitening is not None:
        name = whitening[0].removesuffix("weight") + "bias"
        offset = _find(state, (name,))
        if offset is None:
            raise D2EvalError(f"weights of another architecture: {name} is missing")
        size = len(whitening[1])
        parts += [_shaped(whitening, (size, clusters * channels)), _shaped(offset, (size,))]
    return NetVlad(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]
