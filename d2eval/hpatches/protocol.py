"""``benchmarks/hpatches.toml`` as a typed record."""

from dataclasses import dataclass
from typing import Protocol

from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.protocol import load_protocol
from d2eval.metrics.homography import HomographyEstimator


class Selection(Protocol):
    """Which sequences a protocol is of; `HPatchesBenchmark` says what each attribute is."""

    @property
    def excluded(self) -> tuple[str, ...]:
        """Folders."""

    @property
    def images_per_sequence(self) -> int:
        """Images."""

    @property
    def complete(self) -> dict[str, int]:
        """Sequences by split."""


@dataclass(frozen=True)
class HPatchesBenchmark:
    """The numbers of the protocol."""

    excluded: tuple[str, ...]  # folder names that are left out
    images_per_sequence: int  # image 1 is matched to each of the others
    thresholds_px: tuple[int, ...]  # inclusive thresholds of the MMA
    complete: dict[str, int]  # sequences of a complete set, by split "i" and "v"
    matcher: MatcherChoice  # the protocol's own
    correct_px: float  # threshold for correct matches, matching score and repeatability
    estimator: HomographyEstimator  # for the homography
    corner_error_px: tuple[int, ...]  # thresholds of its accuracy and AUC
    overlaps: tuple[str, ...]  # what it measures on, see `d2eval.contracts.leaks`
    sha256: str  # of the protocol's numbers


def load_benchmark() -> HPatchesBenchmark:
    """Reads the benchmark file."""
    file = load_protocol("hpatches")
    content = file.content
    homography = dict(content["homography"])
    corner_error_px = tuple(homography.pop("corner_error_px"))
    return HPatchesBenchmark(
        excluded=tuple(content["excluded"]),
        images_per_sequence=content["images_per_sequence"],
        thresholds_px=tuple(content["thresholds_px"]),
        complete=dict(content["complete"]),
        matcher=MatcherChoice.of_table(content["matcher"], "benchmarks/hpatches.toml"),
        correct_px=content["correct"]["threshold_px"],
        estimator=HomographyEstimator(**homography),
        corner_error_px=corner_error_px,
        overlaps=file.overlaps,
        sha256=file.sha256,
    )
