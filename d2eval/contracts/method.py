"""The contract of a method, and the registry that finds one by name.

A method turns an RGB image into `Features`. It says what its options are (a frozen dataclass) and
which weights it uses; both enter the key under which its features are cached, and so does its
source where it isn't shipped (`d2eval.contracts.source`), so features of other settings or code
can't be read by mistake.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from d2eval.contracts.architecture import Architecture
from d2eval.contracts.features import Features, Float32Array
from d2eval.contracts.identity import Identity
from d2eval.contracts.options import NoOptions, Runtime
from d2eval.contracts.registry import METHODS, find_class, registered
from d2eval.contracts.source import source_of
from d2eval.contracts.weights import NOT_STATED, WeightsInfo
from d2eval.foundation.images.decoding import RgbImage


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """How much of a keypoint a method sees in each cell of a grid over an image.

    Attributes:
        name: a few words that say what the scores are.
        values: (h, w) float32, not negative; higher is more.
        origin: x and y of the first cell's centre, in pixels of the image as keypoints are.
        step: pixels between neighbouring cells in x and y.
    """

    name: str
    values: Float32Array
    origin: tuple[float, float]
    step: tuple[float, float]


class Adapter(ABC):
    """What is found by name and built with options and weights: a local feature, a matcher, maps.

    Attributes:
        table: of the registry, which has its name.
        description: one line for lists.
        license: of its weights, or of what it runs where it has none, in a few letters.
        papers: keys of entries in ``citations.bib`` (`d2eval.contracts.citations`), the main one
            first; () where there is none.
        version: raise it when a change changes what it gives: of a shipped method's code, which has
            to be recorded by tests/methods/record_sources.py, or of what no file of others shows.
        Config: a frozen dataclass of `option` fields.
        weights: what it was built with; set by ``__init__``, or for the class to `NONE_NEEDED`.
    """

    table: ClassVar[str] = METHODS
    description: ClassVar[str]
    license: ClassVar[str] = NOT_STATED.name
    papers: ClassVar[tuple[str, ...] | None] = None
    version: ClassVar[int] = 1
    Config: ClassVar[type] = NoOptions
    weights: WeightsInfo = NOT_STATED

    @abstractmethod
    def __init__(self, config: Any, runtime: Runtime) -> None:
        """Builds the method. Loads weights here, never from the network.

        Raises:
            D2EvalError: weights are missing or don't fit.
        """

    @classmethod
    def weights_state(cls, runtime: Runtime) -> str:
        """Which weights would be used now, for ``d2eval methods``.

        It begins with ``missing: `` where something is, and then ends with what gets it.
        """
        return cls.weights.name

    @classmethod
    def training_data(cls, runtime: Runtime) -> tuple[str, ...] | None:
        """What those weights were trained on, as `WeightsInfo.trained_on`."""
        return cls.weights.trained_on

    def identity(self, name: str, config: Any) -> Identity:
        """What decides what it gives under ``name`` with ``config``."""
        keyed = {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(config)
            if field.metadata.get("keyed", True)
        }
        target = name if ":" in name else registered(self.table).get(name, "")
        module = target.partition(":")[0]
        source = source_of(type(self), module or None)
        return Identity(name, self.version, keyed, self.weights or NOT_STATED, source)


class Method(Adapter):
    """A local feature: subclass it in one file and register the class by name.

    Attributes:
        descriptor_dim: D of its descriptors.
    """

    descriptor_dim: ClassVar[int]

    @abstractmethod
    def extract(self, image: RgbImage) -> Features:
        """Features of ``image``, (H, W, 3) uint8 RGB, in that image's pixels.

        The same image gives the same features, whatever was extracted before.
        """

    def run_network(self, image: RgbImage) -> float | None:
        """Runs the network alone on ``image``, for ``d2eval speed``.

        Returns:
            Its floating-point operations, a product and a sum counted as two, as the plain
            algorithm needs them; None for a method without a network.
        """
        return None

    @classmethod
    def architecture(cls, config: Any, size: tuple[int, int]) -> Architecture | None:
        """The network on an image of (width, height) ``size``, for ``d2eval describe``.

        Needs no weights. None for a method without a network, or one that doesn't describe it.
        """
        return None

    def score_map(self, image: RgbImage) -> ScoreMap | None:
        """Detection scores all over ``image``, for ``d2eval show``.

        None for a method without such a map, or for an image that is too small for one.
        """
        return None


def method_class(name: str) -> type[Method]:
    """The class registered as ``name``, or named directly as "module:Class".

    Raises:
        D2EvalError: no such method (the nearest names are suggested), or it can't be imported.
    """
    # The base is abstract, which only matters to who builds one.
    return find_class(name, METHODS, Method, "method")  # type: ignore[type-abstract]
