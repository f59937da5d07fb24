"""Files from the network: the same bytes ever after.

A file is downloaded to ``<file>.part`` and validated, its SHA-256 is recorded in
``checksums.json`` beside it, and only then it gets its name. From then on the record decides:
whatever else is downloaded or found under that name is refused. ``addresses.json`` says from where
these bytes came.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from d2eval.foundation.downloads.transfer import (
    DEFAULT_PATIENCE,
    RESUME,
    Patience,
    check_url,
    discard,
    receive,
)
from d2eval.foundation.errors import D2EvalError, MissingFileError
from d2eval.foundation.files.atomic import exclusive, write_text
from d2eval.foundation.files.reading import read_json, sha256_of

CHECKSUMS, ADDRESSES = "checksums.json", "addresses.json"
RECORD_REMEDY = "restore it, or delete it to record the files anew with 'd2eval fetch'"
LARGEST = 2**30  # bytes


@dataclass(frozen=True)
class Fetched:
    """A file that is complete and agrees with its record.

    Attributes:
        path: where it lies.
        size: in bytes.
        sha256: in hexadecimal.
        state: "recorded" (first download), "verified" (downloaded again) or "already there,
            verified".
    """

    path: Path
    size: int
    sha256: str
    state: str


def fetch_file(
    url: str,
    folder: Path,
    file: str,
    validate: Callable[[Path], object],
    *,
    force: bool = False,
    patience: Patience = DEFAULT_PATIENCE,
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
        patience: timeout and retries.
        largest: bytes that the file may have.
        published: SHA-256 that the file must have, if its authors' is known.

    Raises:
        D2EvalError: the server fails or can't be reached (the part is kept), the content is too
            large, not valid or not what was recorded or published (it is removed), the folder
            can't be written, another process fetches into it, or its records are damaged.
    """
    check_url(url)
    path, part = folder / _plain_name(file), folder / f"{file}.part"
    recorded = _checksums(folder).get(file)
    if not force and recorded and path.is_file() and sha256_of(path) == recorded:
        return Fetched(path, path.stat().st_size, recorded, "already there, verified")
    with exclusive(folder):
        try:
            receive(url, part, patience, largest)
            return _accept(url, part, path, validate, published)
        except OSError as error:
            raise D2EvalError(
                f"{error.filename or part}: can't be written ({error.strerror or error}); free "
                f"space or choose another folder, then {RESUME}"
            ) from error


def verified_path(folder: Path, file: str) -> Path | None:
    """The path of a fetched file, checked against its record; None if it was not fetched.

    Raises:
        D2EvalError: the file differs from its record, or there is no record for it.
    """
    path = folder / _plain_name(file)
    if not path.exists():
        return None
    recorded = _checksums(folder).get(file)
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
    return list(_addresses(folder).get(file, []))


def _checksums(folder: Path) -> dict[str, str]:
    """What ``checksums.json`` records: file name -> SHA-256."""
    return _record(folder / CHECKSUMS, _is_sha256)


def _addresses(folder: Path) -> dict[str, list[str]]:
    """What ``addresses.json`` records: file name -> addresses."""
    return _record(folder / ADDRESSES, _is_addresses)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_addresses(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(address, str) for address in value)


def _record(path: Path, valid: Callable[[object], bool]) -> dict[str, Any]:
    """A JSON object of file names; empty without a file.

    Raises:
        D2EvalError: it can't be read, is no such object, or a value is not ``valid``.
    """
    try:
        content = read_json(path, RECORD_REMEDY)
    except MissingFileError:
        return {}
    if not isinstance(content, dict) or not all(map(valid, content.values())):
        raise D2EvalError(
            f"{path}: damaged, so the files beside it can't be verified; {RECORD_REMEDY}"
        )
    return content


def _write_record(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=2, sort_keys=True) + "\n")


def _note_address(path: Path, url: str, *, anew: bool) -> None:
    """Adds an address to those from which a file's bytes came, without what may be secret in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    address = f"{parts.scheme}://{host}{parts.path}"
    recorded = _addresses(path.parent)
    known = [] if anew else recorded.get(path.name, [])
    if address not in known:
        _write_record(path.with_name(ADDRESSES), {**recorded, path.name: [*known, address]})


def _accept(
    url: str,
    part: Path,
    path: Path,
    validate: Callable[[Path], object],
    published: str | None,
) -> Fetched:
    """Gives a complete part its name if it is what is recorded, or valid and not yet recorded."""
    checksums = _checksums(path.parent)
    recorded = checksums.get(path.name)
    sha256 = sha256_of(part)
    if published is not None and published != sha256:
        discard(part)
        raise D2EvalError(
            f"{url}: SHA-256 of this download is {sha256[:12]}, but the authors' {path.name} has "
            f"{published[:12]}; it was removed; try another address"
        )
    if recorded is None:
        try:
            validate(part)
        except D2EvalError as error:
            discard(part)
            raise D2EvalError(
                f"{url}: what came from there was refused and removed, nothing is recorded; check "
                f"the address or try again later ({error})"
            ) from error
        _note_address(path, url, anew=True)
        _write_record(path.with_name(CHECKSUMS), {**checksums, path.name: sha256})
    elif sha256 != recorded:
        discard(part)
        raise D2EvalError(
            f"{url}: SHA-256 of this download is {sha256[:12]}, but {path.name} was recorded as "
            f"{recorded[:12]}; it was removed and the record kept; try again or, if you trust the "
            f"new file, delete {path.name} and its line in {path.with_name(CHECKSUMS)}"
        )
    else:
        _note_address(path, url, anew=False)
    part.replace(path)
    discard(part)
    state = "recorded" if recorded is None else "verified"
    return Fetched(path, path.stat().st_size, sha256, state)


def _plain_name(file: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", file, re.ASCII) or file in (CHECKSUMS, ADDRESSES):
        raise D2EvalError(f"{file!r}: not a plain file name; files are fetched into one folder")
    return file
