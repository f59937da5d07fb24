"""How much a file may come to in memory: by its own size, and by limits that can be raised.

A damaged or hostile file of a few kilobytes can declare terabytes, or unpack to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from d2eval.foundation.errors import D2EvalError

PIXELS_VARIABLE = "D2EVAL_MAX_IMAGE_PIXELS"
UNPACKED_VARIABLE = "D2EVAL_MAX_UNPACKED_MIB"
RATIO = 20  # to which arrays of real numbers pack at best


@dataclass
class Limits:
    """The limits of this process; the command line sets them from its environment."""

    image_pixels: int = 100_000_000  # of one image
    # what a file may unpack to, however small it is; larger ones may come to `RATIO` times their
    # size
    unpacked_mib: int = 256

    def read(self, environment: Mapping[str, str]) -> None:
        """Takes the limits that ``environment`` names.

        Raises:
            D2EvalError: one is no number above 0.
        """
        for variable, name in (
            (PIXELS_VARIABLE, "image_pixels"),
            (UNPACKED_VARIABLE, "unpacked_mib"),
        ):
            text = environment.get(variable, "")
            if not text:
                continue
            if not (text.isascii() and text.isdecimal() and len(text) < 16 and int(text)):
                raise D2EvalError(f"{variable}={text[:20]!r}: is no whole number above 0; mend it")
            setattr(self, name, int(text))


LIMITS = Limits()


class Budget:
    """What may still be read of a file's content."""

    def __init__(self, path: Path, size: int) -> None:
        """Takes what a file may come to."""
        self._path = path
        self._left = max(LIMITS.unpacked_mib * 2**20, RATIO * size)

    def take(self, count: int) -> None:
        """Says that ``count`` bytes will be held, before they are.

        Raises:
            D2EvalError: they are more than the file may come to.
        """
        self._left -= count
        if self._left < 0:
            raise D2EvalError(
                f"{self._path}: holds more than {LIMITS.unpacked_mib} MiB and {RATIO} times its "
                f"size; replace the file, or set {UNPACKED_VARIABLE} higher if that is so"
            )
