"""What methods on kornia's networks share: kornia itself, their weights, and images as tensors."""

import importlib.util
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from d2eval.contracts.features import Features, make_features
from d2eval.contracts.method import Method, Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weights import WeightsInfo, load_state_dict
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.files.reading import sha256_of
from d2eval.foundation.images.decoding import RgbImage

INSTALL = 'pip install "d2eval[modern]"'
BUNDLED = "bundled"
LEAST_SIDE = 32  # pixels; the networks halve or pad smaller images to nothing


@dataclass(frozen=True)
class BundledWeights:
    """Weights of this repository: the authors' own values in float32."""

    file: str
    origin: str

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(str(files("methods.modern") / "weights" / self.file))


def weights_option() -> Any:
    """The option ``--weights`` of a method whose weights are bundled."""
    return option(BUNDLED, "bundled (the authors' own), or a path to others", keyed=False)


def has_kornia() -> bool:
    """Whether kornia is installed; it isn't imported."""
    return importlib.util.find_spec("kornia") is not None


def require_kornia(name: str) -> None:
    """Refuses to go on without kornia.

    Raises:
        D2EvalError: it isn't installed.
    """
    if not has_kornia():
        raise D2EvalError(f"{name} needs kornia, which is not installed; run: {INSTALL}")


def given_weights(choice: str, option_name: str = "--weights") -> tuple[Path, WeightsInfo]:
    """A weights file that the user names, and what it is.

    Raises:
        D2EvalError: there is no such file.
    """
    path = expanded(choice)
    if not path.is_file():
        raise D2EvalError(f"{path}: no such weights file; check {option_name}")
    return path, WeightsInfo(f"file {path.name}", f"given by path: {path}", sha256_of(path))


def load_into(
    network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, device: str
) -> torch.nn.Module:
    """The network with all it has learned set from ``state``, on ``device``, in evaluation mode.

    Raises:
        D2EvalError: ``state`` has other names or shapes, or lacks some.
    """
    learned = {name for name, _ in network.named_parameters()}
    try:
        outcome = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise D2EvalError(f"{path}: weights of another network ({reason})") from error
    missing = [n for n in outcome.missing_keys if n in learned or ".running_" in n]
    for names, what in ((outcome.unexpected_keys, "has"), (missing, "lacks")):
        if names:
            raise D2EvalError(f"{path}: weights of another network (it {what} {names[0]})")
    return network.to(device).eval()


class KorniaMethod(Method):
    """A method on a network of kornia's whose weights are bundled."""

    bundle: ClassVar[BundledWeights]
    device: str

    def choose(self, choice: str, runtime: Runtime) -> tuple[dict[str, torch.Tensor], Path]:
        """The tensors that ``--weights`` means, and their file; sets ``weights`` and ``device``.

        Raises:
            D2EvalError: no kornia, no such file, or a broken one.
        """
        require_kornia(type(self).__name__)
        self.device = runtime.device
        if choice != BUNDLED:
            path, self.weights = given_weights(choice)
        else:
            path = self.bundle.path
            self.weights = WeightsInfo("bundled, the authors'", self.bundle.origin, sha256_of(path))
        return load_state_dict(path), path

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """For ``d2eval methods``: bundled, or kornia is missing."""
        return "bundled, the authors'" if has_kornia() else f"missing: kornia; run: {INSTALL}"


def features_of(
    keypoints: torch.Tensor,
    scores: torch.Tensor,
    descriptors: torch.Tensor,
    size: tuple[int, int],
) -> Features:
    """`Features` of tensors on any device, without scales, from the top-left pixel's centre."""
    arrays = [tensor.cpu().numpy() for tensor in (keypoints, scores, descriptors)]
    return make_features(arrays[0], arrays[1], arrays[2], size)


def rgb_tensor(image: RgbImage, device: str) -> torch.Tensor:
    """(1, 3, H, W) float32 in 0..1."""
    values = torch.from_numpy(np.array(image)).to(device)
    return values.permute(2, 0, 1)[None].float() / 255
