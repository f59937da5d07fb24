"""Leaks: data of a benchmark that weights were trained on, as far as sources state it.

Weights say in `d2eval.WeightsInfo.trained_on` what they were trained on, a protocol in its entry
``overlaps`` what it measures on: both in names such as "MegaDepth/0015", a set and a part of it. A
set alone is all of it, or a part that no source names.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

UNSURE = "?"  # after a part of a set of which no source says which part was trained on
NOTE = (
    "Leak: of this data of the benchmark the weights, or the matcher's, were trained, as their "
    f"source states; {UNSURE} where it names the set, but not which part of it."
)


def leaks(described: Mapping[str, Any], overlaps: Sequence[str]) -> list[str]:
    """What of ``overlaps`` the weights were trained on that a run's manifest describes.

    Args:
        described: entries of a manifest, with an entry ``trained_on`` for any weights.
        overlaps: what the benchmark measures on.
    """
    trained = [*_trained_on(described)]
    found = []
    for own in overlaps:
        if any(other == own or other.startswith(f"{own}/") for other in trained):
            found.append(own)
        elif any(own.startswith(f"{other}/") for other in trained):
            found.append(own + UNSURE)
    return found


def leak_text(found: Collection[str]) -> str:
    """Such as "MegaDepth 0015, 0022"; "" where there is none."""
    sets: dict[str, list[str]] = {}
    for own in found:
        name, _, part = own.partition("/")
        sets.setdefault(name, []).append(part)
    return "; ".join(f"{name} {', '.join(parts)}".strip() for name, parts in sets.items())


def leak_word(found: Collection[str]) -> str:
    """A word for legends: "leak", "leak?" where none is certain, "" where there is none."""
    if not found:
        return ""
    return "leak" + (UNSURE if all(own.endswith(UNSURE) for own in found) else "")


def _trained_on(described: Any) -> Iterator[str]:
    if isinstance(described, Mapping):
        for name, value in described.items():
            if name == "trained_on":
                yield from value or ()
            else:
                yield from _trained_on(value)
