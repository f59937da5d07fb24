"""Image pairs, and what is known of them."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError

OVERALL = "overall"  # the split of all pairs


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
            names = [self.name_of(path) for path in (pair.first, pair.second)]
            known = [*names, content[pair.first], content[pair.second], pair.split, pair.columns]
            digest.update(repr(known).encode())
            truth = pair.truth
            if hasattr(truth, "tobytes"):
                digest.update(f"{truth.dtype} {truth.shape}".encode() + truth.tobytes())
            else:
                digest.update(repr(truth).encode())
        return digest.hexdigest()

    def name_of(self, path: Path) -> str:
        """What an image is called: its path from the root on."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    def check(self) -> None:
        """Sees to it that there are pairs, and no split has a name of the summary's own.

        Raises:
            D2EvalError: there are none, or it has.
        """
        if not self.pairs:
            raise D2EvalError(f"{self.root}: holds no pair of images; give another folder")
        if any(pair.split == OVERALL for pair in self.pairs):
            raise D2EvalError(f"{self.root}: a split is called {OVERALL}, as all are; rename it")
