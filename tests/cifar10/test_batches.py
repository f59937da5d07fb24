"""Batches of the binary version: what is read, and what is refused with one line."""

import dataclasses
import pickle

import numpy as np
import pytest

from d2eval.cifar10.batches import inspect, load
from d2eval.cifar10.protocol import load_benchmark
from d2eval.foundation.downloads.download import CHECKSUMS
from d2eval.foundation.errors import D2EvalError

RECORD = 3073
NUMBERS = dataclasses.replace(
    load_benchmark().data, records=20, training_per_class=10, test_per_class=2
)


def batch(seed: int) -> bytes:
    """Twenty records, two of each class."""
    records = np.random.default_rng(seed).integers(0, 256, (20, RECORD), dtype=np.uint8)
    records[:, 0] = np.arange(20) % 10
    return records.tobytes()


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate((*NUMBERS.training, *NUMBERS.test)):
        (tmp_path / name).write_bytes(batch(number))
    (tmp_path / NUMBERS.names).write_text("".join(f"class{k}\n" for k in range(10)) + "\n")
    return tmp_path


def test_the_official_sizes():
    numbers = load_benchmark().data
    assert numbers.record_bytes == RECORD
    assert numbers.records * numbers.record_bytes == 30_730_000
    assert numbers.records * len(numbers.training) == numbers.training_per_class * numbers.classes
    assert numbers.records * len(numbers.test) == numbers.test_per_class * numbers.classes


def test_planes_and_labels(root):
    content = bytearray(batch(9))
    content[RECORD : 2 * RECORD] = bytes([7, *[1] * 1024, *[2] * 1024, *range(256), *[3] * 768])
    content[7 * RECORD] = 1  # so that the classes stay as many
    (root / "test_batch.bin").write_bytes(content)
    found = load(root, NUMBERS)
    assert found.training.images.shape == (100, 3, 32, 32)
    assert found.test.images.dtype == np.uint8
    assert found.test.labels[1] == 7
    red, green, blue = found.test.images[1]
    assert (red == 1).all() and (green == 2).all()
    assert list(blue[0]) == [*range(32)]
    assert list(blue[7]) == [*range(224, 256)]
    assert inspect(root, NUMBERS).classes[9] == "class9"
    assert found.completeness == "complete"


def test_the_fingerprint_is_that_of_every_batch(root):
    first = load(root, NUMBERS).fingerprint
    content = bytearray((root / "data_batch_3.bin").read_bytes())
    content[-1] ^= 1
    (root / "data_batch_3.bin").write_bytes(content)
    assert load(root, NUMBERS).fingerprint != first


def one_label(label: int) -> bytes:
    content = bytearray(batch(0))
    content[17 * RECORD] = label
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (batch(0)[:-1], r"has 61,459 bytes, no whole number of records of 3,073"),
        (b"", "has 0 bytes, no whole number"),
        (batch(0) + b"\0", "no whole number"),
        (batch(0)[:-RECORD], "has 19 records, not 20"),
        (one_label(11), "record 17 has the label 11, which is none of 0..9"),
        (one_label(3), r"images of class 3 \(class3\), not 10"),
        (pickle.dumps({b"data": 1}, 2), "is a pickle .* unpickling would run code"),
    ],
    ids=["truncated", "empty", "longer", "fewer", "label", "classes", "pickle"],
)
def test_a_broken_batch_is_one_line(root, content, reason):
    (root / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(D2EvalError, match=reason) as caught:
        load(root, NUMBERS)
    assert "\n" not in str(caught.value)


def test_the_python_version_is_not_opened(root):
    """Reading it would make a folder."""
    (root / "data_batch_1.bin").unlink()

    class Runs:
        def __reduce__(self):
            return (root.__class__.mkdir, (root / "made-by-a-pickle",))

    (root / "data_batch_1").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(D2EvalError, match="data_batch_1: is of the Python version, a pickle"):
        load(root, NUMBERS)
    assert not (root / "made-by-a-pickle").exists()


def test_what_was_fetched_must_be_as_it_was_recorded(root):
    record = ", ".join(f'"{name}": "{"0" * 64}"' for name in NUMBERS.training)
    (root / CHECKSUMS).write_text(f"{{{record}}}")
    with pytest.raises(D2EvalError, match=r"data_batch_1\.bin: SHA-256 is .* has changed"):
        load(root, NUMBERS)


def test_everything_that_is_wrong_is_listed(root):
    (root / "data_batch_1.bin").unlink()
    (root / "data_batch_4.bin").write_bytes(b"x")
    (root / NUMBERS.names).write_text("one\n")
    found = inspect(root, NUMBERS)
    assert len(found.batches) == 4
    missing, broken, names = found.problems
    assert "data_batch_1.bin: is missing" in missing
    assert "data_batch_4.bin: has 1 bytes" in broken
    assert "has 1 names of classes, not 10" in names
    with pytest.raises(D2EvalError, match="no such folder"):
        inspect(root / "nothing", NUMBERS)


def test_a_sample_may_have_any_number_of_records(root):
    (root / "test_batch.bin").write_bytes(batch(0)[: 3 * RECORD])
    found = load(root, NUMBERS, sample=True)
    assert len(found.test) == 3
    assert found.completeness == "sample"
