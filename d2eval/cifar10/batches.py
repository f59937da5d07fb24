"""The binary version of CIFAR-10: records of a label and three planes of pixels.

Only these are read, never the "Python version", whose batches are pickles: unpickling runs code.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from d2eval.cifar10.protocol import DataNumbers
from d2eval.foundation.downloads.download import CHECKSUMS, verified_path
from d2eval.foundation.errors import D2EvalError, told
from d2eval.foundation.files.reading import is_there, read_bytes, read_text
from d2eval.runs.measured import COMPLETE, SAMPLE

GET = "get the binary version, as 'd2eval fetch cifar10' does"
PICKLE = b"\x80"  # begins a pickle of protocol 2 and later; no label
MOST_BYTES = 2**26  # of a batch


@dataclass(frozen=True)
class LabelledImages:
    """Images with what they show."""

    images: np.ndarray  # (N, 3, H, W) uint8, planes red, green, blue
    labels: np.ndarray  # (N,) int64, each a class

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Cifar10Data:
    """The dataset."""

    root: Path
    training: LabelledImages
    test: LabelledImages
    completeness: str  # "complete" or "sample"
    fingerprint: str  # SHA-256 of all labels and images
    notes: tuple[str, ...] = ()


@dataclass
class Inspection:
    """What `inspect` found."""

    batches: dict[str, LabelledImages] = field(default_factory=dict)  # those that are sound
    classes: tuple[str, ...] = ()  # their names
    problems: list[str] = field(default_factory=list)  # a line for each

    def joined(self, names: Sequence[str]) -> LabelledImages:
        """The images of several batches as one."""
        own = [self.batches[name] for name in names]
        return LabelledImages(
            np.concatenate([batch.images for batch in own]),
            np.concatenate([batch.labels for batch in own]),
        )


def read_batch(path: Path, numbers: DataNumbers, any_count: bool = False) -> LabelledImages:
    """The records of a batch, with ``any_count`` also other than an official one has.

    Raises:
        D2EvalError: it is missing or pickled, has a part of a record or another number of them,
            or a label that is no class.
    """
    data = read_bytes(path, GET, MOST_BYTES)
    if data[:1] == PICKLE:
        raise D2EvalError(
            f"{path}: is a pickle (the Python version), and unpickling would run code; {GET}"
        )
    count, rest = divmod(len(data), numbers.record_bytes)
    if rest or not count:
        raise D2EvalError(
            f"{path}: has {len(data):,} bytes, no whole number of records of "
            f"{numbers.record_bytes:,}, so it is truncated or another file; {GET}"
        )
    if count != numbers.records and not any_count:
        raise D2EvalError(f"{path}: has {count:,} records, not {numbers.records:,}; {GET}")
    records = np.frombuffer(data, np.uint8).reshape(count, -1)
    labels = records[:, 0]
    if (labels >= numbers.classes).any():
        first = int(np.argmax(labels >= numbers.classes))
        raise D2EvalError(
            f"{path}: record {first} has the label {labels[first]}, which is none of "
            f"0..{numbers.classes - 1}; {GET}"
        )
    planes = (count, 3, numbers.size_px, numbers.size_px)
    return LabelledImages(records[:, 1:].reshape(planes), labels.astype(np.int64))


def inspect(root: Path, numbers: DataNumbers, sample: bool = False) -> Inspection:
    """Reads and verifies every batch: size, labels, images of each class, a recorded checksum.

    Raises:
        D2EvalError: there is no such folder.
    """
    if not root.is_dir():
        raise D2EvalError(f"{root}: no such folder; --data takes that of {numbers.training[0]}")
    found = Inspection()
    for name in (*numbers.training, *numbers.test):
        with told(found.problems.append):
            found.batches[name] = read_batch(_checked_path(root, name), numbers, any_count=sample)
    with told(found.problems.append):
        found.classes = _class_names(root / numbers.names, numbers.classes)
    if not found.problems and not sample:
        for names, count in (
            (numbers.training, numbers.training_per_class),
            (numbers.test, numbers.test_per_class),
        ):
            labels = np.concatenate([found.batches[name].labels for name in names])
            for label, held in enumerate(np.bincount(labels, minlength=numbers.classes)):
                if held != count:
                    found.problems.append(
                        f"{root}: {', '.join(names)}: {held:,} images of class {label} "
                        f"({found.classes[label]}), not {count:,}; {GET}"
                    )
    return found


def load(root: Path, numbers: DataNumbers, sample: bool = False) -> Cifar10Data:
    """The dataset in ``root``.

    Raises:
        D2EvalError: something is missing or broken.
    """
    found = inspect(root, numbers, sample)
    if found.problems:
        raise D2EvalError(found.problems[0])
    training, test = found.joined(numbers.training), found.joined(numbers.test)
    digest = hashlib.sha256()
    for part in (training, test):
        digest.update(f"{part.images.shape}".encode())
        digest.update(part.labels.data)
        digest.update(part.images.data)
    completeness = SAMPLE if sample else COMPLETE
    return Cifar10Data(root, training, test, completeness, digest.hexdigest())


def _checked_path(root: Path, name: str) -> Path:
    """The path of a batch, which has the SHA-256 that was recorded where it was fetched."""
    path = root / name
    if not is_there(path) and is_there(pickled := path.with_suffix("")):
        raise D2EvalError(
            f"{pickled}: is of the Python version, a pickle, and unpickling would run code; {GET}"
        )
    if is_there(root / CHECKSUMS):
        verified_path(root, name)
    return path


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    names = tuple(filter(None, (line.strip() for line in read_text(path, GET).splitlines())))
    if len(names) != count:
        raise D2EvalError(f"{path}: has {len(names)} names of classes, not {count}; {GET}")
    return names
