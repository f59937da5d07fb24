"""LightGlue by kornia: a network that compares all features of both images with each other.

Lindenberger, Sarlin, Pollefeys, "LightGlue: Local Feature Matching at Light Speed", ICCV 2023.
Settings are the defaults of the authors' ``lightglue.py``: stop early at 0.95, drop points at 0.99,
matches above 0.1. They give it 2048 keypoints of each image (``--top-k 2048``); time and memory
grow with the product of both numbers.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch

from d2eval.contracts.features import Features
from d2eval.contracts.matcher import Matcher
from d2eval.contracts.matching import Matches
from d2eval.contracts.method import Runtime
from d2eval.contracts.options import option
from d2eval.contracts.weightgroups import fetched_weights, weights_groups
from d2eval.contracts.weights import load_state_dict
from d2eval.foundation.errors import D2EvalError
from methods.modern.networks import INSTALL, given_weights, has_kornia, load_into, require_kornia

GROUP = "lightglue"
FILES = {name: f"{name}_lightglue.pth" for name in ("aliked", "disk")}  # by method
BY_METHOD, FETCHED = "auto", "fetched"
UNREAD = r"log_assignment\.\d+\.r"  # tensors of DISK's file that the authors' network doesn't read
DIM = 128  # columns of both methods' descriptors


@dataclass(frozen=True)
class LightGlueConfig:
    """The authors' settings."""

    features: str = option(
        BY_METHOD, "what it was trained on; auto: the method's name", choices=(BY_METHOD, *FILES)
    )
    threshold: float = option(0.1, "a match's probability is above it")
    depth_confidence: float = option(
        0.95, "share of sure points at which it stops early; -1: never"
    )
    width_confidence: float = option(0.99, "how surely a point that is dropped has none; -1: never")
    weights: str = option(FETCHED, f"fetched ('d2eval fetch {GROUP}'), or a path", keyed=False)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise D2EvalError("threshold must be 0 or more, and below 1")
        for value in (self.depth_confidence, self.width_confidence):
            if value != -1 and not 0 < value <= 1:
                raise D2EvalError("depth-confidence and width-confidence must be -1, or up to 1")


class LightGlue(Matcher):
    """Pairs that LightGlue is sure of; each feature is in one at most."""

    description = "LightGlue (kornia), for aliked and disk"
    license = "Apache-2.0"
    papers = ("lindenberger2023lightglue",)
    Config = LightGlueConfig

    def __init__(self, config: LightGlueConfig, runtime: Runtime) -> None:
        """Builds the network; nothing is downloaded.

        Raises:
            D2EvalError: no kornia, a method that it wasn't trained on, or weights that are missing
                or don't fit.
        """
        super().__init__(config, runtime)
        require_kornia("lightglue")
        trained = runtime.method if config.features == BY_METHOD else config.features
        if trained not in FILES:
            raise D2EvalError(
                f"lightglue was not trained on {trained or 'these features'}, but on "
                f"{' and '.join(FILES)}; --matcher-features says that features are of one of them"
            )
        if config.weights != FETCHED:
            path, self.weights = given_weights(config.weights, "--matcher-weights")
        else:
            found = fetched_weights(weights_groups()[GROUP], runtime.cache, FILES[trained])
            if found is None:
                raise D2EvalError(f"lightglue has no {FILES[trained]}; run: d2eval fetch {GROUP}")
            path, self.weights = found
        from kornia.feature import LightGlue as Network

        network = Network(
            features=None,
            input_dim=DIM,
            filter_threshold=config.threshold,
            depth_confidence=config.depth_confidence,
            width_confidence=config.width_confidence,
        )
        state = {
            _kornia_name(name): value
            for name, value in load_state_dict(path).items()
            if not re.fullmatch(UNREAD, name)
        }
        self._network = load_into(network, state, path, runtime.device)

    @torch.inference_mode()
    def match(self, first: Features, second: Features) -> Matches:
        """Pairs by rising first index."""
        for features in (first, second):
            if features.descriptors.shape[1] != DIM:
                raise D2EvalError(
                    f"lightglue takes descriptors of {DIM} numbers, not "
                    f"{features.descriptors.shape[1]}"
                )
        found = self._network({"image0": self._input(first), "image1": self._input(second)})
        pairs = found["matches"][0].cpu().numpy().astype(np.int32)
        return pairs[np.argsort(pairs[:, 0], kind="stable")]

    def _input(self, features: Features) -> dict[str, torch.Tensor]:
        arrays = {
            "keypoints": features.keypoints,
            "descriptors": features.descriptors,
            "image_size": np.array(features.image_size, np.float32),
        }
        return {k: torch.from_numpy(v)[None].to(self.runtime.device) for k, v in arrays.items()}

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """For ``d2eval methods``: which files are fetched, or what is missing."""
        if not has_kornia():
            return f"missing: kornia; run: {INSTALL}"
        group = weights_groups()[GROUP]
        found = [f for f in FILES.values() if fetched_weights(group, runtime.cache, f)]
        return ", ".join(found) or f"missing: run 'd2eval fetch {GROUP}'"

    @classmethod
    def training_data(cls, runtime: Runtime) -> tuple[str, ...] | None:
        """That of the authors' files, which is the same of all."""
        return weights_groups()[GROUP].trained_on[next(iter(FILES.values()))]


def _kornia_name(name: str) -> str:
    """A tensor's name of the authors' first release, as the network has it."""
    kind, _, rest = name.partition(".")
    if kind not in ("self_attn", "cross_attn"):
        return name
    layer, _, rest = rest.partition(".")
    return f"transformers.{layer}.{kind}.{rest}"
