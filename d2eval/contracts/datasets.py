"""Datasets that ``d2eval fetch`` downloads, from ``benchmarks/downloads.toml``."""

import csv
from dataclasses import dataclass
from pathlib import Path

from d2eval.contracts.protocol import load_toml
from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.files.reading import read_text


@dataclass(frozen=True)
class DatasetArchive:
    """A dataset that is one archive."""

    description: str  # one line for help
    base_url: str  # where its authors publish it
    archive: str  # the file's name there
    sha256: str  # of the archive, as public sources state it; "" where none does
    largest_mib: int  # what neither the archive nor a file in it exceeds
    folder: str  # of the files in it
    files: tuple[str, ...]  # that are kept, from that folder on


def dataset_archives() -> dict[str, DatasetArchive]:
    """All of them by name, which is also that of the folder below ``<cache>/data``."""
    benchmarks = bundled("benchmarks")
    entries = load_toml(benchmarks / "downloads.toml")
    found = {}
    for name, entry in entries.items():
        pairs = entry.pop("images_of", None)
        files = entry.pop("files") if pairs is None else _images_of(benchmarks / pairs)
        found[name] = DatasetArchive(**entry, files=tuple(files))
    return found


def _images_of(path: Path) -> list[str]:
    """The images of a list of pairs, each once."""
    rows = [*csv.DictReader(read_text(path, "restore it").splitlines())]
    return [*dict.fromkeys(row[name] for row in rows for name in ("image0", "image1"))]


def dataset_folder(cache: Path, name: str) -> Path:
    """Where a fetched dataset lies."""
    return cache / "data" / name
