"""Datasets that ``d2eval fetch`` downloads, from ``benchmarks/downloads.toml``."""

from dataclasses import dataclass
from pathlib import Path

from d2eval.contracts.protocol import load_toml
from d2eval.foundation.files.bundled import bundled


@dataclass(frozen=True)
class DatasetArchive:
    """A dataset that is one archive."""

    description: str  # one line for help
    base_url: str  # where its authors publish it
    archive: str  # the file's name there
    sha256: str  # of the archive, as public sources state it
    largest_mib: int  # what neither the archive nor a file in it exceeds
    folder: str  # of the files in it
    files: tuple[str, ...]  # that are kept


def dataset_archives() -> dict[str, DatasetArchive]:
    """All of them by name, which is also that of the folder below ``<cache>/data``."""
    entries = load_toml(bundled("benchmarks") / "downloads.toml")
    return {
        name: DatasetArchive(**{**entry, "files": tuple(entry["files"])})
        for name, entry in entries.items()
    }


def dataset_folder(cache: Path, name: str) -> Path:
    """Where a fetched dataset lies."""
    return cache / "data" / name
