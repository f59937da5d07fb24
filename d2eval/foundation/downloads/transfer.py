"""One file over HTTP, continued where an earlier attempt or an earlier process stopped.

What has arrived lies in a part file, and ``<part>.json`` beside it remembers which version of the
file on the server it belongs to. The rest is asked for by ``Range`` and ``If-Range`` (RFC 9110,
sections 13.1.5 and 14.2), so that bytes of two versions are never joined.
"""

import dataclasses
import http.client
import itertools
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, cast
from urllib.parse import urlsplit

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import open_own, write_text
from d2eval.foundation.files.reading import read_json
from d2eval.foundation.terminal.console import note
from d2eval.foundation.terminal.progress import Progress

RESUME = "run the same command again to resume"
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout: seconds without any byte; a slow server that sends is not interrupted.
        retries: how often a cut or silent connection is opened again.
        backoff: seconds before the first retry, doubled before each further one.
    """

    timeout: float = 30.0
    retries: int = 3
    backoff: float = 1.0


DEFAULT_PATIENCE = Patience()


class _InterruptedError(Exception):
    """This attempt failed and another may succeed."""


class _UnreachableError(_InterruptedError):
    """Nobody answered, so that a retry helps only if the server was there a moment ago."""


@dataclass(frozen=True)
class _Version:
    """Which file on the server a part belongs to: enough to ask for the rest of the same bytes."""

    url: str
    validator: str
    total: int | None


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_url(url: str) -> None:
    """Refuses what is not a complete http or https address.

    Raises:
        D2EvalError: another scheme, no host, or no valid address at all.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise D2EvalError(f"{url}: not an http or https address; nothing was downloaded from there")


def receive(url: str, part: Path, patience: Patience, largest: int) -> None:
    """Downloads ``url`` to ``part``, from where an earlier call left it if it can be continued.

    Args:
        url: over http or https.
        part: the file.
        patience: timeout and retries.
        largest: bytes that the whole file may have.

    Raises:
        D2EvalError: the server can't be reached, refuses, or failed on all attempts, and the part
            is kept; or the file is too large, and the part is removed.
        OSError: the part can't be written.
    """
    for attempt in itertools.count():
        try:
            _attempt(url, part, patience.timeout, largest)
            return
        except _InterruptedError as error:
            if attempt == patience.retries or (
                attempt == 0 and isinstance(error, _UnreachableError)
            ):
                tries = f" ({attempt + 1} attempts)" if attempt else ""
                raise D2EvalError(f"{url}: {error}{tries}; {RESUME}") from error
            wait = patience.backoff * 2**attempt
            note(f"{url}: {error}; trying again in {wait:g} s")
            time.sleep(wait)


def _attempt(url: str, part: Path, timeout: float, largest: int) -> None:
    """Appends the rest of the file to ``part``, or all of it if the part can't be continued."""
    version = _version_of(part, url)
    size = part.stat().st_size if version and part.exists() else 0
    _check_size(url, part, size, largest)
    if version and 0 < size == version.total:
        return
    headers = {"User-Agent": "d2eval"}
    if version and size:
        headers |= {"Range": f"bytes={size}-", "If-Range": version.validator}
    with _open(url, part, headers, timeout) as response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if version is None or not _continues(response.headers, version, size):
                discard(part)
                raise _InterruptedError("the server sent another part than was asked for")
        else:
            size = 0
            _begin(url, part, response)
        total = None if response.length is None else size + response.length
        _check_size(url, part, total or size, largest)
        with (
            open(part, "ab", opener=open_own) as file,
            Progress(part.stem, total, done=size, is_bytes=True) as under_way,
        ):
            while chunk := _read(response, timeout):
                file.write(chunk)
                under_way.advance(len(chunk))
                size += len(chunk)
                _check_size(url, part, size, largest)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and size < total:
        raise _InterruptedError(f"the connection was cut after {size} of {total} bytes")


def _check_size(url: str, part: Path, size: int, largest: int) -> None:
    if size > largest:
        discard(part)
        raise D2EvalError(
            f"{url}: larger than {largest / 2**20:g} MiB, so that it can't be what was wanted; "
            "check the address, or raise --largest-mib; nothing is kept"
        )


def _open(
    url: str, part: Path, headers: dict[str, str], timeout: float
) -> http.client.HTTPResponse:
    """Asks for ``url``; the response has status 200 or 206."""
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  (scheme is checked)
        opener = urllib.request.build_opener(_Redirects)
        return cast(http.client.HTTPResponse, opener.open(request, timeout=timeout))
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server answered {error.code} ({error.reason})"
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            discard(part)
            raise _InterruptedError(reason) from error
        if error.code >= 500 or error.code in (408, 429):
            raise _InterruptedError(reason) from error
        raise D2EvalError(f"{url}: {reason}; check the address, then {RESUME}") from error
    except (ValueError, http.client.InvalidURL) as error:
        raise D2EvalError(f"{url}: not a valid address ({error})") from error
    except urllib.error.URLError as error:
        refused = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)
        kind = _UnreachableError if isinstance(error.reason, refused) else _InterruptedError
        raise kind(f"can't be reached ({error.reason})") from error
    except TimeoutError as error:
        raise _InterruptedError(f"the server sent nothing for {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise _InterruptedError(f"the connection failed ({reason})") from error


def _read(response: http.client.HTTPResponse, timeout: float) -> bytes:
    """What has arrived; empty at the end, also if the connection was cut."""
    try:
        return response.read1(_CHUNK)
    except TimeoutError as error:
        raise _InterruptedError(f"the server sent nothing for {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise _InterruptedError(f"the connection failed ({reason})") from error


def _begin(url: str, part: Path, response: http.client.HTTPResponse) -> None:
    """Removes ``part`` and remembers the version that it will be a part of."""
    part.unlink(missing_ok=True)
    validator = _validator(response.headers)
    if validator is None:  # bytes of two versions could not be told apart: next time, from zero
        _notes(part).unlink(missing_ok=True)
    else:
        version = _Version(url, validator, response.length)
        write_text(_notes(part), json.dumps(dataclasses.asdict(version)))


def _continues(headers: Message, version: _Version, size: int) -> bool:
    """Whether a 206 response is the rest, from byte ``size`` on, of the same version."""
    span = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", headers.get("Content-Range", ""))
    return (
        span is not None
        and int(span[1]) == size
        and (version.total is None or span[2] in ("*", str(version.total)))
        and _validator(headers) in (None, version.validator)
    )


def _validator(headers: Message) -> str | None:
    """What ``If-Range`` takes (RFC 9110, 13.1.5): a strong ETag, else the time of the change."""
    etag = headers.get("ETag")
    return etag if etag and etag.startswith('"') else headers.get("Last-Modified")


def _version_of(part: Path, url: str) -> _Version | None:
    """What is remembered beside ``part``, if it came from ``url``."""
    try:
        version = _Version(**read_json(_notes(part)))
    except (D2EvalError, TypeError):
        return None
    sound = isinstance(version.validator, str) and isinstance(version.total, int | None)
    return version if sound and version.url == url else None


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Removes a part and what is remembered of it."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)
