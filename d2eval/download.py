"""Files from the network: the same bytes ever after.

A file is downloaded to ``<file>.part`` and validated, its SHA-256 is recorded in
``checksums.json`` beside it, and only then it gets its name. From then on the record decides:
whatever else is downloaded or found under that name is refused.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from d2eval.atomic import exclusive, write_text
from d2eval.errors import D2EvalError, MissingFileError
from d2eval.files import read_json
from d2eval.transfer import DEFAULT_PATIENCE, RESUME, Patience, check_url, discard, receive
from d2eval.weights import sha256_of

CHECKSUMS = "checksums.json"
CHECKSUMS_REMEDY = "restore it, or delete it to record the files anew with 'd2eval fetch'"


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

    Raises:
        D2EvalError: the server fails or can't be reached (the part is kept), the content is not
            valid or not what was recorded (it is removed), the folder can't be written, another
            process fetches into it, or its checksums are damaged.
    """
    check_url(url)
    path, part = folder / _plain_name(file), folder / f"{file}.part"
    recorded = _checksums(folder).get(file)
    if not force and recorded and path.is_file() and sha256_of(path) == recorded:
        return Fetched(path, path.stat().st_size, recorded, "already there, verified")
    with exclusive(folder):
        try:
            receive(url, part, patience)
            return _accept(url, part, path, validate)
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


def _checksums(folder: Path) -> dict[str, str]:
    """What ``checksums.json`` records: file name -> SHA-256."""
    path = folder / CHECKSUMS
    try:
        content = read_json(path, CHECKSUMS_REMEDY)
    except MissingFileError:
        return {}
    if not isinstance(content, dict) or not all(
        isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) for value in content.values()
    ):
        raise D2EvalError(
            f"{path}: damaged, so the files beside it can't be verified; {CHECKSUMS_REMEDY}"
        )
    return content


def _accept(url: str, part: Path, path: Path, validate: Callable[[Path], object]) -> Fetched:
    """Gives a complete part its name if it is what is recorded, or valid and not yet recorded."""
    checksums = _checksums(path.parent)
    recorded = checksums.get(path.name)
    sha256 = sha256_of(part)
    if recorded is None:
        try:
            validate(part)
        except D2EvalError as error:
            discard(part)
            raise D2EvalError(
                f"{url}: what came from there was refused and removed, nothing is recorded; check "
                f"the address or try again later ({error})"
            ) from error
        record = json.dumps({**checksums, path.name: sha256}, indent=2, sort_keys=True)
        write_text(path.with_name(CHECKSUMS), record + "\n")
    elif sha256 != recorded:
        discard(part)
        raise D2EvalError(
            f"{url}: SHA-256 of this download is {sha256[:12]}, but {path.name} was recorded as "
            f"{recorded[:12]}; it was removed and the record kept; try again or, if you trust the "
            f"new file, delete {path.name} and its line in {path.with_name(CHECKSUMS)}"
        )
    part.replace(path)
    discard(part)
    state = "recorded" if recorded is None else "verified"
    return Fetched(path, path.stat().st_size, sha256, state)


def _plain_name(file: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", file, re.ASCII) or file == CHECKSUMS:
        raise D2EvalError(f"{file!r}: not a plain file name; files are fetched into one folder")
    return file
