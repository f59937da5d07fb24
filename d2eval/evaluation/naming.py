"""How a run is called when the user doesn't say: by what it is of.

Method, options that aren't the default, and what of matcher, data and protocol isn't, joined by
dashes: ``d2_ms-ratio-top2000-v_bird``.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from d2eval.contracts.maps import maps_class
from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.registry import DENSE_NETWORK
from d2eval.foundation.text.labels import make_label
from d2eval.pipeline.extraction import MethodChoice, default_label
from d2eval.pipeline.maps import DenseChoice
from d2eval.runs.folder import RunName


def run_name(given: str | None, parts: Iterable[str | None]) -> RunName:
    """The name that was given, or else one of ``parts``, without those that are None or empty."""
    if given is not None:
        return RunName(given, given=True)
    return RunName(make_label("-".join(filter(None, parts))))


def method_parts(method: MethodChoice) -> list[str]:
    """The method and those of its options that aren't the default."""
    return [method.label, *option_parts(method.config_class, method.options)]


def matcher_parts(chosen: MatcherChoice | None, default: MatcherChoice) -> list[str]:
    """A matcher that isn't the protocol's own, and those of its options that aren't the default.

    Raises:
        D2EvalError: an unknown matcher or option.
    """
    if chosen is None or chosen.same_as(default):
        return []
    return [default_label(chosen.name), *option_parts(chosen.config(), chosen.options)]


def maps_parts(network: DenseChoice) -> list[str]:
    """A network for dense maps that isn't the usual one, and its options that aren't the default.

    Raises:
        D2EvalError: an unknown network.
    """
    name = [] if network.name == DENSE_NETWORK else [default_label(network.name)]
    return [*name, *option_parts(maps_class(network.name).Config, network.options)]


def option_parts(config: Any, options: Mapping[str, Any]) -> list[str]:
    """A word for each option that isn't the default: ``max-edge800``, ``no-relu``, ``best``."""
    parts = []
    for field in dataclasses.fields(config):
        value, flag = options.get(field.name, field.default), field.name.replace("_", "-")
        if value == field.default or not field.metadata.get("named", True):
            continue
        if isinstance(value, bool):
            parts.append(flag if value else f"no-{flag}")
        elif isinstance(value, str):
            word = file_part(value) or ""
            parts.append(word if field.name == "weights" else f"{flag}-{word}")
        else:
            parts.append(f"{flag}{value}")
    return parts


def file_part(path: str | Path | None) -> str | None:
    """A word for a file that was chosen: its name without its last extension."""
    return None if path is None else make_label(Path(path).stem)


def protocol_part(protocol: str, benchmark: str) -> str | None:
    """A word for a protocol that isn't the benchmark's own: ``hloc``."""
    return protocol.removeprefix(f"{benchmark}_") if protocol != benchmark else None


def shared_parts(sample: bool, seed: int) -> list[str | None]:
    """Words for the embedded sample, and for a seed that isn't the default, of every benchmark."""
    return ["sample" if sample else None, number_part("seed", seed, 0)]


def number_part(word: str, number: int | None, default: int | None = None) -> str | None:
    """A word for a number that isn't the default: ``top2000``."""
    return None if number == default else f"{word}{number}"
