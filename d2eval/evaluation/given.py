"""Methods that a Python program hands over: an object, a class, or a plain function."""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from d2eval.contracts.features import Features, make_features, no_features
from d2eval.contracts.image_matcher import ImageMatcher
from d2eval.contracts.method import Method, Runtime
from d2eval.contracts.options import NoOptions
from d2eval.contracts.registry import registered
from d2eval.contracts.source import unknown_source
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.text.labels import make_label
from d2eval.pipeline.extraction import FeatureSource, MethodChoice, source_of_method

Extract = Callable[[RgbImage], Any]


class FunctionMethod(Method):
    """A plain function as a method.

    The function takes an image, (H, W, 3) uint8 RGB, and gives `Features`, or keypoints and
    descriptors, or these and scores: arrays (N, 2), (N, D), (N,). Descriptors are L2-normalised
    here; keypoints are in pixels, (0, 0) is the centre of the top-left pixel.
    """

    description = "a function"
    function: Extract

    def __init__(self, config: Any = None, runtime: Runtime | None = None) -> None:
        """Has no options and needs no weights that anybody knows of."""

    @classmethod
    def of(cls, function: Extract, name: str) -> "FunctionMethod":
        """A method whose source, part of the key of stored features, is the function's module."""
        module = getattr(function, "__module__", None) or "__main__"
        own = {"__module__": module, "function": staticmethod(function)}
        made: FunctionMethod = type(name, (cls,), own)()
        return made

    def extract(self, image: RgbImage) -> Features:
        """What the function gives, as `Features`.

        Raises:
            InvalidFeaturesError: it gives something else.
        """
        found = self.function(image)
        if not isinstance(found, Features):
            found = _features(found, image)
        type(self).descriptor_dim = found.descriptors.shape[1]
        return found


def _features(found: Any, image: RgbImage) -> Features:
    if not isinstance(found, tuple | list) or len(found) not in (2, 3):
        raise D2EvalError(
            "the method gave neither Features nor (keypoints, descriptors) nor (keypoints, "
            "descriptors, scores)"
        )
    size = (image.shape[1], image.shape[0])
    if not len(found[0]):
        return no_features(1, size, with_scales=False)
    keypoints, descriptors = (np.asarray(array, np.float32) for array in found[:2])
    if descriptors.ndim == 2:
        norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
        descriptors = np.divide(descriptors, np.where(norms > 0, norms, 1), dtype=np.float32)
    scores = np.asarray(found[2] if len(found) == 3 else np.ones(len(keypoints)), np.float32)
    return make_features(keypoints, scores, descriptors, size, scales=None)


@dataclass(frozen=True)
class GivenMethod(MethodChoice):
    """A method that isn't named but there."""

    method: Method = field(kw_only=True)  # the object

    @property
    def config_class(self) -> type:
        """Its options enter no name."""
        return NoOptions

    @property
    def matches_images(self) -> bool:
        """Whether the object is a matcher of images."""
        return isinstance(self.method, ImageMatcher)

    def open(self, runtime: Runtime, label: str | None = None) -> FeatureSource:
        """Its features, which later runs use again where files and options say all of it."""
        config = getattr(self.method, "config", None)
        known = isinstance(config, self.method.Config)
        identity = self.method.identity(self.name, config if known else NoOptions())
        if isinstance(self.method, FunctionMethod):
            known = is_plain(self.method.function)
        elif self.method.Config is NoOptions:
            known = not vars(self.method)  # state that nothing else tells
        if not known:
            identity = replace(identity, source=unknown_source("no file says what it does"))
        return source_of_method(self.method, identity, runtime, label)


def is_plain(function: Extract) -> bool:
    """Whether its module's files say all of a function: it is no closure, lambda or partial."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__name__", "")
    return getattr(module, name, None) is function and not getattr(function, "__closure__", None)


def choice_of(method: Any, options: Mapping[str, Any]) -> MethodChoice:
    """What `d2eval.evaluate` was given as ``method``.

    A name as ``--method`` takes it, a `Method` or a class of it, or a function.

    Raises:
        D2EvalError: it is none of these, or options are given for an object.
    """
    if isinstance(method, str):
        return MethodChoice(method, options)
    if inspect.isclass(method) and issubclass(method, Method):
        target = f"{method.__module__}:{method.__qualname__}"
        names = [name for name, own in registered().items() if own == target]
        return MethodChoice(names[0] if names else target, options)
    if options:
        raise D2EvalError("method_options: go with a method's name or class, not with an object")
    if isinstance(method, Method):
        return GivenMethod(make_label(type(method).__name__), method=method)
    if callable(method):
        name = make_label(getattr(method, "__name__", type(method).__name__))
        return GivenMethod(name, method=FunctionMethod.of(method, name))
    raise D2EvalError(f"method is {method!r}; give a name, a d2eval.Method, or a function")
