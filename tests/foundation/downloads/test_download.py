import hashlib
import io
import json
import os
import signal
import socket
import zipfile
from pathlib import Path
from unittest import mock

import pytest

from d2eval.foundation.downloads import transfer
from d2eval.foundation.downloads.download import (
    ADDRESSES,
    CHECKSUMS,
    Fetched,
    addresses_of,
    fetch_file,
    fetch_members,
    verified_path,
)
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import exclusive

CONTENT = hashlib.shake_128(b"one").digest(500_000)
OTHER = hashlib.shake_128(b"two").digest(500_000)
HALF = len(CONTENT) // 2


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights" / "some"


def anything(path: Path) -> None:
    assert path.is_file()


def never_html(path: Path) -> None:
    if path.read_bytes().startswith(b"<"):
        raise D2EvalError(f"{path}: no weights")


def fetch(server, folder, retries=3, timeout=5.0, validate=anything, **options) -> Fetched:
    patience = {"TIMEOUT_S": timeout, "RETRIES": retries, "BACKOFF_S": 0.01}
    with mock.patch.multiple(transfer, **patience):
        return fetch_file(server.url("a.pth"), folder, "a.pth", validate, **options)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_no_full_disk(server, folder, kind):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", kind) as archive:
        archive.writestr("w", CONTENT)
    damaged = bytearray(data.getvalue())
    damaged[1000:2000] = bytes(1000)
    server.files["a.zip"] = bytes(damaged)
    with pytest.raises(D2EvalError, match=r"a\.zip: can't be unpacked \("):
        fetch_members(
            server.url("a.zip"), folder, {"w": "w"}, anything, archive_sha256=None, published={}
        )


def assert_complete(folder, content=CONTENT):
    assert (folder / "a.pth").read_bytes() == content
    record = {"a.pth": hashlib.sha256(content).hexdigest()}
    assert json.loads((folder / CHECKSUMS).read_text()) == record
    left = {path.name for path in folder.iterdir()} - {".lock"}
    assert left == {"a.pth", CHECKSUMS, ADDRESSES}


def part_of(folder) -> bytes:
    return (folder / "a.pth.part").read_bytes()


def leave_part(server, folder):
    """Half of a.pth, as an interrupted run leaves it."""
    server.files["a.pth"] = CONTENT
    server.fail(HALF)
    with pytest.raises(D2EvalError):
        fetch(server, folder, retries=0)
    assert part_of(folder) == CONTENT[:HALF]
    server.ranges.clear()


def test_plain_download(server, folder):
    server.files["a.pth"] = CONTENT
    fetched = fetch(server, folder)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert fetched == Fetched(folder / "a.pth", len(CONTENT), sha256, "recorded")
    assert_complete(folder)
    assert verified_path(folder, "a.pth") == folder / "a.pth"


def test_a_log_gets_a_line_for_a_retry_and_none_for_a_short_download(server, folder, capsys):
    server.files["a.pth"] = CONTENT
    server.fail(HALF)
    fetch(server, folder)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "the connection was cut after 250000 of 500000 bytes; trying again in" in said.err


@pytest.mark.parametrize("cuts", [[HALF], [0, 100_000, 0, 50_000, 1]])
def test_cut_connection_is_resumed(server, folder, cuts):
    server.files["a.pth"] = CONTENT
    server.fail(*cuts)
    fetch(server, folder, retries=len(cuts))
    assert_complete(folder)
    starts = [sum(cuts[:i]) for i in range(len(cuts) + 1)]
    assert server.ranges == [f"bytes={start}-" if start else None for start in starts]


def test_retries_are_limited_and_the_part_is_kept(server, folder):
    server.files["a.pth"] = CONTENT
    server.fail(*[10] * 9)
    with pytest.raises(D2EvalError, match=r"cut after 30 of 500000 bytes.*same command"):
        fetch(server, folder, retries=2)
    assert len(server.ranges) == 3
    assert part_of(folder) == CONTENT[:30]
    assert verified_path(folder, "a.pth") is None


