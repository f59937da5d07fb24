"""Files from the network: the same bytes ever after.

A file is downloaded to ``<file>.part`` and validated, its SHA-256 is recorded in
``checksums.json`` beside it, and only then it gets its name. From then on the record decides:
whatever else is downloaded or found under that name is refused. ``addresses.json`` says from where
these bytes came.
"""

import json
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from d2eval.foundation.downloads.transfer import RESUME, check_url, discard, receive
from d2eval.foundation.errors import D2EvalError, MissingFileError, reason_of
from d2eval.foundation.files.atomic import exclusive, write_text
from d2eval.foundation.files.reading import read_json, sha256_of

CHECKSUMS, ADDRESSES = "checksums.json", "addresses.json"
RECORD_REMEDY = "restore it, or delete it to record the files anew with 'd2eval fetch'"
LARGEST = 2**30  # bytes
_CHUNK = 2**18
# What reading a damaged archive raises; of gzip and bzip2 an OSError, too
_BROKEN = (LookupError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError,
           NotImplementedError, RuntimeError, ValueError, OSError, struct.error)  # fmt: skip


@dataclass(frozen=True)
class Fetched:
    """A file that is complete and agrees with its record."""

    path: Path  # where it lies
    size: int  # in bytes
    sha256: str  # in hexadecimal
    # "recorded" (first download), "verified" (downloaded again) or "already there, verified"
    state: str


def fetch_file(
    url: str,
    folder: Path,
    file: str,
    validate: Callable[[Path], object],
    *,
    force: bool = False,
    largest: int = LARGEST,
    published: str | None = None,
) -> Fetched:
    """Downloads ``url`` to ``folder / file`` unless that is there and agrees with its record.

    Continues a part that an earlier run left, if the server still has the same file.

    Args:
        url: over http or https.
        folder: made if missing; one process at a time may fetch into it.
        file: a plain name, without folders.
        validate: called with the path of a complete first download, raises `D2EvalError` if it is
            not what was wanted; then nothing is recorded.
        force: download again although the file is there.
        largest: bytes that the file may have.
        published: SHA-256 that the file must have, if its authors' is known.

    Raises:
        D2EvalError: the server fails or can't be reached (the part is kept), the content is too
            large, not valid or not what was recorded or published (it is removed), the folder
            can't be written, another process fetches into it, or its records are damaged.
    """
    check_url(url)
    path, part = folder / _plain_name(file), folder / f"{file}.part"
    if not force and (there := _there(path)):
        return there
    with exclusive(folder):
        try:
            receive(url, part, largest)
            return _accept(url, part, path, validate, published)
        except OSError as error:
            raise D2EvalError(
                f"{error.filename or part}: can't be written ({error.strerror or error}); free "
                f"space or choose another folder, then {RESUME}"
            ) from error


def fetch_members(
    url: str,
    folder: Path,
    members: Mapping[str, str],
    validate: Callable[[Path], object],
    *,
    archive_sha256: str | None,
    published: Mapping[str, str],
    force: bool = True,
    largest: int = LARGEST,
) -> list[Fetched]:
    """Downloads an archive (zip, such as a wheel, or tar) and keeps members; see `fetch_file`.

    Args:
        url: of the archive.
        folder: of the files.
        members: by file, what the archive calls them; a file may lie in folders.
        validate: as for `fetch_file`.
        archive_sha256: that the archive must have; None: the first one is trusted.
        published: SHA-256 by file, where it is known.
        force: download again although all files are there.
        largest: bytes that the archive, and each member, may have.

    Raises:
        D2EvalError: as `fetch_file`; or the archive is another, or lacks a member.
    """
    check_url(url)
    paths = {file: folder.joinpath(*map(_plain_name, file.split("/"))) for file in members}
    there = [] if force else [_there(path) for path in paths.values()]
    if there and None not in there:
        return [file for file in there if file is not None]
    archive = folder / "archive.part"
    with exclusive(folder):
        try:
            receive(url, archive, largest)
            found = sha256_of(archive)
            if archive_sha256 is not None and found != archive_sha256:
                discard(archive)
                raise D2EvalError(
                    f"{url}: SHA-256 of this download is {found[:12]}, but {archive_sha256[:12]} "
                    "is on record; it was removed; try again"
                )
            fetched = []
            for file, member in members.items():
                path = paths[file]
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(f"{path.name}.part")
                _unpack(url, archive, member, part, largest)
                fetched.append(_accept(url, part, path, validate, published.get(file)))
            discard(archive)
            return fetched
        except OSError as error:
            raise D2EvalError(
                f"{error.filename or archive}: can't be written ({error.strerror or error}); free "
                f"space or choose another folder, then {RESUME}"
            ) from error


def _there(path: Path) -> Fetched | None:
    """A file that is there and agrees with its record."""
    recorded = _record(path.with_name(CHECKSUMS)).get(path.name)
    if not recorded or not path.is_file() or sha256_of(path) != recorded:
        return None
    return Fetched(path, path.stat().st_size, recorded, "already there, verified")


