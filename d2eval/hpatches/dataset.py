"""HPatches sequences on disk: found, checked and read.

Layout: ``<root>/<i_*|v_*>/{1..6}.<ppm|png|jpg>`` and ``H_1_2`` .. ``H_1_6``, 3x3 homographies from
image 1 to image k in pixels.
"""

import difflib
import fnmatch
import hashlib
import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from d2eval.evaluation.dataset import ImagePair, PairDataset
from d2eval.foundation.errors import D2EvalError, reason_of, told
from d2eval.foundation.files.paths import find, listed
from d2eval.foundation.files.reading import read_text
from d2eval.foundation.text.words import some
from d2eval.hpatches.protocol import Selection
from d2eval.metrics.homography import FloatArray, check_homography

SUFFIX_ORDER = (".ppm", ".png", ".jpg", ".jpeg")  # the original first, then conversions of it
SPLITS = ("i", "v")


@dataclass(frozen=True)
class Sequence:
    """One sequence."""

    name: str  # its folder's name
    images: tuple[Path, ...]  # paths of images 1..6
    homographies: tuple[FloatArray, ...]  # of image 1 to images 2..6

    @property
    def split(self) -> str:
        """Either "i" (illumination) or "v" (viewpoint)."""
        return self.name[0]


@dataclass(frozen=True)
class Dataset:
    """The sequences of one run."""

    root: Path  # the folder
    sequences: tuple[Sequence, ...]  # by name
    excluded: tuple[str, ...]  # excluded sequences that were there
    ignored: tuple[str, ...]  # other things that were there
    completeness: str  # what every output says about the set


@dataclass
class Inspection:
    """What `inspect` found."""

    sequences: list[Sequence] = field(default_factory=list)  # those that are whole
    excluded: list[str] = field(default_factory=list)  # excluded sequences that were there
    ignored: list[str] = field(default_factory=list)  # other things beside the sequences
    extra: list[str] = field(default_factory=list)  # other things in sequences
    # a line for each, as a run would report the first
    problems: list[str] = field(default_factory=list)
    remains: list[Path] = field(default_factory=list)  # images of sequences that are not whole


def _find_image(folder: Path, number: int) -> Path:
    found = {p.suffix.lower(): p for p in find(folder, f"{number}.*") if p.stem == str(number)}
    for suffix in SUFFIX_ORDER:
        if suffix in found:
            return found[suffix]
    kinds = ", ".join(SUFFIX_ORDER)
    raise D2EvalError(f"{folder}: image {number} is missing ({number} with {kinds}); add it")


