"""The two-view protocols, ``benchmarks/twoview.toml`` and what extends it, as typed values."""

from dataclasses import dataclass, field
from pathlib import Path

from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.protocol import ProtocolFile, load_protocol
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.metrics.relative_pose import PoseEstimator
from d2eval.pipeline.resizing import Resize


@dataclass(frozen=True)
class PairList:
    """Which pairs a protocol is of.

    Attributes:
        file: with names, intrinsics and poses, from the protocol's own folder.
        count: of its pairs.
        by_scene: whether the summary has a row for each scene, too.
        intrinsics_size_px: width and height of the images that intrinsics belong to; empty: those
            of the images on disk.
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
        for name in ("thresholds_deg", "epipolar"):
            numbers = getattr(self, name)
            if not numbers or not all(isinstance(n, int | float) and n > 0 for n in numbers):
                raise D2EvalError(f"{name} = {numbers}: must be positive numbers")
        if not self.failure_deg > 0:
            raise D2EvalError(f"failure_deg = {self.failure_deg}: must be positive, or inf")


@dataclass(frozen=True)
class TwoViewProtocol:
    """The numbers of a protocol."""

    protocol: str  # stem of the benchmark file
    name: str  # how tables call it
    folder: Path  # where its file lies
    pairs: PairList | None  # None: those of the user's folder alone
    keypoints: int | None  # of highest score, of each image; None: all
    keypoint_origin: str  # where pixels that intrinsics belong to count from: "corner", "center"
    pose_pixels: str  # in which thresholds hold: of the "original" or the "resized" image
    repeats: int  # estimates of each pair
    resize: Resize
    matcher: MatcherChoice  # the protocol's own
    estimator: PoseEstimator
    errors: Errors
    sha256: str  # of the protocol's numbers

    @property
    def variants(self) -> dict[str, tuple[float, int]]:
        """Ending of a row's columns -> threshold and repeat of an estimate."""
        thresholds, repeats = self.estimator.thresholds_px, range(1, self.repeats + 1)
        return {
            (f"_at_{threshold:g}px" if len(thresholds) > 1 else "")
            + (f"_run_{repeat}" if self.repeats > 1 else ""): (threshold, repeat)
            for threshold in thresholds
            for repeat in repeats
        }


def load_two_view(protocol: str) -> TwoViewProtocol:
    """Reads ``benchmarks/<protocol>.toml``, or a file of the user's whose path it is.

    Raises:
        D2EvalError: it is missing or broken, or no two-view protocol.
    """
    file = load_protocol(protocol)
    path = file.path
    keypoints = file.value("keypoints", int)
    repeats = file.value("repeats", int)
    if keypoints < 0 or repeats < 1:
        raise D2EvalError(f"{path}: keypoints must be 0 or more, repeats 1 or more; mend it")
    return TwoViewProtocol(
        protocol=path.stem,
        name=file.value("name", str),
        folder=path.parent,
        pairs=file.table("pairs", PairList) if "pairs" in file.content else None,
        keypoints=keypoints or None,
        keypoint_origin=_choice(file, "keypoint_origin", "corner", "center"),
        pose_pixels=_choice(file, "pose_pixels", "original", "resized"),
        repeats=repeats,
        resize=file.table("resize", Resize),
        matcher=MatcherChoice.of_table(file.value("matcher", dict), str(path)),
        estimator=file.table("estimator", PoseEstimator),
        errors=file.table("errors", Errors),
        sha256=file.sha256,
    )


def _choice(file: ProtocolFile, name: str, *choices: str) -> str:
    value = str(file.value(name, str))
    if value not in choices:
        raise D2EvalError(f"{file.path}: {name} = {value!r}; choose from {', '.join(choices)}")
    return value


def list_path(protocol: TwoViewProtocol) -> Path | None:
    """Where the protocol's list of pairs lies; None: it has none."""
    return None if protocol.pairs is None else protocol.folder / expanded(protocol.pairs.file)
