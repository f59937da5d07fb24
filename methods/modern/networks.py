"""What methods on networks share: their weights, kornia where it is used, images as tensors."""

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
from d2eval.contracts.weightgroups import WeightsGroup, fetched_weights, weights_groups
from d2eval.contracts.weights import WeightsInfo, load_state_dict
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.files.reading import sha256_of
from d2eval.foundation.images.decoding import RgbImage

INSTALL = 'pip install "d2eval[modern]"'
BUNDLED, FETCHED = "bundled", "fetched"
LEAST_SIDE = 32  # pixels; the networks halve or pad smaller images to nothing


@dataclass(frozen=True)
class BundledWeights:
    """Weights of this repository: the authors' own values in float32.

    Attributes:
        file: its name.
        origin: where they are from.
        trained_on: as in `WeightsInfo`.
    """

    file: str
    origin: str
    trained_on: tuple[str, ...] | None = None

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
            path, own = self.bundle.path, self.bundle
            self.weights = WeightsInfo(
                "bundled, the authors'", own.origin, sha256_of(path), trained_on=own.trained_on
            )
        return load_state_dict(path), path

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """For ``d2eval methods``: bundled, or kornia is missing."""
        return "bundled, the authors'" if has_kornia() else f"missing: kornia; run: {INSTALL}"

    @classmethod
    def training_data(cls, runtime: Runtime) -> tuple[str, ...] | None:
        """That of the bundled weights."""
        return cls.bundle.trained_on


@dataclass(frozen=True)
class FetchedWeights:
    """Weights that ``d2eval fetch`` brings.

    Attributes:
        group: of ``methods/downloads.toml``.
        file: of that group.
    """

    group: str
    file: str

    @property
    def _of(self) -> WeightsGroup:
        return weights_groups()[self.group]

    @property
    def missing(self) -> str:
        """The file, and the command that brings it."""
        terms = self._of.license
        if terms is None:
            return f"{self.file}, run 'd2eval fetch {self.group}'"
        name = terms.partition(",")[0]
        return f"{self.file} ({name}), run 'd2eval fetch {self.group} --accept-license'"

    @property
    def trained_on(self) -> tuple[str, ...] | None:
        """As in `WeightsInfo`."""
        return self._of.trained_on.get(self.file)

    def option(self) -> Any:
        """The option ``--weights`` of the method."""
        return option(FETCHED, f"fetched ({self.missing}), or a path", keyed=False)

    def found(self, runtime: Runtime) -> tuple[Path, WeightsInfo] | None:
        """The fetched file and what it is; None if it wasn't fetched.

        Raises:
            D2EvalError: it has changed since.
        """
        return fetched_weights(self._of, runtime.cache, self.file)


class FetchedMethod(Method):
    """A method on a network whose weights have to be fetched."""

    fetched: ClassVar[FetchedWeights]

    def choose(self, choice: str, runtime: Runtime) -> Path:
        """The file that ``--weights`` means; sets ``weights``.

        Raises:
            D2EvalError: there is none, or it has changed since it was fetched.
        """
        found = given_weights(choice) if choice != FETCHED else self.fetched.found(runtime)
        if found is None:
            raise D2EvalError(
                f"{type(self).__name__} has no weights yet: {self.fetched.missing}, "
                "or give --weights FILE"
            )
        path, self.weights = found
        return path

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """For ``d2eval methods``: fetched or missing."""
        found = cls.fetched.found(runtime)
        return f"missing: {cls.fetched.missing}" if found is None else found[1].name

    @classmethod
    def training_data(cls, runtime: Runtime) -> tuple[str, ...] | None:
        """That of the authors' file."""
        return cls.fetched.trained_on


def features_of(
    keypoints: torch.Tensor, scores: torch.Tensor, descriptors: torch.Tensor, size: tuple[int, int]
) -> Features:
    """`Features` of tensors on any device, without scales, from the top-left pixel's centre."""
    arrays = [tensor.cpu().numpy() for tensor in (keypoints, scores, descriptors)]
    return make_features(arrays[0], arrays[1], arrays[2], size)


def rgb_tensor(image: RgbImage, device: str) -> torch.Tensor:
    """(1, 3, H, W) float32 in 0..1."""
    values = torch.from_numpy(np.array(image)).to(device)
    return values.permute(2, 0, 1)[None].float() / 255
