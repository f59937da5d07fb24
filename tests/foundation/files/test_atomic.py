import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files import atomic
from d2eval.foundation.files.atomic import exclusive, write_bytes, write_text

HOLDER = """
import sys
from pathlib import Path
from d2eval.foundation.files.atomic import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Starts processes that hold a folder until their standard input is closed."""
    started = []

    def start(folder: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_bytes_are_written_and_folders_made(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, b"\x00\xff\n")
    assert path.read_bytes() == b"\x00\xff\n"
    write_bytes(path, memoryview(b"other"))
    assert path.read_bytes() == b"other"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_text_is_utf_8_without_changed_line_ends(tmp_path):
    write_text(tmp_path / "t", "M\N{LATIN SMALL LETTER A WITH DIAERESIS}sse\n")
    assert (tmp_path / "t").read_bytes() == b"M\xc3\xa4sse\n"


@pytest.mark.parametrize("owner", [os, Path])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, owner):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(owner, "fsync" if owner is os else "replace", fail)
    with pytest.raises(D2EvalError) as caught:
        write_bytes(path, b"new")
    assert str(caught.value).startswith(f"{path}: can't be written (No space left on device); ")
    assert "\n" not in str(caught.value)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_what_somebody_else_has_put_there_counts_as_written(tmp_path, monkeypatch):
    def refuse(*args: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "replace", refuse)
    path = tmp_path / "unit"
    with pytest.raises(D2EvalError, match="Permission denied"):
        write_bytes(path, b"content", by_content=True)  # there is nothing yet
    path.write_bytes(b"content")
    write_bytes(path, b"content", by_content=True)
    assert [own.name for own in tmp_path.iterdir()] == ["unit"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(D2EvalError, match="can't be written"):
        write_bytes(tmp_path / "taken" / "file", b"")
    with pytest.raises(D2EvalError, match="can't be written"), exclusive(tmp_path / "taken"):
        pass


def test_a_folder_is_held_by_one_process(tmp_path, hold):
    folder = tmp_path / "run"
    holder = hold(folder)
    entered = False
    with pytest.raises(D2EvalError) as caught, exclusive(folder):
        entered = True
    assert not entered
    message = str(caught.value)
    who = f"process {holder.pid} on {platform.node()}"
    assert message.startswith(f"{folder}: another run ({who}) is writing here")
    assert "\n" not in message
    with exclusive(tmp_path / "other"):  # only that folder
        pass
    holder.communicate()
    assert holder.returncode == 0
    with exclusive(folder):
        assert (folder / ".lock").read_text() == f"process {os.getpid()} on {platform.node()}"


def test_what_a_killed_holder_had_half_written_is_removed(tmp_path):
    (tmp_path / ".checkpoint.pt.123-abc.tmp").write_bytes(b"half")
    (tmp_path / "kept.tmp").write_bytes(b"a user's")
    with exclusive(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "kept.tmp"]


def test_a_lock_goes_with_its_killed_process(tmp_path, hold):
    holder = hold(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive(tmp_path):
        pass


def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path):
        raise ZeroDivisionError
    with exclusive(tmp_path):
        pass


def test_a_disk_too_full_for_the_lock(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(platform, "node", full)
    with pytest.raises(D2EvalError, match=r"can't be written \(No space"), exclusive(tmp_path):
        pass


# As NFS without a lock service, Lustre mounted without flock, and FUSE answer
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_on_a_file_system_without_locks_a_file_holds_a_folder(tmp_path, monkeypatch, code):
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    claim = tmp_path / ".held"
    with exclusive(tmp_path):
        who = claim.read_text()
        said = rf"run \(process {os.getpid()} on .*\) is writing here; .* remove {claim} if it has"
        with pytest.raises(D2EvalError, match=said), exclusive(tmp_path):
            pass
        assert claim.read_text() == who
    assert not claim.exists()

    number = str(os.getpid())
    ended = who.replace(f"process {number} ", "process 4194305 ")  # beyond any that there is
    claim.write_text(ended)
    with exclusive(tmp_path):
        assert claim.read_text() == who
    claim.write_text(ended[:-9] + "0" * 8 + "\n")  # of another machine nothing is known
    with pytest.raises(D2EvalError, match="process 4194305 on"), exclusive(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EAGAIN])
def test_only_a_held_lock_means_busy(tmp_path, monkeypatch, code):
    (tmp_path / ".lock").write_text("process 7 on node12\x1b[31m\n")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    said = r"run \(process 7 on node12\\x1b\[31m\) is"
    with pytest.raises(D2EvalError, match=said), exclusive(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text().startswith("process 7")


def users_file(folder: Path) -> Path:
    path = folder / "thesis.tex"
    path.write_text("years of work")
    return path


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_that_is_a_link_is_not_followed(tmp_path, link):
    target = users_file(tmp_path)
    (tmp_path / "run").mkdir()
    link(target, tmp_path / "run" / ".lock")
    said = r"\.lock: can't be written \(it is a .*link.*remove it"
    with pytest.raises(D2EvalError, match=said), exclusive(tmp_path / "run"):
        pass
    assert target.read_text() == "years of work"


def test_a_lock_that_is_a_dangling_link_makes_nothing(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(D2EvalError, match="symbolic link"), exclusive(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(D2EvalError, match=r"\.lock: can't be written"), exclusive(tmp_path):
        pass


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path):
    target = users_file(tmp_path)
    (tmp_path / "rows.csv").symlink_to(target)
    write_text(tmp_path / "rows.csv", "1\n")
    assert (target.read_text(), (tmp_path / "rows.csv").read_text()) == ("years of work", "1\n")


def test_long_names_have_room_for_the_temporary_one(tmp_path):
    name = "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 80 + ".csv"
    write_text(tmp_path / name, "1\n")
    assert [path.name for path in tmp_path.iterdir()] == [name]
