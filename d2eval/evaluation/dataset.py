"""Image pairs, and what is known of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ImagePair:
    """Two images and what is known of them.

    Attributes:
        first: path of one image.
        second: path of the other.
        split: what the pair counts to.
        columns: say in its row which pair it is.
        truth: what a match is measured by, such as a homography from the first to the second.
    """

    first: Path
    second: Path
    split: str
    columns: Mapping[str, Any]
    truth: Any


@dataclass(frozen=True)
class PairDataset:
    """The pairs of a run.

    Attributes:
        root: the folder that holds them.
        pairs: in the order of the rows.
        completeness: "sample", "complete" or "partial (7 of 108 sequences)".
        counts: what else the manifest says of them.
        lines: say to the user what was found.
        notes: what of it isn't as it should be.
    """

    root: Path
    pairs: Sequence[ImagePair]
    completeness: str
    counts: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def images(self) -> dict[Path, str]:
        """Every image once, by its first use, with the split of that."""
        used: dict[Path, str] = {}
        for pair in self.pairs:
            used.setdefault(pair.first, pair.split)
            used.setdefault(pair.second, pair.split)
        return used

    def fingerprint(self, content: Mapping[Path, str]) -> str:
        """SHA-256 of names, of ``content`` by image, and of what is known of the pairs."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            names = [p.relative_to(self.root).as_posix() for p in (pair.first, pair.second)]
            digest.update(repr([*names, content[pair.first], content[pair.second]]).encode())
            digest.update(bytes(pair.truth) if hasattr(pair.truth, "tobytes") else b"")
        return digest.hexdigest()
