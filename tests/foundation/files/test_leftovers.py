import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files import leftovers
from d2eval.foundation.files.atomic import write_bytes
from d2eval.foundation.files.leftovers import (
    STALE_SECONDS,
    clear_leftovers,
    local_folder,
    remove_own,
    scratch_folder,
    temporary_path,
)

# Leaves a file and a folder under temporary names, and waits to be killed.
LEAVER = """
import sys
from pathlib import Path
from d2eval.foundation.files.leftovers import scratch_folder, temporary_path
folder = Path(sys.argv[1])
with temporary_path(folder / "unit.h5") as path, scratch_folder(folder) as scratch:
    path.write_bytes(b"half")
    (scratch / "database.db").write_bytes(b"half")
    print("left", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def leaver(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "left\n"
    yield process
    process.kill()
    process.communicate()


def age(path: Path, seconds: float) -> None:
    for each in (path, *path.rglob("*")):
        os.utime(each, (time.time() - seconds,) * 2)


def test_what_a_living_process_uses_stays(tmp_path, leaver):
    before = sorted(tmp_path.rglob("*"))
    assert len(before) == 3
    clear_leftovers(tmp_path)
    clear_leftovers(tmp_path, locked=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_however_old_it_is(tmp_path, leaver):
    created = time.time()
    for path in tmp_path.iterdir():
        os.utime(path, (created, created))
    time.sleep(0.01)
    clear_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_process_left_goes_at_once(tmp_path, leaver):
    (tmp_path / "kept.tmp").write_bytes(b"a user's")
    (tmp_path / ".gitignore").write_bytes(b"a user's")
    leaver.send_signal(signal.SIGKILL)
    leaver.wait()
    assert len(list(tmp_path.iterdir())) == 4
    clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", "kept.tmp"]


def test_another_process_may_have_got_its_number(tmp_path, leaver):
    """The leftover is older than the process that has its number now."""
    for path in list(tmp_path.iterdir()):
        age(path, 3600)
    clear_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_another_machine_only_what_is_old_goes(tmp_path, monkeypatch):
    with temporary_path(tmp_path / "unit.h5") as path:
        name = path.name
    elsewhere = re.sub(r"[0-9a-f]{8}-\d+-", "0a1b2c3d-1-", name)
    assert elsewhere != name
    (tmp_path / elsewhere).mkdir()
    (tmp_path / elsewhere / "inside").write_bytes(b"")
    os.utime(tmp_path / elsewhere, (0, 0))
    clear_leftovers(tmp_path)  # what is inside has just been changed
    assert (tmp_path / elsewhere).exists()
    age(tmp_path / elsewhere, STALE_SECONDS + 60)
    clear_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_who_holds_the_lock_need_not_wait(tmp_path):
    for name in (".a.0a1b2c3d-1-00000000.tmp", ".old-version.123-abc.tmp"):
        (tmp_path / name).write_bytes(b"")
    clear_leftovers(tmp_path, locked=True)
    assert list(tmp_path.iterdir()) == []


def test_beside_a_file_of_the_users_only_names_of_ours_go(tmp_path):
    others, ours = tmp_path / ".theirs.tmp", tmp_path / ".page.html.0a1b2c3d-1-00000000.tmp"
    for path in (others, ours):
        path.touch()
        age(path, 2 * STALE_SECONDS)
    write_bytes(tmp_path / "page.html", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".theirs.tmp", "page.html"]


def test_names_that_look_like_ours(tmp_path):
    machine = leftovers._machine()
    odd = [f".x.{machine}-{pid}-00000000.tmp" for pid in ("9" * 10, "0", "9" * 400)]
    for name in odd[:2]:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".loop.tmp").symlink_to(tmp_path / ".loop.tmp")
    clear_leftovers(tmp_path)
    assert not (tmp_path / odd[0]).exists()
    assert (tmp_path / ".loop.tmp").is_symlink()


def test_links_are_removed_and_not_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"a user's")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ".link.tmp").symlink_to(kept)
    clear_leftovers(tmp_path / "in", locked=True)
    assert list((tmp_path / "in").iterdir()) == []
    assert (kept / "file").read_bytes() == b"a user's"


def test_a_folder_that_is_not_there(tmp_path):
    clear_leftovers(tmp_path / "none")


def test_temporary_names_end_with_their_block(tmp_path):
    with pytest.raises(ZeroDivisionError), temporary_path(tmp_path / "folder") as path:
        path.mkdir()
        (path / "file").write_bytes(b"")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_stopped_process_has_goes(tmp_path):
    with temporary_path(tmp_path / "a") as file, scratch_folder(tmp_path) as folder:
        file.write_bytes(b"")
        (folder / "database.db").write_bytes(b"")
        remove_own()
        assert list(tmp_path.iterdir()) == []


def test_the_scratch_folder_is_empty_and_goes(tmp_path):
    run = tmp_path / "runs" / "method"
    (run / ".work").mkdir(parents=True)
    (run / ".work" / "left.db").write_bytes(b"of an older version's run that was killed")
    with scratch_folder(run) as scratch:
        assert list(scratch.iterdir()) == []
        (scratch / "file").write_bytes(b"x")
        assert list(run.iterdir()) == [scratch]
    assert list(run.iterdir()) == []
    with pytest.raises(ZeroDivisionError), scratch_folder(run):
        raise ZeroDivisionError
    assert list(run.iterdir()) == []


def test_a_scratch_folder_clears_those_of_other_killed_runs(tmp_path, leaver):
    leaver.send_signal(signal.SIGKILL)
    leaver.wait()
    with scratch_folder(tmp_path.parent / "another"):
        assert list(tmp_path.glob(".work*")) == []
    (tmp_path.parent / "another").rmdir()


def test_a_scratch_folder_that_can_t_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(D2EvalError, match=r"\.work.*: can't be written"),
        scratch_folder(tmp_path / "file"),
    ):
        pass


def test_a_local_folder_lies_in_tmpdir_and_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others, ours = tmp_path / ".theirs.tmp", tmp_path / ".d2eval.00000000-1-00000000.tmp"
    for path in (others, ours):
        path.touch()
        age(path, 2 * STALE_SECONDS)
    with local_folder() as folder:
        (folder / "database.db").write_bytes(b"x")
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [others]
