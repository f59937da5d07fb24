"""A run as one file for somebody else: rows, manifest, protocol, submission; no images or features.

An archive is a zip file. Its index names every file with its SHA-256, so that a damaged or changed
one is found out; names are plain ones, so that none leads out of the folder that it is put into.
"""

import hashlib
import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.contracts.protocol import load_protocol, protocol_names
from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.files.atomic import write_bytes
from d2eval.foundation.files.reading import is_deep, read_bytes
from d2eval.foundation.text.labels import label_problem
from d2eval.runs.manifest import FILE as MANIFEST
from d2eval.runs.manifest import read_manifest
from d2eval.runs.measured import SUMMARY

INDEX, PROTOCOL = "d2eval-run.json", "protocol.json"
SCHEMA = 1  # raise it when an archive comes to be written otherwise
_ENDINGS = (".csv", ".json", ".txt")
_MOST_FILES, _MOST_BYTES = 64, 2**28  # of an archive, and of what it unpacks to
_MOST_PACKED = 2**26
_REMEDY = "ask for it again"
_TIME = (1980, 1, 1, 0, 0, 0)  # the same run gives the same archive
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError,
           ValueError, struct.error)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """What an archive holds, checked."""

    benchmark: str
    label: str
    files: Mapping[str, bytes]  # by name


def pack(folder: Path, label: str, path: Path) -> list[str]:
    """Writes the finished run in ``folder`` to ``path``; returns the names of its files.

    Raises:
        D2EvalError: a file can't be read or written, or is too large.
    """
    manifest = read_manifest(folder) or {}
    benchmark = str(manifest["benchmark"])
    chosen = [
        own for own in sorted(folder.iterdir())
        if own.suffix in _ENDINGS and own.name not in (f"{benchmark}.csv", PROTOCOL)
        and not own.name.startswith(".") and own.is_file()
    ]  # fmt: skip
    for own in chosen:
        if own.is_symlink():
            raise D2EvalError(f"{own}: is a link; put the file itself there")
        if problem := label_problem(own.name):
            raise D2EvalError(f"{own}: an archive can't hold it (its name {problem}); move it away")
    files = {own.name: read_bytes(own, "make it readable", _MOST_BYTES) for own in chosen}
    if (protocol := _protocol(manifest)) is not None:
        files[PROTOCOL] = json.dumps(protocol, indent=2, default=str).encode()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    index = {"schema": SCHEMA, "benchmark": benchmark, "label": label, "files": sums}
    if len(files) > _MOST_FILES or sum(map(len, files.values())) > _MOST_BYTES:
        raise D2EvalError(f"{folder}: too large for an archive")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in {INDEX: json.dumps(index, indent=2).encode(), **files}.items():
            info = zipfile.ZipInfo(name, _TIME)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, data)
    if packed.tell() > _MOST_PACKED:
        raise D2EvalError(f"{folder}: too large for an archive")
    write_bytes(path, packed.getvalue())
    return list(files)


def _protocol(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The numbers of the run's protocol; None where it has none, or this d2eval's are others."""
    name = str(manifest.get("protocol", manifest["benchmark"]))
    if name not in protocol_names():
        return None
    protocol = load_protocol(name)
    same = protocol.sha256 == manifest.get("protocol_sha256")
    return {"name": name, "sha256": protocol.sha256, "numbers": protocol.content} if same else None


def unpack(path: Path) -> Archive:
    """Reads an archive; writes nothing.

    Raises:
        D2EvalError: it is missing, broken, changed, or none of ours.
    """
    data = read_bytes(path, "is no archive of a run", _MOST_PACKED)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = _contents(archive)
        return _checked(files)
    except _BROKEN as error:
        said = reason_of(error)
        raise D2EvalError(f"{path}: no sound archive of a run ({said}); {_REMEDY}") from error


def _contents(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The files, whose names and sizes are looked at before anything is unpacked."""
    entries = archive.infolist()
    if len(entries) > _MOST_FILES + 1 or sum(own.file_size for own in entries) > _MOST_BYTES:
        raise ValueError("it would unpack to more than a run is")
    names: set[str] = set()
    for own in entries:
        kind = stat.S_IFMT(own.external_attr >> 16)
        problem = label_problem(own.orig_filename)
        if problem or not own.filename.endswith(_ENDINGS):
            raise ValueError(f"{own.orig_filename[:60]!a} is no name of a run's file")
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"{own.filename} is no regular file")
        if own.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{own.filename} is compressed in another way than d2eval's")
        if own.filename in names:
            raise ValueError(f"{own.filename} stands twice")
        names.add(own.filename)
    return {own.filename: archive.read(own) for own in entries}


def _checked(files: Mapping[str, bytes]) -> Archive:
    if INDEX not in files:
        raise ValueError(f"lacks {INDEX}")
    index = _table(files[INDEX], INDEX)
    if index.get("schema") != SCHEMA:
        raise ValueError(f"schema {index.get('schema')!r}, which this d2eval doesn't know")
    named = index.get("files")
    others = {name: data for name, data in files.items() if name != INDEX}
    if not isinstance(named, dict) or named.keys() != others.keys():
        raise ValueError(f"its files are not those of {INDEX}")
    for name, data in others.items():
        if hashlib.sha256(data).hexdigest() != named[name]:
            raise ValueError(f"{name} is not what was packed")
    for name in (MANIFEST, SUMMARY):
        if name not in others:
            raise ValueError(f"lacks {name}")
    benchmark, label = index.get("benchmark"), index.get("label")
    if not (isinstance(benchmark, str) and isinstance(label, str)) or label_problem(label):
        raise ValueError(f"{INDEX} names no benchmark or run")
    if _table(others[MANIFEST], MANIFEST).get("benchmark") != benchmark:
        raise ValueError(f"{MANIFEST} is not of {benchmark}")
    if PROTOCOL in others:
        _table(others[PROTOCOL], PROTOCOL)
    return Archive(benchmark, label, others)


def _table(data: bytes, name: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except RecursionError:
        content = None
    if not isinstance(content, dict) or is_deep(content):
        raise ValueError(f"{name} is no JSON table")
    return content
