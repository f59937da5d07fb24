"""The protocols of the Aachen benchmarks: ``benchmarks/aachen*.toml`` as typed values."""

from dataclasses import dataclass
from typing import Any, Literal

from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.protocol import load_protocol
from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.poses import Threshold

KeypointOrigin = Literal["own", "corner"]


@dataclass(frozen=True)
class Layout:
    """Where things lie below the dataset's folder."""

    database: str  # COLMAP database with cameras and images
    pairs: str  # image pairs to match
    images: str  # folder that image names are relative to
    model: str  # NVM file with the poses of the database images
    intrinsics: str  # intrinsics of the database images
    queries: str  # pattern of the query lists
    references: str  # reference poses of the queries, if there are any


@dataclass(frozen=True)
class DenseSettings:
    """How the matches of dense maps become matches of keypoints."""

    cell: int  # side of a keypoint's cell, in cells of the fine map
    max_matches: int  # most of a pair; 0: all

    def __post_init__(self) -> None:
        if self.cell < 1 or self.max_matches < 0:
            raise D2EvalError(
                f"dense cell {self.cell} must be 1 or more, matches {self.max_matches} 0 or more"
            )


@dataclass(frozen=True)
class TwoViewVerification:
    """Verification by a fundamental (or essential) matrix and homographies, as COLMAP does it."""

    max_error_px: float
    confidence: float
    min_iterations: int
    max_iterations: int
    min_inlier_ratio: float
    min_inliers: int


@dataclass(frozen=True)
class KnownPoseVerification:
    """Verification by the epipolar lines of known poses; ``max_error_px`` is the distance."""

    max_error_px: float


@dataclass(frozen=True)
class Triangulation:
    """Options of COLMAP's point triangulator."""

    min_matches: int
    create_max_angle_deg: float
    continue_max_angle_deg: float
    merge_max_error_px: float
    complete_max_error_px: float
    filter_max_error_px: float
    min_angle_deg: float
    ignore_two_view_tracks: bool
    max_refinements: int
    max_refinement_change: float


@dataclass(frozen=True)
class ImageRegistration:
    """Gates of COLMAP's image registrator."""

    max_error_px: float
    min_inliers: int
    min_inlier_ratio: float


@dataclass(frozen=True)
class PnpRegistration:
    """One absolute pose from the points of all retrieved images."""

    max_error_px: float
    confidence: float
    min_iterations: int
    max_iterations: int
    min_inlier_ratio: float
    min_inliers: int
    covisibility_clustering: bool


Verification = TwoViewVerification | KnownPoseVerification
Registration = ImageRegistration | PnpRegistration
_VERIFICATIONS = {"two-view": TwoViewVerification, "known-poses": KnownPoseVerification}
_REGISTRATIONS = {"image-registrator": ImageRegistration, "pnp": PnpRegistration}


@dataclass(frozen=True)
class AachenBenchmark:
    """The protocol."""

    protocol: str  # stem of the benchmark file
    name: str  # what a reader calls it
    # where keypoints count from when COLMAP sees them, which itself counts from the "corner" of the
    # top-left pixel: "own" is the method's own origin
    keypoint_origin: KeypointOrigin
    layout: Layout  # of the dataset
    complete: dict[str, int]  # counts of a full set: database, posed, pairs, and queries by split
    # how many covisible partners each database image is paired with; None takes the pairs of the
    # list
    covisible_pairs: int | None
    matcher: MatcherChoice  # the protocol's own
    dense: DenseSettings  # of matches without local features
    verification: Verification  # of matches
    triangulation: Triangulation  # of points
    registration: Registration  # of queries
    thresholds: dict[str, tuple[Threshold, ...]]  # by epoch; each list from fine to coarse
    overlaps: tuple[str, ...]  # what it measures on, see `d2eval.contracts.leaks`
    sha256: str  # of the protocol's numbers


def _strategy(kinds: dict[str, Any], table: dict[str, Any]) -> Any:
    options = dict(table)
    return kinds[options.pop("kind")](**options)


def load_benchmark(protocol: str = "aachen") -> AachenBenchmark:
    """Reads ``benchmarks/<protocol>.toml``."""
    file = load_protocol(protocol)
    content = file.content
    return AachenBenchmark(
        protocol=protocol,
        name=content["name"],
        keypoint_origin=content["keypoint_origin"],
        layout=Layout(**content["layout"]),
        complete=dict(content["complete"]),
        covisible_pairs=content.get("pairs", {}).get("covisible"),
        matcher=MatcherChoice.of_table(content["matcher"], f"benchmarks/{protocol}.toml"),
        dense=DenseSettings(**content["dense"]),
        verification=_strategy(_VERIFICATIONS, content["verification"]),
        triangulation=Triangulation(**content["triangulation"]),
        registration=_strategy(_REGISTRATIONS, content["registration"]),
        thresholds={
            epoch: tuple(Threshold(**entry) for entry in content["thresholds"][epoch])
            for epoch in sorted(content["thresholds"])
        },
        overlaps=file.overlaps,
        sha256=file.sha256,
    )
