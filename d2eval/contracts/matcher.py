"""The contract of a matcher, which pairs the features of two images, and the choice of one."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from d2eval.contracts.features import Features
from d2eval.contracts.method import Adapter, Runtime
from d2eval.contracts.options import checked_options
from d2eval.contracts.registry import MATCHERS, find_class
from d2eval.foundation.errors import D2EvalError

if TYPE_CHECKING:
    from d2eval.contracts.matching import Matches


class Matcher(Adapter):
    """Pairs the features of two images: subclass it in one file and register the class by name.

    What finds pairs in the images themselves, without features, is no matcher in this sense.
    """

    table = MATCHERS

    def __init__(self, config: Any, runtime: Runtime) -> None:
        """Keeps both. One with weights loads them here and sets ``weights``.

        Raises:
            D2EvalError: weights are missing or don't fit.
        """
        self.config, self.runtime = config, runtime

    @abstractmethod
    def match(self, first: Features, second: Features) -> "Matches":
        """Matches of two images, each of which has a feature at least.

        The same features give the same matches, whatever was matched before.

        Args:
            first: all that is known of the features of one image.
            second: the same of the other.

        Returns:
            (M, 2) integers: indices into the two, each pair once.
        """


class InvalidMatchesError(D2EvalError):
    """A matcher gave matches that break the contract."""


def matches_of(matcher: Matcher, first: Features, second: Features) -> "Matches":
    """What ``matcher`` gives, checked, as int32; an image without features has no matches.

    Raises:
        InvalidMatchesError: it breaks the contract.
    """
    if not len(first) or not len(second):
        return np.zeros((0, 2), np.int32)
    found = np.asarray(matcher.match(first, second))
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iu":
        raise InvalidMatchesError(f"{found.dtype} {found.shape}, not integers (M, 2)")
    sizes = len(first), len(second)
    if ((found < 0) | (found >= sizes)).any():
        raise InvalidMatchesError(f"an index is none of {sizes[0]} and {sizes[1]} features")
    if len(np.unique(found[:, 0].astype(np.int64) * sizes[1] + found[:, 1])) < len(found):
        raise InvalidMatchesError("a pair stands twice")
    return np.ascontiguousarray(found, np.int32)


def matcher_class(name: str) -> type[Matcher]:
    """The class registered as ``name``, or named directly as "module:Class".

    Raises:
        D2EvalError: no such matcher (the nearest names are suggested), or it can't be imported.
    """
    # The base is abstract, which only matters to who builds one.
    return find_class(name, MATCHERS, Matcher, "matcher")  # type: ignore[type-abstract]


@dataclass(frozen=True)
class MatcherChoice:
    """A matcher that a protocol or the user names."""

    name: str  # registered, or "module:Class"
    # values for its ``Config``; what isn't named has its default
    options: Mapping[str, Any] = field(default_factory=dict)
    # what names it, for errors; "" for the command line
    place: str = field(default="", compare=False)

    @classmethod
    def of_table(cls, table: Mapping[str, Any], place: str) -> "MatcherChoice":
        """What a benchmark file says in its table ``[matcher]``: a registered name, and options.

        Raises:
            D2EvalError: it has no name, or one that would import what isn't registered.
        """
        if not isinstance(table.get("name"), str):
            raise D2EvalError(f'{place}: [matcher] names none; write name = "mnn"')
        if ":" in table["name"]:  # a file may be somebody else's, and code runs on import
            raise D2EvalError(
                f"{place}: [matcher] {table['name']!r} is no registered name; name it by --matcher"
            )
        options = {key: value for key, value in table.items() if key != "name"}
        return cls(table["name"], options, f"{place}: [matcher] ")

    def config(self) -> Any:
        """The options as the matcher takes them.

        Raises:
            D2EvalError: an unknown matcher or option, or a value of another type or out of bounds.
        """
        try:
            config = matcher_class(self.name).Config
        except D2EvalError as error:
            raise D2EvalError(f"{self.place}{error}") from error
        try:
            return checked_options(config, self.options)
        except D2EvalError as error:
            raise D2EvalError(f"{self.place}matcher {self.name!r}: {error}") from error

    def same_as(self, other: "MatcherChoice") -> bool:
        """Whether both are one matcher with equal options.

        Raises:
            D2EvalError: as `config`.
        """
        return self.name == other.name and bool(self.config() == other.config())
