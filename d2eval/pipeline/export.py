"""Features as files that outside tools read.

npz and mat are the layouts of the D2-Net authors' extractor (d2-net 0a3356c,
``extract_features.py``): one file for each image. h5 is hloc's, see `d2eval.pipeline.hlocfile`:
one file with a group for each image. `d2eval.pipeline.precomputed` reads all three. Images are
named by their path relative to a root folder, in outputs as in h5 groups, so names can't meet.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from d2eval.contracts.features import PIXEL_CENTER, Features
from d2eval.foundation.errors import ROOM, D2EvalError, writing
from d2eval.foundation.files.atomic import exclusive, write_bytes
from d2eval.foundation.files.leftovers import temporary_path
from d2eval.foundation.files.reading import read_lines
from d2eval.foundation.images.decoding import SUFFIXES
from d2eval.pipeline.featurefiles import CENTER
from d2eval.pipeline.hlocfile import write_group

NamedFeatures = Iterable[tuple[str, Features]]


def _normal(path: Path) -> Path:
    # Without "..", by which a name could leave the output folder. Links are kept: they name images.
    return Path(os.path.normpath(path.absolute()))


def _images_under(folder: Path) -> Iterator[Path]:
    """Images below ``folder``, by name; hidden ones are left out, linked folders are followed."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = Path(parent)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            # a link to a folder above would never end
            and not here.resolve().is_relative_to((here / name).resolve())
        )
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield here / name


def find_images(arguments: Sequence[str], root: Path | None = None) -> dict[str, Path]:
    """The images that ``arguments`` mean, by their posix path relative to the root.

    Args:
        arguments: image files, folders that are searched for images, or ``@list.txt`` with one of
            these on each line. What is named twice is taken once.
        root: None takes the folder that all arguments have in common: a folder given alone is the
            root itself, a file's is the folder that holds it.

    Raises:
        D2EvalError: a path that does not exist, a folder without images, or an image outside the
            root.
    """
    plain: list[str] = []
    for argument in arguments:
        if argument.startswith("@"):
            plain += filter(None, (line.strip() for _, line in read_lines(Path(argument[1:]))))
        else:
            plain.append(argument)
    bases: list[Path] = []
    images: dict[Path, None] = {}
    for path in (_normal(Path(argument)) for argument in plain):
        if path.is_dir():
            found = list(_images_under(path))
            if not found:
                raise D2EvalError(f"{path}: no images in this folder ({', '.join(SUFFIXES)})")
            bases.append(path)
        elif path.exists():
            found = [path]
            bases.append(path.parent)
        else:
            raise D2EvalError(f"{path}: no such image or folder")
        images.update(dict.fromkeys(found))
    if not images:
        raise D2EvalError("no images to extract: the list is empty")
    top = Path(os.path.commonpath(bases)) if root is None else _normal(root)
    for path in images:
        if not path.is_relative_to(top):
            raise D2EvalError(f"{path}: not under --root {top}; give a root that holds all images")
    return {path.relative_to(top).as_posix(): path for path in images}


def check_extension(extension: str) -> str:
    """``extension`` with its dot.

    Raises:
        D2EvalError: it is empty, a path, or an image's, so that files could be taken for images.
    """
    dotted = "." + extension.removeprefix(".")
    if dotted == "." or "/" in dotted or Path(f"x{dotted}").suffix.lower() in SUFFIXES:
        raise D2EvalError(f"extension {extension!r}: can't name features; use one like .d2-net")
    return dotted


def feature_file(features: Features, kind: str) -> bytes:
    """One image's features as the bytes of an "npz" or "mat" file.

    It holds ``keypoints`` (N, 3: x, y, scale; N, 2 without scales), ``scores`` (N,; a row in mat)
    and ``descriptors`` (N, D), and where known ``orientations`` (as scores) and ``affine_shapes``
    (N, 2, 2), all float32. Keypoints count from the method's own origin, as its own files do. Where
    that isn't the centre of the top-left pixel, ``pixel_center`` says which coordinates that centre
    has.
    """
    keypoints: npt.NDArray[np.float32] = features.own_keypoints()
    if features.scales is not None:
        keypoints = np.column_stack([keypoints, features.scales])
    arrays: dict[str, Any] = {
        "keypoints": keypoints,
        "scores": features.scores,
        "descriptors": features.descriptors,
    }
    for name in ("orientations", "affine_shapes"):
        if getattr(features, name) is not None:
            arrays[name] = getattr(features, name)
    if features.origin != "center":
        arrays[CENTER] = np.array(PIXEL_CENTER[features.origin], np.float32)
    data = io.BytesIO()
    if kind == "npz":
        np.savez(data, **arrays)
    else:
        from scipy.io import savemat

        savemat(data, arrays)  # type: ignore[arg-type]  # file objects work
    return data.getvalue()


def write_feature_files(items: NamedFeatures, output: Path, extension: str, kind: str) -> int:
    """Writes ``<output>/<name><extension>`` for each image, each complete or not at all.

    Returns:
        Number of features.

    Raises:
        D2EvalError: the disk is full or the folder can't be written.
    """
    total = 0
    for name, features in items:
        write_bytes(output / f"{name}{extension}", feature_file(features, kind))
        total += len(features)
    return total


class _Sink(io.FileIO):
    """A file for HDF5 that keeps the first error and takes no more, for `check` to raise.

    HDF5 itself can't close a file that it can't write: it crashes when the process ends.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Writes all of ``data``, if nothing has failed yet."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while self.error is None and len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """Sets the file's size, if nothing has failed yet."""
        try:
            if self.error is None:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0

    def check(self) -> None:
        """Raises the error that was kept."""
        if self.error is not None:
            raise self.error


def write_hdf5(items: NamedFeatures, path: Path) -> int:
    """Writes the features of all images into one file, complete or not at all.

    An image's group is its name; see `d2eval.pipeline.hlocfile`.

    Returns:
        Number of features.

    Raises:
        D2EvalError: the disk is full, or the folder can't be written or is being written by
            another process.
    """
    total = 0
    remedy = f"{ROOM}, then run the same command again: finished extractions are kept"
    with exclusive(path.parent), temporary_path(path) as temporary, writing(path, remedy):
        with _Sink(temporary, "x+") as sink:
            with h5py.File(sink, "w") as file:
                for name, features in items:
                    write_group(file, name, features)
                    sink.check()
                    total += len(features)
            sink.check()
            os.fsync(sink.fileno())
        temporary.replace(path)
    return total
