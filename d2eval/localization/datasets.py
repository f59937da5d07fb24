"""What the folders of benchmarks of camera poses have in common when they are checked."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pycolmap

from d2eval.foundation.errors import told
from d2eval.foundation.images.decoding import read_image_size


def describe_completeness(
    counts: Mapping[str, int], complete: Mapping[str, int], kinds: Mapping[str, str]
) -> str:
    """Either "complete" or, with what differs, "partial (8 of 4479 database images, ...)"."""
    differs = [key for key, total in complete.items() if counts[key] != total]
    if not differs:
        return "complete"
    # Where the images differ, their poses do too
    shown = [key for key in differs if key != "posed"] or differs
    parts = ", ".join(f"{counts[key]} of {complete[key]} {kinds[key]}" for key in shown)
    return f"partial ({parts})"


def size_misfits(
    images: Iterable[tuple[str, Path]], cameras: Mapping[str, pycolmap.Camera], problems: list[str]
) -> list[str]:
    """Images that aren't of their camera's size, in words; what can't be read is a problem."""
    misfits = []
    for name, path in images:
        with told(problems.append):
            size, camera = read_image_size(path), cameras.get(name)
            if camera is not None and size != (camera.width, camera.height):
                misfits.append(f"{name} ({size[0]}x{size[1]}, not {camera.width}x{camera.height})")
    return misfits
