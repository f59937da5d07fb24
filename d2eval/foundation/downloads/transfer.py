"""One file over HTTP, continued where an earlier attempt or an earlier process stopped.

What has arrived lies in a part file, and ``<part>.json`` beside it remembers which version of the
file on the server it belongs to. The rest is asked for by ``Range`` and ``If-Range`` (RFC 9110,
sections 13.1.5 and 14.2), so that bytes of two versions are never joined.
"""

import contextlib
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
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import open_own, write_text
from d2eval.foundation.files.reading import read_json
from d2eval.foundation.terminal.console import note
from d2eval.foundation.terminal.progress import Progress

RESUME = "run the same command again to resume"
TIMEOUT_S = 30.0  # without any byte; a slow server that sends is not interrupted
RETRIES = 3  # of a connection that was cut or silent
BACKOFF_S = 1.0  # before the first retry, doubled before each further one
_CHUNK = 1 << 18
_IN_VAIN = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)  # to retry


class _InterruptedError(Exception):
    """This attempt failed and another may succeed."""


@dataclass(frozen=True)
class _Version:
    """Which file on the server a part belongs to: enough to ask for the rest of the same bytes."""

    url: str
    validator: str
    total: int | None


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *answer: Any) -> urllib.request.Request | None:
        check_url(answer[-1])
        return super().redirect_request(*answer)


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
    if not valid or not re.fullmatch("[!-~]+", url):
        raise D2EvalError(f"{url}: not an http or https address; nothing was downloaded from there")


def receive(url: str, part: Path, largest: int) -> None:
    """Downloads ``url`` to ``part``, from where an earlier call left it if it can be continued.

    The whole file may have ``largest`` bytes.

    Raises:
        D2EvalError: the server can't be reached, refuses, or failed on all attempts, and the part
            is kept; or the file is too large, and the part is removed.
        OSError: the part can't be written.
    """
    for attempt in itertools.count(1):
        try:
            _attempt(url, part, largest)
            return
        except _InterruptedError as error:
            if attempt > RETRIES:
                raise D2EvalError(f"{url}: {error} ({attempt} attempts); {RESUME}") from error
            wait = BACKOFF_S * 2 ** (attempt - 1)
            note(f"{url}: {error}; trying again in {wait:g} s")
            time.sleep(wait)


def _attempt(url: str, part: Path, largest: int) -> None:
    """Appends the rest of the file to ``part``, or all of it if the part can't be continued."""
    version = _version_of(part, url)
    size = part.stat().st_size if version else 0
    if version and size == version.total and size <= largest:
        return
    headers = {"User-Agent": "d2eval"}
    if version:
        headers |= {"Range": f"bytes={size}-", "If-Range": version.validator}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (scheme is checked)
    with _failures(url, part):
        opened = urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)
    with cast(http.client.HTTPResponse, opened) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            size = 0
            _begin(url, part, response)
        elif version is None or not _continues(response.headers, version, size):
            discard(part)
            raise _InterruptedError("the server sent another part than was asked for")
        total = None if response.length is None else size + response.length
        _check_size(url, part, total or size, largest)
        with (
            open(part, "ab", opener=open_own) as file,
            Progress(part.stem, total, done=size, is_bytes=True) as under_way,
        ):
            while chunk := _read(url, part, response):
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


def _read(url: str, part: Path, response: http.client.HTTPResponse) -> bytes:
    """What has arrived; empty at the end, also if the connection was cut."""
    with _failures(url, part):
        return response.read1(_CHUNK)


@contextlib.contextmanager
def _failures(url: str, part: Path) -> Iterator[None]:
    """Says what failed of a connection, and tells apart what may be tried again."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server answered {error.code} ({error.reason})"
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            discard(part)
        elif error.code < 500 and error.code not in (408, 429):
            raise D2EvalError(f"{url}: {reason}; check the address, then {RESUME}") from error
        raise _InterruptedError(reason) from error
    except TimeoutError as error:
        raise _InterruptedError(f"the server sent nothing for {TIMEOUT_S:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)  # URLError's, in which urllib wraps others
        if isinstance(cause, _IN_VAIN):
            raise D2EvalError(f"{url}: can't be reached ({cause}); {RESUME}") from error
        reason = str(cause) or type(cause).__name__
        raise _InterruptedError(f"the connection failed ({reason})") from error


def _begin(url: str, part: Path, response: http.client.HTTPResponse) -> None:
    """Removes ``part`` and remembers the version that it will be a part of."""
    discard(part)
    validator = _validator(response.headers)
    if validator is not None:  # or bytes of two versions could not be told apart: next, from zero
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
    """What is remembered beside ``part``, if something came from ``url``."""
    try:
        version = _Version(**read_json(_notes(part)))
    except (D2EvalError, TypeError):
        return None
    sound = isinstance(version.validator, str) and isinstance(version.total, int | None)
    begun = part.exists() and part.stat().st_size > 0
    return version if begun and sound and version.url == url else None


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Removes a part and what is remembered of it."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)
