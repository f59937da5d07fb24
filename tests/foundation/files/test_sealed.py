import hashlib
import io

import h5py
import numpy as np
import pytest

from d2eval.foundation.files.sealed import HEAD_BYTES, DamagedError, seal, unseal


@pytest.mark.parametrize("content", [b"", b"\0", b"content\n" * 1000])
def test_what_was_sealed_comes_back(content):
    data = seal("a/b.h5", content)
    assert unseal("a/b.h5", data) == content
    assert len(data) == HEAD_BYTES + len(content)


def test_the_head_is_what_sha256sum_gives():
    data = seal("a name", b"and content")
    assert hashlib.sha256(b"a name\nand content").hexdigest().encode() in data[:HEAD_BYTES]


def test_every_bit_counts():
    data = seal("name", b"some content")
    for at in range(len(data)):
        for bit in range(8):
            changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            with pytest.raises(DamagedError):
                unseal("name", changed)
    for length in range(len(data)):
        with pytest.raises(DamagedError):
            unseal("name", data[:length])
    for other in (data + b"\0", b"\0" + data):
        with pytest.raises(DamagedError):
            unseal("name", other)


def test_so_does_the_name():
    with pytest.raises(DamagedError):
        unseal("other", seal("name", b"content"))


def test_hdf5_reads_what_is_sealed():
    plain = io.BytesIO()
    with h5py.File(plain, "w") as file:
        file["x"] = np.arange(1000)
    with h5py.File(io.BytesIO(seal("x", plain.getvalue())), "r") as file:
        np.testing.assert_array_equal(file["x"], np.arange(1000))
