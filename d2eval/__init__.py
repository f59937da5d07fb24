"""d2eval: local image features evaluated as the D2-Net paper (CVPR 2019) evaluated them.

What methods and matchers are made of is imported from here, when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from d2eval.foundation.version import program_version

if TYPE_CHECKING:
    from d2eval.api import Evaluation, compare, evaluate, load_runs
    from d2eval.contracts.features import Features, make_features, no_features
    from d2eval.contracts.image_matcher import ImageMatcher, ImageMatches
    from d2eval.contracts.maps import MapsMethod
    from d2eval.contracts.matcher import Matcher
    from d2eval.contracts.matching import Matches, mutual_nearest_neighbors
    from d2eval.contracts.method import Method
    from d2eval.contracts.options import Runtime, option
    from d2eval.contracts.preparation import Preparer
    from d2eval.contracts.training import Trainer
    from d2eval.contracts.weights import NONE_NEEDED, WeightsInfo, load_state_dict
    from d2eval.evaluation.benchmark import Benchmark, Checked, Evaluated, Request
    from d2eval.evaluation.dataset import ImagePair, PairDataset
    from d2eval.evaluation.pairs import PairsBenchmark
    from d2eval.evaluation.pairs_shown import Curves
    from d2eval.foundation.errors import D2EvalError
    from d2eval.foundation.images.decoding import RgbImage

__all__ = [
    "NONE_NEEDED",
    "Benchmark",
    "Checked",
    "Curves",
    "D2EvalError",
    "Evaluated",
    "Evaluation",
    "Features",
    "ImageMatcher",
    "ImageMatches",
    "ImagePair",
    "MapsMethod",
    "Matcher",
    "Matches",
    "Method",
    "PairDataset",
    "PairsBenchmark",
    "Preparer",
    "Request",
    "RgbImage",
    "Runtime",
    "Trainer",
    "WeightsInfo",
    "compare",
    "evaluate",
    "load_runs",
    "load_state_dict",
    "make_features",
    "mutual_nearest_neighbors",
    "no_features",
    "option",
]
_ROOMS = {
    "api": ("Evaluation", "compare", "evaluate", "load_runs"),
    "contracts.features": ("Features", "make_features", "no_features"),
    "contracts.image_matcher": ("ImageMatcher", "ImageMatches"),
    "contracts.maps": ("MapsMethod",),
    "contracts.matcher": ("Matcher",),
    "contracts.matching": ("Matches", "mutual_nearest_neighbors"),
    "contracts.method": ("Method",),
    "contracts.options": ("Runtime", "option"),
    "contracts.preparation": ("Preparer",),
    "contracts.training": ("Trainer",),
    "contracts.weights": ("NONE_NEEDED", "WeightsInfo", "load_state_dict"),
    "evaluation.benchmark": ("Benchmark", "Checked", "Evaluated", "Request"),
    "evaluation.dataset": ("ImagePair", "PairDataset"),
    "evaluation.pairs": ("PairsBenchmark",),
    "evaluation.pairs_shown": ("Curves",),
    "foundation.errors": ("D2EvalError",),
    "foundation.images.decoding": ("RgbImage",),
}


def __getattr__(name: str) -> Any:
    """A name's module is imported when the name is used, so that a start takes no time."""
    if name == "__version__":
        return program_version()
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
