"""Content that carries its own SHA-256, so that not a bit of it is taken for what was written.

A head of 512 bytes, a line of text filled up with spaces, stands before the content. HDF5 passes
over a block of that size by itself (its "user block"), so stored units stay HDF5 files.
"""

import hashlib
import re

HEAD_BYTES = 512
_HEAD = re.compile(rb"d2eval: SHA-256 of name and content: ([0-9a-f]{64})\n *\n")


class DamagedError(Exception):
    """Content is not what was written under its name."""


def _digest(name: str, content: bytes | memoryview) -> str:
    digest = hashlib.sha256(f"{name}\n".encode(errors="surrogateescape"))
    digest.update(content)
    return digest.hexdigest()


def seal(name: str, content: bytes | memoryview) -> bytes:
    """Head and content.

    ``name`` is without a line's end; under another one the content counts as damaged.
    """
    line = f"d2eval: SHA-256 of name and content: {_digest(name, content)}\n".encode()
    return b"".join((line, b" " * (HEAD_BYTES - len(line) - 1), b"\n", content))


def unseal(name: str, data: bytes) -> memoryview:
    """The content of what `seal` gave.

    Raises:
        DamagedError: it is not that, or of another name.
    """
    head = _HEAD.fullmatch(data[:HEAD_BYTES])
    content = memoryview(data)[HEAD_BYTES:]
    if head is None or len(data) < HEAD_BYTES:
        raise DamagedError("its first bytes are not those of a stored unit")
    if head[1].decode() != _digest(name, content):
        raise DamagedError("its SHA-256 is not that of what was written")
    return content
