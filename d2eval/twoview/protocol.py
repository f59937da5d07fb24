"""The two-view protocols, ``benchmarks/twoview.toml`` and what extends it, as typed values."""

from dataclasses import dataclass, field
from pathlib import Path

from d2eval.contracts.protocol import load_protocol
from d2eval.evaluation.estimates import EstimateProtocol, Variants, check_numbers, shared_entries
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.metrics.relative_pose import PoseEstimator


@dataclass(frozen=True)
class PairList:
    """Which pairs a protocol is of.

    Attributes:
        file: with names, intrinsics and poses, from the protocol's own folder.
        count: of its pairs.
        by_scene: whether the summary has a row for each scene, too.
        intrinsics_size_px: width and height of the images that the file's intrinsics belong to;
            empty: those of the images on disk, as it is with a list in the data's folder.
    """

    file: str
    count: int
    by_scene: bool
    intrinsics_size_px: list = field(default_factory=list)

    def __post_init__(self) -> None:
        sizes = self.intrinsics_size_px
        if len(sizes) not in (0, 2) or not all(isinstance(s, int) and s > 0 for s in sizes):
            raise D2EvalError(f"intrinsics_size_px = {sizes}: must be width and height")


@dataclass(frozen=True)
class Errors:
    """What is said of poses and matches.

    Attributes:
        thresholds_deg: of AUC and accuracy.
        failure_deg: the error of a pair without a pose; it may be infinite.
        epipolar: of the precision: squared distances at z = 1.
    """

    thresholds_deg: list
    failure_deg: float
    epipolar: list

    def __post_init__(self) -> None:
        check_numbers("thresholds_deg", self.thresholds_deg)
        check_numbers("epipolar", self.epipolar)
        if not self.failure_deg > 0:
            raise D2EvalError(f"failure_deg = {self.failure_deg}: must be positive, or inf")


@dataclass(frozen=True)
class TwoViewProtocol(EstimateProtocol):
    """The numbers of a protocol."""

    pairs: PairList | None  # None: those of the user's folder alone
    estimator: PoseEstimator
    errors: Errors

    @property
    def variants(self) -> Variants:
        """The estimates of each pair."""
        return Variants(self.estimator.thresholds_px, self.repeats)


def load_two_view(protocol: str) -> TwoViewProtocol:
    """Reads ``benchmarks/<protocol>.toml``, or a file of the user's whose path it is.

    Raises:
        D2EvalError: it is missing or broken, or no two-view protocol.
    """
    file = load_protocol(protocol)
    return TwoViewProtocol(
        **shared_entries(file),
        pairs=file.table("pairs", PairList) if "pairs" in file.content else None,
        estimator=file.table("estimator", PoseEstimator),
        errors=file.table("errors", Errors),
    )


def list_path(protocol: TwoViewProtocol) -> Path | None:
    """Where the protocol's list of pairs lies; None: it has none."""
    return None if protocol.pairs is None else protocol.folder / expanded(protocol.pairs.file)