def test_later_call_resumes(server, folder):
    leave_part(server, folder)
    fetch(server, folder)
    assert server.ranges == [f"bytes={HALF}-"]
    assert_complete(folder)


def test_complete_part_needs_no_request(server, folder):
    leave_part(server, folder)
    (folder / "a.pth.part").write_bytes(CONTENT)  # ended between the last byte and the record
    fetch(server, folder)
    assert server.ranges == []
    assert_complete(folder)


def test_server_without_ranges_starts_again(server, folder):
    server.knows_ranges = False
    leave_part(server, folder)
    fetch(server, folder)
    assert server.ranges == [f"bytes={HALF}-"]
    assert_complete(folder)


def test_changed_file_starts_again(server, folder):
    leave_part(server, folder)
    server.files["a.pth"] = OTHER
    fetch(server, folder)
    assert server.ranges == [f"bytes={HALF}-"]
    assert_complete(folder, OTHER)


@pytest.mark.parametrize("content", [OTHER, CONTENT + b"longer"], ids=["etag", "length"])
def test_changed_file_of_a_server_that_ignores_if_range(server, folder, content):
    leave_part(server, folder)
    server.checks_if_range = False
    server.files["a.pth"] = content
    server.sends_etag = content is OTHER
    fetch(server, folder)
    assert server.ranges == [f"bytes={HALF}-", None]
    assert_complete(folder, content)


def test_shorter_file_of_a_server_that_ignores_if_range(server, folder):
    leave_part(server, folder)
    server.checks_if_range = False
    server.files["a.pth"] = OTHER[: HALF - 1]  # answers 416
    fetch(server, folder)
    assert server.ranges == [f"bytes={HALF}-", None]
    assert_complete(folder, OTHER[: HALF - 1])


def test_last_modified_serves_where_the_etag_is_weak(server, folder):
    server.sends_etag = False
    server.checks_if_range = False
    server.extra_headers = {"ETag": 'W/"1"', "Last-Modified": "Mon, 03 Jun 2019 10:00:00 GMT"}
    leave_part(server, folder)
    fetch(server, folder)
    assert server.ranges == [f"bytes={HALF}-"]
    assert_complete(folder)


def test_file_without_a_version_is_never_joined(server, folder):
    server.sends_etag = False
    leave_part(server, folder)
    fetch(server, folder)
    assert server.ranges == [None]
    assert_complete(folder)


def test_part_of_another_address_is_not_continued(server, folder):
    leave_part(server, folder)
    server.files["mirror.pth"] = CONTENT
    fetch_file(server.url("mirror.pth"), folder, "a.pth", anything)
    assert server.ranges == [None]
    assert_complete(folder)


def test_damaged_notes_start_again(server, folder):
    leave_part(server, folder)
    (folder / "a.pth.part.json").write_text('{"url": ')
    fetch(server, folder)
    assert server.ranges == [None]
    assert_complete(folder)


def test_stalled_server(server, folder):
    server.files["a.pth"] = CONTENT
    server.fail(HALF, *[0] * 9, stall=True)
    with pytest.raises(D2EvalError, match=r"sent nothing for 0.2 s \(3 attempts\).*same command"):
        fetch(server, folder, retries=2, timeout=0.2)
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF}-"]
    assert part_of(folder) == CONTENT[:HALF]

    server.faults.clear()
    fetch(server, folder)
    assert server.ranges[-1] == f"bytes={HALF}-"
    assert_complete(folder)


def test_slow_server_is_waited_for(server, folder):
    server.files["a.pth"] = CONTENT
    server.block, server.delay = 25_000, 0.05
    fetch(server, folder, timeout=0.5)  # takes a second in all
    assert server.ranges == [None]
    assert_complete(folder)


def test_unknown_length(server, folder):
    server.files["a.pth"] = CONTENT
    server.sends_length = False
    fetch(server, folder)
    assert_complete(folder)


