"""Methods that a Python program hands over: an object, a class, or a plain function."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from d2eval.contracts.features import Features, make_features
from d2eval.contracts.method import Method, Runtime
from d2eval.contracts.options import NoOptions
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
        own = {"__module__": function.__module__, "function": staticmethod(function)}
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
    keypoints, descriptors = (np.asarray(array, np.float32) for array in found[:2])
    if descriptors.ndim == 2:
        norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
        descriptors = np.divide(descriptors, np.where(norms > 0, norms, 1), dtype=np.float32)
    scores = np.asarray(found[2] if len(found) == 3 else np.ones(len(keypoints)), np.float32)
    size = (image.shape[1], image.shape[0])
    return make_features(keypoints, scores, descriptors, size, scales=None)


@dataclass(frozen=True)
class GivenMethod(MethodChoice):
    """A method that isn't named but there.

    Attributes:
        method: the object.
    """

    method: Method = field(kw_only=True)

    @property
    def config_class(self) -> type:
        """Its options enter no name."""
        return NoOptions

    def open(self, runtime: Runtime, label: str | None = None) -> FeatureSource:
        """Its features, kept in the store as long as its source is known."""
        config = getattr(self.method, "config", NoOptions())
        return source_of_method(self.name, self.method, config, runtime, label)


def choice_of(method: Any, options: Mapping[str, Any], runtime: Runtime) -> MethodChoice:
    """What `d2eval.evaluate` was given as ``method``.

    Args:
        method: a name as ``--method`` takes it, a `Method` or a class of it, or a function.
        options: for its ``Config``.
        runtime: what a class is built with.

    Raises:
        D2EvalError: it is none of these, or options are given for an object.
    """
    if isinstance(method, str):
        return MethodChoice(method, options)
    if inspect.isclass(method) and issubclass(method, Method):
        method = method(method.Config(**options), runtime)
    elif options:
        raise D2EvalError("method_options: go with a method's name or class, not with an object")
    if isinstance(method, Method):
        return GivenMethod(make_label(type(method).__name__), method=method)
    if callable(method):
        name = make_label(getattr(method, "__name__", type(method).__name__))
        return GivenMethod(name, method=FunctionMethod.of(method, name))
    raise D2EvalError(f"method is {method!r}; give a name, a d2eval.Method, or a function")
