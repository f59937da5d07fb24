"""d2eval: local image features evaluated as the D2-Net paper (CVPR 2019) evaluated them.

What methods and matchers are made of is imported from here, when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2eval.contracts.features import Features, make_features, no_features
    from d2eval.contracts.maps import MapsMethod
    from d2eval.contracts.matcher import Matcher
    from d2eval.contracts.matching import Matches, mutual_nearest_neighbors
    from d2eval.contracts.method import Method, Runtime, option
    from d2eval.contracts.preparation import Preparer
    from d2eval.contracts.training import Trainer
    from d2eval.contracts.weights import NONE_NEEDED, WeightsInfo, load_state_dict
    from d2eval.foundation.errors import D2EvalError
    from d2eval.foundation.images.decoding import RgbImage

__all__ = [
    "NONE_NEEDED", "D2EvalError", "Features", "MapsMethod", "Matcher", "Matches", "Method",
    "Preparer", "RgbImage", "Runtime", "Trainer", "WeightsInfo", "load_state_dict",
    "make_features", "mutual_nearest_neighbors", "no_features", "option",
]  # fmt: skip
_ROOMS = {
    "contracts.features": ("Features", "make_features", "no_features"),
    "contracts.maps": ("MapsMethod",),
    "contracts.matcher": ("Matcher",),
    "contracts.matching": ("Matches", "mutual_nearest_neighbors"),
    "contracts.method": ("Method", "Runtime", "option"),
    "contracts.preparation": ("Preparer",),
    "contracts.training": ("Trainer",),
    "contracts.weights": ("NONE_NEEDED", "WeightsInfo", "load_state_dict"),
    "foundation.errors": ("D2EvalError",),
    "foundation.images.decoding": ("RgbImage",),
}


def __getattr__(name: str) -> Any:
    """A name's module is imported when the name is used, so that a start takes no time."""
    if name == "__version__":
        return _version()
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("d2eval")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0+checkout"
