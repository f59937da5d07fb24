"""Runs of other people are taken in: checked as tables read them, and whole or not at all."""

import json
from pathlib import Path

from d2eval.contracts.protocol import load_protocol, protocol_names
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.evaluation.benchmark import benchmark_class
from d2eval.foundation.errors import D2EvalError, writing
from d2eval.foundation.files.leftovers import temporary_path
from d2eval.foundation.files.reading import read_bytes
from d2eval.foundation.text.labels import check_label
from d2eval.runs.archive import PROTOCOL, Archive, unpack


def import_run(path: Path, output: Path, by: str | None = None) -> tuple[Path, list[str]]:
    """Puts the run of an archive into ``output/<benchmark>/<run>/``.

    Returns:
        The folder, and notes for the user.

    Raises:
        D2EvalError: the archive is broken or of no benchmark here, or another run has the name.
    """
    archive = unpack(path)
    if archive.benchmark not in registered(BENCHMARKS):
        raise D2EvalError(f"{path}: of {archive.benchmark!r}, which is no benchmark here; add it")
    label = check_label(f"{by}-{archive.label}" if by else archive.label)
    folder = output / archive.benchmark / label
    if folder.exists():
        if _is_same(folder, archive):
            return folder, [f"{folder}: is there already"]
        raise D2EvalError(f"{folder}: holds another run; give --by, or another --output")
    with writing(folder), temporary_path(folder) as scratch:
        built = scratch / archive.benchmark / label
        built.mkdir(parents=True)
        for name, data in archive.files.items():
            (built / name).write_bytes(data)
        try:
            benchmark_class(archive.benchmark)().results([scratch])
        except D2EvalError as error:
            said = str(error).replace(f"{built}/", "")
            raise D2EvalError(f"{path}: no sound run ({said})") from error
        built.rename(folder)
    return folder, _notes(path, archive)


def _is_same(folder: Path, archive: Archive) -> bool:
    return all(
        (folder / name).is_file() and read_bytes(folder / name) == data
        for name, data in archive.files.items()
    )


def _notes(path: Path, archive: Archive) -> list[str]:
    """What isn't as it is here."""
    if PROTOCOL not in archive.files:
        return []
    said = json.loads(archive.files[PROTOCOL])
    name = said.get("name")
    if name in protocol_names() and load_protocol(name).sha256 == said.get("sha256"):
        return []
    return [f"{path}: its protocol {name!a} has other numbers than this d2eval's"]