def read_homography(path: Path) -> FloatArray:
    """Reads a 3x3 homography from text.

    Raises:
        D2EvalError: missing, not 3x3 numbers, NaN, infinite or singular.
    """
    text = read_text(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # an empty file warns, and is refused below
            matrix = np.loadtxt(io.StringIO(text), dtype=np.float64, ndmin=2)
    except ValueError as error:
        reason = reason_of(error)
        raise D2EvalError(f"{path}: no 3x3 matrix of numbers ({reason}); replace it") from error
    problem = check_homography(matrix)
    if problem:
        raise D2EvalError(f"{path}: the homography {problem}; replace it")
    return matrix


def read_sequence(folder: Path, images_per_sequence: int) -> Sequence:
    """Reads one sequence's paths and homographies (not its pixels).

    Raises:
        D2EvalError: an image or a homography is missing or broken.
    """
    numbers = range(1, images_per_sequence + 1)
    images = tuple(_find_image(folder, number) for number in numbers)
    homographies = tuple(read_homography(folder / f"H_1_{k}") for k in numbers[1:])
    return Sequence(folder.name, images, homographies)


def _list_problems(folder: Path, images_per_sequence: int, found: Inspection) -> list[Path]:
    """Notes everything that is wrong in a sequence, and returns the images that it has."""
    images = []
    for number in range(1, images_per_sequence + 1):
        with told(found.problems.append):
            images.append(_find_image(folder, number))
    for k in range(2, images_per_sequence + 1):
        with told(found.problems.append):
            read_homography(folder / f"H_1_{k}")
    found.remains += images
    return images


def _extras(folder: Path, images: Iterable[Path], images_per_sequence: int) -> list[str]:
    known = {path.name for path in images}
    known |= {f"H_1_{k}" for k in range(2, images_per_sequence + 1)}
    return [f"{folder.name}/{p.name}" for p in listed(folder) if p.name not in known]


def _is_sequence(path: Path) -> bool:
    return path.name[:2] in ("i_", "v_") and path.is_dir()


def _unmatched(root: Path, pattern: str, names: list[str]) -> str | None:
    """What is wrong with a pattern that no sequence matches."""
    if pattern == "*" or any(fnmatch.fnmatchcase(name, pattern) for name in names):
        return None
    near = difflib.get_close_matches(pattern, names, n=1)
    there = f"there are {some(names)}" if names else "there is none (folders i_* and v_*)"
    hint = f" (did you mean {near[0]}?)" if near else f" ({there})"
    return f"{root}: no sequence {pattern!r}{hint}; check --data and --sequences"


def inspect(
    root: Path, benchmark: Selection, pattern: str = "*", strict: bool = False
) -> Inspection:
    """Looks at every sequence under ``root`` whose name matches ``pattern``.

    Patterns are as a shell's, e.g. "v_*"; several are separated by commas. If ``strict``, the first
    problem is raised, also that a pattern matches no sequence, instead of listing all.

    Raises:
        D2EvalError: no such folder; with ``strict``, the first problem.
    """
    if not root.is_dir():
        raise D2EvalError(f"{root}: no such folder; --data takes the folder that holds i_* and v_*")
    folders = listed(root)
    found = Inspection()
    patterns = [p.strip() for p in pattern.split(",")]
    names = [p.name for p in folders if _is_sequence(p)]
    found.problems += filter(None, (_unmatched(root, p, names) for p in patterns))
    if strict and found.problems:
        raise D2EvalError(found.problems[0])
    for folder in folders:
        if folder.name.startswith("."):
            continue
        if not _is_sequence(folder):
            found.ignored.append(folder.name)
            continue
        if not any(fnmatch.fnmatchcase(folder.name, p) for p in patterns):
            continue
        if folder.name in benchmark.excluded:
            found.excluded.append(folder.name)
            continue
        images: Iterable[Path]
        try:
            sequence = read_sequence(folder, benchmark.images_per_sequence)
        except D2EvalError:
            if strict:
                raise
            images = _list_problems(folder, benchmark.images_per_sequence, found)
        else:
            images = sequence.images
            found.sequences.append(sequence)
        found.extra += _extras(folder, images, benchmark.images_per_sequence)
    return found


def describe_completeness(sequences: list[Sequence], benchmark: Selection) -> str:
    """Either "complete", with as many of each split as a full set, or "partial (S of 108 ...)"."""
    counts = {s: sum(sequence.split == s for sequence in sequences) for s in SPLITS}
    if counts == benchmark.complete:
        return "complete"
    return f"partial ({len(sequences)} of {sum(benchmark.complete.values())} sequences)"


def load_dataset(
    root: Path, benchmark: Selection, pattern: str = "*", sample: bool = False
) -> Dataset:
    """The sequences to evaluate.

    Raises:
        D2EvalError: no such folder, no sequence matches, or one is broken or incomplete.
    """
    found = inspect(root, benchmark, pattern, strict=True)
    if not found.sequences:
        what = "no sequence (folders i_* and v_*)" if pattern == "*" else f"no sequence {pattern!r}"
        raise D2EvalError(f"{root}: {what} to evaluate; check --data and --sequences")
    return Dataset(
        root,
        tuple(found.sequences),
        tuple(found.excluded),
        tuple(found.ignored),
        "sample" if sample else describe_completeness(found.sequences, benchmark),
    )


def fingerprint(dataset: Dataset, image_hashes: Mapping[Path, str]) -> str:
    """SHA-256 over the names, image contents and homographies of the sequences."""
    digest = hashlib.sha256()
    for sequence in dataset.sequences:
        digest.update(sequence.name.encode())
        for path in sequence.images:
            digest.update(image_hashes[path].encode())
        for homography in sequence.homographies:
            digest.update(homography.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class HPatchesPairs(PairDataset):
    """The pairs of HPatches sequences."""

    found: Dataset  # the sequences

    def fingerprint(self, content: Mapping[Path, str]) -> str:
        """SHA-256 over the names, ``content`` of the images, and homographies."""
        return fingerprint(self.found, content)


def pairs_of_sequences(found: Dataset) -> HPatchesPairs:
    """Image 1 of each sequence with each of the others."""
    pairs = [
        ImagePair(
            sequence.images[0], sequence.images[k - 1], sequence.split,
            {"sequence": sequence.name, "image": k}, homography,
        )
        for sequence in found.sequences
        for k, homography in enumerate(sequence.homographies, start=2)
    ]  # fmt: skip
    images = sum(len(sequence.images) for sequence in found.sequences)
    lines = [f"HPatches {found.completeness}: {len(found.sequences)} sequences, {images} images"]
    if found.excluded:
        lines.append(f"excluded by the protocol: {', '.join(found.excluded)}")
    ignored = ", ".join(found.ignored)
    return HPatchesPairs(
        root=found.root,
        pairs=pairs,
        completeness=found.completeness,
        counts={"sequences": len(found.sequences)},
        lines=lines,
        notes=[f"not sequences, left alone: {ignored}"] if ignored else [],
        found=found,
    )
