import os
import socket
import threading

import pytest

from d2eval.foundation.errors import D2EvalError, MissingFileError
from d2eval.foundation.files import reading
from d2eval.foundation.files.reading import (
    open_bytes,
    read_bytes,
    read_lines,
    read_text,
    require_file,
)

BOM = b"\xef\xbb\xbf"
READERS = {
    "require_file": require_file,
    "read_bytes": read_bytes,
    "read_text": read_text,
    "read_lines": lambda path: list(read_lines(path)),
}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)
text_readers = pytest.mark.parametrize("name", ["read_text", "read_lines"])


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def make(kind, path):
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)


@readers
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device", "a socket"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, read, kind):
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    path = tmp_path / "x"
    make(kind, path)
    found = []

    def attempt():
        with pytest.raises(D2EvalError) as error:
            read(path)
        found.append(one_line(error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(10)
    assert found == [f"{path}: is {kind}, not a file; give a file"]


@readers
def test_a_missing_file_is_told_apart(tmp_path, read):
    with pytest.raises(MissingFileError, match="x: is missing; add it"):
        read(tmp_path / "x")


@readers
def test_a_path_with_a_zero_byte_or_of_any_length_is_one_line(tmp_path, read):
    for name in ("a\0b", "a" * 5000):
        with pytest.raises(D2EvalError) as error:
            read(tmp_path / name)
        one_line(error)


def test_a_file_is_opened_through_links(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("x")
    with open_bytes(tmp_path / "link") as file:
        assert file.read() == b"abc"
    assert require_file(tmp_path / "link") == 3


def test_bytes_up_to_a_limit_are_read(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert read_bytes(tmp_path / "x", limit=3) == b"abc"
    with pytest.raises(D2EvalError, match="larger than 0 MiB; cut it"):
        read_bytes(tmp_path / "x", "cut it", limit=2)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_marks_and_line_ends_of_every_system_are_read(tmp_path, end, mark):
    data = mark + end.join([b"one", b"", "zw\u00f6lf".encode(), b"last"])
    (tmp_path / "x").write_bytes(data)
    expected = ["one", "", "zw\u00f6lf", "last"]
    assert list(read_lines(tmp_path / "x")) == list(enumerate(expected, 1))
    assert read_text(tmp_path / "x") == "\n".join(expected)


def test_the_mark_of_a_file_that_was_joined_to_another_is_left_out(tmp_path):
    (tmp_path / "x").write_bytes(BOM + b"one\n" + BOM + b"two\n")
    assert [line for _, line in read_lines(tmp_path / "x")] == ["one", "two"]


@text_readers
@pytest.mark.parametrize(
    "data, problem",
    [
        ("a\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (b"\xfe\xff" + "a\n".encode("utf-16-be"), "is UTF-16 text; save it as UTF-8"),
        ("a\n".encode("utf-32"), "is UTF-32 text; save it as UTF-8"),
        ("ab\nc\n".encode("utf-16-le"), "line 1 holds a zero byte"),
        (b"ab\ncd\r\ne\0", "line 3 holds a zero byte"),
        (b"ab\rcd\r\ne\xe4", "line 3 is no UTF-8 text; save it as UTF-8"),
        (b"\xed\xa0\x80", "line 1 is no UTF-8 text"),  # half of a pair of UTF-16
    ],
)
def test_other_encodings_are_one_line_that_says_where(tmp_path, name, data, problem):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(D2EvalError) as error:
        READERS[name](path)
    assert one_line(error).startswith(f"{path}: {problem}")


def test_texts_without_an_end_are_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"123456789\n1234567890")
    with pytest.raises(D2EvalError, match="line 2 is longer than 10 bytes"):
        list(read_lines(tmp_path / "x", longest=10))
    monkeypatch.setattr(reading, "TEXT_BYTES", 5)
    with pytest.raises(D2EvalError, match="larger than"):
        read_text(tmp_path / "x")
