"""TensorFlow's checkpoints: what is in them is read, what is damaged is refused in one line."""

import random
from pathlib import Path

import numpy as np
import pytest
from tensorbundle_files import checkpoint, field, packed, table, write_archive

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.limits import LIMITS
from d2eval.foundation.formats import tensorbundle
from d2eval.foundation.formats.tensorbundle import read_bundle, require_bundle

GENERATOR = np.random.default_rng(0)
VARIABLES = {
    **{
        f"scope/block-{k}/conv/weights": GENERATOR.standard_normal((3, 3, 2, k + 1), np.float32)
        for k in range(20)
    },
    "scope/step": np.array(70, np.int64),
    "scope/half": GENERATOR.standard_normal(3),
    "none": np.zeros((0, 4), np.float32),
}


def write(folder: Path, files: dict[str, bytes], name: str = "model.ckpt-70") -> Path:
    for suffix, content in files.items():
        (folder / f"{name}{suffix}").write_bytes(content)
    return folder / f"{name}.index"


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_checksums_are_crc32c():
    """The check value that catalogues of checksums give, and LevelDB's mask of it."""
    crc = int(tensorbundle._crc(np.frombuffer(b"123456789", np.uint8), tensorbundle._crc_table()))
    assert crc == 0xE3069283
    turned = crc >> 15 | (crc & 0x7FFF) << 17
    assert tensorbundle._masked(memoryview(b"123456789")) == (turned + 0xA282EAD8) % 2**32


@pytest.mark.parametrize("snappy", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_all_variables_are_read(tmp_path, shards, snappy):
    path = write(tmp_path, checkpoint(VARIABLES, shards, snappy))
    assert_same(read_bundle(path, "get it again"), VARIABLES)


def test_snappy_of_overlapping_copies():
    """By hand: "ab", then 9 bytes from 2 back, then 5 from 1 back by four bytes of offset."""
    stream = bytes([16, 1 << 2, 97, 98, 1 | 5 << 2, 2, 3 | 4 << 2, 1, 0, 0, 0])
    assert tensorbundle._unpacked(stream) == b"abababababaaaaaa"
    long = bytes(range(256)) * 3 + b"x" * 100
    assert len(packed(long)) < len(long) / 2
    assert tensorbundle._unpacked(packed(long)) == long


def archived(folder: str, value: float, name: str = "m") -> dict[str, bytes]:
    files = checkpoint({"v": np.array([value], np.float32)})
    return {f"{folder}/{name}{suffix}": content for suffix, content in files.items()}


def test_of_an_archive_the_folder_and_the_newest(tmp_path):
    note = b'model_checkpoint_path: "/home/me/new"\nall_model_checkpoint_paths: "m"\n'
    files = {
        **archived("a/indoor", 1), **archived("a/outdoor", 2), **archived("a/outdoor", 3, "new"),
        "a/outdoor/checkpoint": note, "a/outdoor/config.pkl": b"not looked at",
    }  # fmt: skip
    path = write_archive(tmp_path / "all.tar.gz", files)
    require_bundle(path, "")
    assert read_bundle(path, "", "indoor")["v"] == 1
    assert read_bundle(path, "", "outdoor")["v"] == 3
    for folder, reason in (("", "3 checkpoints, not one"), ("door", "no checkpoints in door")):
        with pytest.raises(D2EvalError, match=rf"all\.tar\.gz: broken .*{reason}"):
            read_bundle(path, "", folder)
    other = write_archive(tmp_path / "other.tar.gz", {"a/b": b"c"})
    with pytest.raises(D2EvalError, match=r"no checkpoint in it\); get it again"):
        require_bundle(other, "get it again")


def test_what_it_lacks_is_named(tmp_path):
    files = checkpoint(VARIABLES, 2)
    wrong = {
        "1 data files, not 2": {k: v for k, v in files.items() if "00001-of" not in k},
        "checksum": {**files, ".data-00000-of-00002": b"\0" * len(files[".data-00000-of-00002"])},
        "no table": {**files, ".index": b"<html>" * 20},
        "cut short|checksum": {**files, ".index": files[".index"][40:]},
    }
    for k, (reason, content) in enumerate(wrong.items()):
        path = write(tmp_path, content, f"m{k}")
        with pytest.raises(D2EvalError, match=rf"m{k}\.index: broken TensorFlow.*({reason})"):
            read_bundle(path, "get it again")
    with pytest.raises(D2EvalError, match=r"nothing\.index"):
        read_bundle(tmp_path / "nothing.index", "get it again")


@pytest.mark.parametrize("snappy", [False, True])
def test_no_damage_of_the_index_is_more_than_a_line(tmp_path, monkeypatch, snappy):
    """Checksums, which find nearly all of it, agree with anything."""
    files = checkpoint(VARIABLES, 1, snappy)
    monkeypatch.setattr(tensorbundle, "_masked", lambda data: Agreeable())
    generator = random.Random(0)  # noqa: S311
    refused = 0
    for k in range(150):
        content = bytearray(files[".index"])
        for _ in range(generator.choice((1, 3, 30))):
            content[generator.randrange(len(content) - 8)] = generator.randrange(256)
        cut = generator.choice((0, 0, generator.randrange(len(content))))
        path = write(tmp_path, {**files, ".index": bytes(content[cut:])}, f"m{k}")
        try:
            read_bundle(path, "get it again")
        except D2EvalError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
    assert refused > 75


def crafted(folder: Path, entry: bytes, name: bytes = b"v") -> Path:
    """A checkpoint of one variable whose description is ``entry``."""
    entries = [(b"", field(1, 1)), (name, entry)]
    return write(folder, {".index": table(entries), ".data-00000-of-00001": b"\0" * 8})


def test_fields_of_another_kind_are_one_line(tmp_path):
    """Their checksums are right: somebody wrote them so."""
    for number, value in ((2, 5), (3, b"0"), (4, b"0"), (5, b"0"), (2, field(2, field(1, b"ab")))):
        entry = b"".join(field(n, v) for n, v in {1: 1, 5: 4, number: value}.items())
        path = crafted(tmp_path, entry)
        with pytest.raises(D2EvalError, match=r"\.index: broken TensorFlow checkpoint"):
            read_bundle(path, "get it again")


def test_names_come_to_no_more_than_the_file_may(tmp_path, monkeypatch):
    """A name that shares all but its end with the one before takes five bytes of the file."""
    monkeypatch.setattr(LIMITS, "unpacked_mib", 1)
    start = b"n" * 10_000
    names = [start + bytes([k // 100 + 1, k % 100 + 1]) for k in range(1000)]
    content = table([(b"", field(1, 1)), *((name, b"") for name in names)], a_block=2000)
    assert len(content) < 30_000
    path = write(tmp_path, {".index": content, ".data-00000-of-00001": b""})
    with pytest.raises(D2EvalError, match="holds more than 1 MiB and 20 times its size"):
        read_bundle(path, "get it again")


@pytest.mark.parametrize("name", ["a*", "a[b]", "a?"])
def test_the_data_beside_is_that_of_the_name_alone(tmp_path, name):
    write(tmp_path, checkpoint({"v": np.ones(3, np.float32)}), "ab")
    path = write(tmp_path, checkpoint({"v": np.zeros(3, np.float32)}), name)
    assert not read_bundle(path, "get it again")["v"].any()


class Agreeable:
    """Is different from nothing."""

    def __ne__(self, other: object) -> bool:
        return False