def test_invalid_content_is_not_recorded(server, folder):
    server.files["a.pth"] = b"<html>moved</html>"
    with pytest.raises(D2EvalError, match="nothing is recorded") as caught:
        fetch(server, folder, validate=never_html)
    assert server.url("a.pth") in str(caught.value)
    assert {path.name for path in folder.iterdir()} == {".lock"}

    server.files["a.pth"] = CONTENT
    assert fetch(server, folder, validate=never_html).state == "recorded"
    assert_complete(folder)


def test_second_fetch_makes_no_request(server, folder):
    server.files["a.pth"] = CONTENT
    fetch(server, folder)
    assert fetch(server, folder).state == "already there, verified"
    assert server.ranges == [None]


@pytest.mark.parametrize("loss", ["deleted", "damaged", "forced"])
def test_download_again_is_verified(server, folder, loss):
    server.files["a.pth"] = CONTENT
    fetch(server, folder)
    if loss == "deleted":
        (folder / "a.pth").unlink()
        assert verified_path(folder, "a.pth") is None
    elif loss == "damaged":
        (folder / "a.pth").write_bytes(CONTENT[:-1])
    assert fetch(server, folder, force=loss == "forced").state == "verified"
    assert len(server.ranges) == 2
    assert_complete(folder)


def test_other_bytes_than_recorded_are_refused(server, folder):
    server.files["a.pth"] = CONTENT
    fetch(server, folder)
    server.files["a.pth"] = OTHER
    with pytest.raises(D2EvalError, match="recorded") as caught:
        fetch(server, folder, force=True)
    for part in ("a.pth", *(hashlib.sha256(data).hexdigest()[:12] for data in (CONTENT, OTHER))):
        assert part in str(caught.value)
    assert_complete(folder)  # the good file and its record stay

    (folder / "a.pth").unlink()
    with pytest.raises(D2EvalError, match="recorded"):
        fetch(server, folder)
    assert verified_path(folder, "a.pth") is None


def test_verified_path_refuses_a_changed_file(server, folder):
    server.files["a.pth"] = CONTENT
    fetch(server, folder)
    (folder / "a.pth").write_bytes(OTHER)
    with pytest.raises(D2EvalError, match=r"the file has changed.*d2eval fetch some"):
        verified_path(folder, "a.pth")


def test_verified_path_refuses_a_file_without_a_record(folder):
    folder.mkdir(parents=True)
    (folder / "a.pth").write_bytes(CONTENT)
    with pytest.raises(D2EvalError, match=r"no SHA-256 for this file.*d2eval fetch some"):
        verified_path(folder, "a.pth")


def test_verified_path_without_a_folder(folder):
    assert verified_path(folder, "a.pth") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "broken JSON"),
        ("[]", "damaged"),
        ('{"a.pth": 5}', "damaged"),
        ('{"a.pth": "abc"}', "damaged"),
        ("\x00", "line 1 holds a zero byte"),
    ],
)
def test_damaged_checksums(server, folder, text, expected):
    server.files["a.pth"] = CONTENT
    fetch(server, folder)
    (folder / CHECKSUMS).write_text(text)
    for use in (lambda: verified_path(folder, "a.pth"), lambda: fetch(server, folder)):
        with pytest.raises(D2EvalError, match=rf"checksums\.json: {expected}"):
            use()
    assert (folder / "a.pth").read_bytes() == CONTENT


def test_records_of_other_files_stay(server, folder):
    server.files |= {"a.pth": CONTENT, "b.pth": OTHER}
    fetch(server, folder)
    fetch_file(server.url("b.pth"), folder, "b.pth", anything)
    assert verified_path(folder, "a.pth")
    assert verified_path(folder, "b.pth")


def test_missing_on_the_server_is_not_retried(server, folder):
    with pytest.raises(D2EvalError, match=r"answered 404 \(Not Found\).*same command"):
        fetch(server, folder)
    assert len(server.ranges) == 1


def test_failing_server_is_retried(server, folder):
    server.statuses["a.pth"] = 500
    with pytest.raises(D2EvalError, match=r"answered 500 .*\(3 attempts\).*same command"):
        fetch(server, folder, retries=2)
    assert len(server.ranges) == 3


