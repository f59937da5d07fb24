"""The contract of a method, and the registry that finds one by name.

A method turns an RGB image into `Features`. It says what its options are (a frozen dataclass) and
which weights it uses; both enter the key under which its features are cached, and so does its
source where it isn't shipped (`d2eval.contracts.source`), so features of other settings or code
can't be read by mistake.
"""

import dataclasses
import difflib
import hashlib
import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from d2eval.contracts.architecture import Architecture
from d2eval.contracts.features import Features, Float32Array
from d2eval.contracts.registry import METHODS, other_table, registered
from d2eval.contracts.source import SHIPPED, Source, loading, source_of
from d2eval.contracts.weights import NOT_STATED, WeightsInfo
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import RgbImage

T = TypeVar("T")


def option(
    default: Any, help: str, *, choices: Sequence[str] | None = None, keyed: bool = True
) -> Any:
    """A field of a method's ``Config`` that the command line offers as ``--field-name``.

    Args:
        default: its default; a bool gives ``--name`` and ``--no-name``.
        help: one line for ``--help``.
        choices: the values allowed, for text options.
        keyed: False for an option that does not decide the features by itself, such as a path to
            weights whose hash is in the key already.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "keyed": keyed}
    )


@dataclass(frozen=True)
class NoOptions:
    """The ``Config`` of a method without options."""


@dataclass(frozen=True)
class Runtime:
    """Where and how a method runs, the same for all methods.

    Attributes:
        device: a torch device name, "cpu" or "cuda".
        seed: for methods that draw random numbers.
        memory_limit: bytes that the process may come to hold, for methods that can do with less;
            None is 80 % of what is free beside what it holds.
        cache: the cache folder, under which fetched weights lie in ``weights/<group>``.
        fresh: whether what is stored already is made again.
    """

    device: str = "cpu"
    seed: int = 0
    memory_limit: int | None = None
    cache: Path = Path(".d2eval")
    fresh: bool = False


@dataclass(frozen=True)
class Identity:
    """What decides what a method gives: its name, version, options, weights and source."""

    method: str
    version: int
    config: dict[str, Any]
    weights: WeightsInfo
    source: Source = SHIPPED

    @property
    def key(self) -> str:
        """A short hash that changes whenever the features may."""
        parts = [self.method, self.version, self.config, self.weights.sha256 or None]
        if self.source.sha256:
            parts.append(self.source.sha256)
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


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
        version: raise it when a change changes what it gives: of a shipped method's code, which has
            to be recorded by tests/methods/record_sources.py, or of what no file of others shows.
        Config: a frozen dataclass of `option` fields.
        weights: what it was built with; set by ``__init__``, or for the class to `NONE_NEEDED`.
    """

    table: ClassVar[str] = METHODS
    description: ClassVar[str]
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
        """Which weights would be used now, for ``d2eval methods``."""
        return cls.weights.name

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


AdapterT = TypeVar("AdapterT", bound=Adapter)


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


def find_class(
    name: str, targets: dict[str, str], base: type[T], kind: str, list_hint: str = ""
) -> type[T]:
    """The class that ``name`` stands for, or that it names directly as "module:Class".

    Args:
        name: what the user asks for.
        targets: the known ones, name -> "module:Class".
        base: what the class must be derived from.
        kind: what it is called in errors.
        list_hint: where the known ones are listed, for errors.

    Raises:
        D2EvalError: no such name (the nearest names are suggested), or it can't be imported.
    """
    target = name if ":" in name else targets.get(name)
    if target is None:
        near = difflib.get_close_matches(name, targets, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(targets)}"
        raise D2EvalError(f"unknown {kind} {name!r}; {hint}{list_hint}")
    module, _, attribute = target.partition(":")
    loading(module)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the module may be anyone's and raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise D2EvalError(f"{kind} {name!r}: {target} can't be imported ({reason})") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise D2EvalError(f"{kind} {name!r}: {target} is not a d2eval.{base.__name__}")
    return found


def find_listed(name: str, base: type[AdapterT], kind: str) -> type[AdapterT]:
    """`find_class` among what is registered and ``d2eval methods`` lists."""
    elsewhere = None if ":" in name else other_table(name, base.table)
    hint = f"; {elsewhere}" if elsewhere else " ('d2eval methods' lists them)"
    return find_class(name, registered(base.table), base, kind, hint)


def method_class(name: str) -> type[Method]:
    """The class registered as ``name``, or named directly as "module:Class".

    Raises:
        D2EvalError: no such method (the nearest names are suggested), or it can't be imported.
    """
    # The base is abstract, which only matters to who builds one.
    return find_listed(name, Method, "method")  # type: ignore[type-abstract]