def _unpack(url: str, archive: Path, member: str, part: Path, largest: int) -> None:
    """One member of an archive as a file."""
    discard(part)
    with part.open("wb") as target:
        for chunk in _chunks(url, archive, member, largest):
            target.write(chunk)


def _chunks(url: str, archive: Path, member: str, largest: int) -> Iterator[bytes]:
    try:
        with _open_member(archive, member) as (source, size):
            if size > largest:
                raise D2EvalError(f"{url}: {member} is larger than {largest / 2**20:g} MiB")
            while chunk := source.read(_CHUNK):
                yield chunk
    except _BROKEN as error:
        raise D2EvalError(f"{url}: can't be unpacked ({reason_of(error)})") from error


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """A member's content and its size; nothing is written by the archive's own names.

    Raises:
        KeyError: there is no such file in it.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped, zipped.open(member) as source:
            yield source, zipped.getinfo(member).file_size
        return
    with tarfile.open(archive, "r:*") as content:
        found = content.extractfile(member)
        if found is None:
            raise KeyError(f"{member} is no file in it")
        with found:
            yield found, content.getmember(member).size


def verified_path(folder: Path, file: str) -> Path | None:
    """The path of a fetched file, checked against its record; None if it was not fetched.

    Raises:
        D2EvalError: the file differs from its record, or there is no record for it.
    """
    path = folder / _plain_name(file)
    if not path.exists():
        return None
    recorded = _record(folder / CHECKSUMS).get(file)
    mend = f"run 'd2eval fetch {folder.name}' to download it again"
    if recorded is None:
        raise D2EvalError(f"{path}: {CHECKSUMS} beside it has no SHA-256 for this file; {mend}")
    found = sha256_of(path)
    if found != recorded:
        raise D2EvalError(
            f"{path}: SHA-256 is {found[:12]}, recorded when it was first downloaded: "
            f"{recorded[:12]}; the file has changed; {mend}"
        )
    return path


def addresses_of(folder: Path, file: str) -> list[str]:
    """From where the bytes of a fetched file came, the first download's address first.

    None are known of files that were fetched before addresses were recorded.

    Raises:
        D2EvalError: the record is damaged.
    """
    return list(_record(folder / ADDRESSES).get(file, []))


def _record(path: Path) -> dict[str, Any]:
    """Of each file its SHA-256, or its addresses in `ADDRESSES`; empty without a record.

    Raises:
        D2EvalError: it can't be read, or is damaged.
    """
    try:
        content = read_json(path, RECORD_REMEDY)
    except MissingFileError:
        return {}
    valid = _is_addresses if path.name == ADDRESSES else _is_sha256
    if not isinstance(content, dict) or not all(map(valid, content.values())):
        raise D2EvalError(
            f"{path}: damaged, so the files beside it can't be verified; {RECORD_REMEDY}"
        )
    return content


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_addresses(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(address, str) for address in value)


def _write_record(path: Path, file: str, value: str | list[str]) -> None:
    record = {**_record(path), file: value}
    write_text(path, json.dumps(record, indent=2, sort_keys=True) + "\n")


def _note_address(path: Path, url: str, *, anew: bool) -> None:
    """Adds an address to those from which a file's bytes came, without what may be secret in it."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    known = addresses_of(path.parent, path.name)
    if anew or address not in known:
        _write_record(path.with_name(ADDRESSES), path.name, [*([] if anew else known), address])


def _accept(
    url: str, part: Path, path: Path, validate: Callable[[Path], object], published: str | None
) -> Fetched:
    """Gives a complete part its name if it is what is recorded, or valid and not yet recorded."""
    record = path.with_name(CHECKSUMS)
    recorded = _record(record).get(path.name)
    sha256 = sha256_of(part)
    is_now = f"{url}: SHA-256 of this download is {sha256[:12]}, but"
    try:
        if published is not None and published != sha256:
            raise D2EvalError(
                f"{is_now} the authors' {path.name} has {published[:12]}; it was removed; try "
                "another address"
            )
        if recorded is None:
            try:
                validate(part)
            except D2EvalError as error:
                raise D2EvalError(
                    f"{url}: what came from there was refused and removed, nothing is recorded; "
                    f"check the address or try again later ({error})"
                ) from error
        elif recorded != sha256:
            raise D2EvalError(
                f"{is_now} {path.name} was recorded as {recorded[:12]}; it was removed and the "
                "record kept; try again or, if you trust the new file, delete "
                f"{path.name} and its line in {record}"
            )
    except D2EvalError:
        discard(part)
        raise
    _note_address(path, url, anew=recorded is None)
    if recorded is None:
        _write_record(record, path.name, sha256)
    part.replace(path)
    discard(part)
    state = "recorded" if recorded is None else "verified"
    return Fetched(path, path.stat().st_size, sha256, state)


def _plain_name(file: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", file, re.ASCII) or file in (CHECKSUMS, ADDRESSES):
        raise D2EvalError(f"{file!r}: not a plain file name; files are fetched into one folder")
    return file