def test_refused_connection(server, folder):
    server.stop()
    with pytest.raises(D2EvalError, match=r"can't be reached.*refused.*same command") as caught:
        fetch(server, folder)
    assert str(caught.value).startswith(server.url("a.pth"))


def test_unknown_host(folder, server, monkeypatch):
    def fail(*args, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(D2EvalError, match=r"^http://nowhere\.invalid/a: can't be reached"):
        fetch_file("http://nowhere.invalid/a", folder, "a", anything)


def test_redirect_is_followed(server, folder):
    server.files["b.pth"] = CONTENT
    server.redirects["a.pth"] = "/b.pth"
    server.fail(HALF)
    fetch(server, folder)
    assert server.ranges == [None, None, f"bytes={HALF}-", f"bytes={HALF}-"]
    assert_complete(folder)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a"])
def test_redirect_to_another_scheme_is_refused(server, folder, target):
    server.redirects["a.pth"] = target
    with pytest.raises(D2EvalError, match=target):
        fetch(server, folder)
    assert len(server.ranges) == 1


@pytest.mark.parametrize(
    "url",
    ["file:///etc/hostname", "ftp://x/a", "a.pth", "http:///a", "http://[", "http://x:port/a"],
)
def test_other_addresses_are_refused(folder, url):
    with pytest.raises(D2EvalError, match="not an http or https address"):
        fetch_file(url, folder, "a.pth", anything)


def test_address_with_control_characters(folder):
    with pytest.raises(D2EvalError, match="not an http or https address"):
        fetch_file("http://127.0.0.1/a b", folder, "a.pth", anything)


@pytest.mark.parametrize("file", ["../a", "a/b", "/a", "..", ".", "", "a\\b", ".lock", CHECKSUMS])
def test_only_plain_names(tmp_path, file):
    with pytest.raises(D2EvalError, match="not a plain file name"):
        fetch_file("http://127.0.0.1/a", tmp_path / "x", file, anything)
    with pytest.raises(D2EvalError, match="not a plain file name"):
        verified_path(tmp_path / "x", file)
    assert list(tmp_path.iterdir()) == []


def test_one_fetch_at_a_time(server, folder):
    server.files["a.pth"] = CONTENT
    with exclusive(folder), pytest.raises(D2EvalError, match="another run"):
        fetch(server, folder)
    fetch(server, folder)
    assert_complete(folder)


def test_full_disk(server, folder):
    resource = pytest.importorskip("resource")
    server.files["a.pth"] = CONTENT
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, limits[1]))
    try:
        with pytest.raises(D2EvalError, match=r"a\.pth\.part: can't be written \(File too large"):
            fetch(server, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_part_that_is_a_link_is_not_written_through(server, folder, tmp_path, link):
    server.files["a.pth"] = CONTENT
    target = tmp_path / "thesis.tex"
    target.write_text("years of work")
    folder.mkdir(parents=True)
    link(target, folder / "a.pth.part")
    fetch(server, folder)  # begun anew, as nothing says what the part is of
    assert target.read_text() == "years of work"
    assert_complete(folder)


def test_a_part_to_be_continued_that_is_a_link_is_refused(server, folder, tmp_path):
    leave_part(server, folder)
    part = folder / "a.pth.part"
    target = part.rename(tmp_path / "moved")
    part.symlink_to(target)
    before = target.read_bytes()
    with pytest.raises(
        D2EvalError, match=r"a\.pth\.part: can't be written \(it is a symbolic link"
    ):
        fetch(server, folder)
    assert target.read_bytes() == before


def test_folder_that_is_a_file(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(D2EvalError, match="file"):
        fetch(server, tmp_path / "file")


# Where it came from


def fetch_from(server, folder, path, **options):
    server.files[path] = CONTENT
    return fetch_file(server.url(path), folder, "a.pth", anything, **options)


def test_the_addresses_of_the_same_bytes_are_kept(server, folder):
    fetch_from(server, folder, "mirror")
    assert addresses_of(folder, "a.pth") == [server.url("mirror")]
    fetch_from(server, folder, "authors")  # already there, nothing is downloaded
    assert addresses_of(folder, "a.pth") == [server.url("mirror")]
    fetch_from(server, folder, "authors", force=True)
    assert addresses_of(folder, "a.pth") == [server.url("mirror"), server.url("authors")]
    fetch_from(server, folder, "mirror", force=True)
    assert addresses_of(folder, "a.pth") == [server.url("mirror"), server.url("authors")]


def test_a_file_recorded_anew_has_a_new_address(server, folder):
    fetch_from(server, folder, "authors")
    (folder / CHECKSUMS).unlink()
    fetch_from(server, folder, "mirror")
    assert addresses_of(folder, "a.pth") == [server.url("mirror")]


def test_what_may_be_secret_in_an_address_is_not_kept(server, folder):
    fetch_from(server, folder, "a.pth")
    (folder / CHECKSUMS).unlink()
    server.files["a.pth?token=secret"] = CONTENT
    fetch_file(server.url("a.pth?token=secret"), folder, "a.pth", anything)
    assert addresses_of(folder, "a.pth") == [server.url("a.pth")]
    assert "secret" not in (folder / ADDRESSES).read_text()


def test_files_of_before_addresses_were_recorded(server, folder):
    fetch_from(server, folder, "a.pth")
    (folder / ADDRESSES).unlink()
    assert verified_path(folder, "a.pth") == folder / "a.pth"
    assert addresses_of(folder, "a.pth") == []


@pytest.mark.parametrize("content", ["{", "[]", '{"a.pth": "x"}', '{"a.pth": [1]}', "[" * 100_000])
def test_damaged_addresses_are_named(server, folder, content):
    fetch_from(server, folder, "a.pth")
    (folder / ADDRESSES).write_text(content)
    with pytest.raises(D2EvalError, match=r"addresses\.json: .*'d2eval fetch'") as caught:
        addresses_of(folder, "a.pth")
    assert "\n" not in str(caught.value)


def test_a_published_checksum_decides(server, folder):
    server.files["a.pth"] = OTHER
    published = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(D2EvalError, match=f"the authors' a.pth has {published[:12]}; it was remov"):
        fetch(server, folder, published=published)
    assert {path.name for path in folder.iterdir()} == {".lock"}
    server.files["a.pth"] = CONTENT
    assert fetch(server, folder, published=published).sha256 == published


# No larger than it may be


@pytest.mark.parametrize("sends_length", [True, False])
def test_what_is_too_large_is_refused_and_removed(server, folder, sends_length):
    server.files["a.pth"] = CONTENT
    server.sends_length = sends_length
    with pytest.raises(D2EvalError, match=r"a\.pth: larger than 0\.25 MiB.*--largest-mib"):
        fetch(server, folder, largest=2**18)
    assert {path.name for path in folder.iterdir()} == {".lock"}
    assert fetch(server, folder, largest=len(CONTENT)).size == len(CONTENT)


def test_a_server_that_never_ends_is_left(server, folder):
    server.files["a.pth"] = b"0" * 2**24
    server.sends_length = False
    server.delay = 0.05
    with pytest.raises(D2EvalError, match="larger than"):
        fetch(server, folder, largest=2**18)


def test_a_part_that_is_too_large_is_removed(server, folder):
    leave_part(server, folder)
    with pytest.raises(D2EvalError, match="larger than"):
        fetch(server, folder, largest=HALF - 1)
    assert {path.name for path in folder.iterdir()} == {".lock"}


@pytest.mark.parametrize("notes", ["[" * 100_000, '{"url": 1}', "[]", '{"a": 1}', "\x00"])
def test_damaged_notes_of_a_part_start_again(server, folder, notes):
    leave_part(server, folder)
    (folder / "a.pth.part.json").write_text(notes)
    fetch(server, folder)
    assert server.ranges == [None]
    assert_complete(folder)


@pytest.mark.parametrize("field", ["total", "validator"])
def test_notes_of_another_type_start_again(server, folder, field):
    leave_part(server, folder)
    path = folder / "a.pth.part.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: ["x"]}))
    fetch(server, folder)
    assert server.ranges == [None]
    assert_complete(folder)
