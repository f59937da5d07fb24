"""The homography protocols, ``benchmarks/homography.toml`` and what extends it, as typed values."""

from dataclasses import dataclass

from d2eval.contracts.protocol import load_protocol
from d2eval.evaluation.estimates import EstimateProtocol, Variants, check_numbers, shared_entries
from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.homography_ransac import HomographyRansac


@dataclass(frozen=True)
class CornerErrors:
    """What is said of homographies.

    Attributes:
        thresholds_px: of accuracy and AUC of the mean corner error.
        corners: "size": (0, 0) to (w, h); "last": to (w - 1, h - 1).
        per_side_px: errors are of images whose second's shorter side is so long; 0: as they are.
        failure: what a pair without a homography counts: "infinite", or "origin": as if all corners
            came to (0, 0).
    """

    thresholds_px: list
    corners: str
    per_side_px: int
    failure: str

    def __post_init__(self) -> None:
        check_numbers("thresholds_px", self.thresholds_px)
        for name, choices in (("corners", ("size", "last")), ("failure", ("infinite", "origin"))):
            if (value := getattr(self, name)) not in choices:
                raise D2EvalError(f"{name} = {value!r}; choose from {', '.join(choices)}")


@dataclass(frozen=True)
class HomographyProtocol(EstimateProtocol):
    """The numbers of a protocol."""

    excluded: tuple[str, ...]  # sequences that are left out
    images_per_sequence: int  # image 1 is matched to each of the others
    complete: dict[str, int]  # sequences of a complete set, by split "i" and "v"
    estimator: HomographyRansac
    errors: CornerErrors

    @property
    def variants(self) -> Variants:
        """The estimates of each pair."""
        return Variants(self.estimator.thresholds_px, self.repeats)


def load_homographies(protocol: str) -> HomographyProtocol:
    """Reads ``benchmarks/<protocol>.toml``, or a file of the user's whose path it is.

    Raises:
        D2EvalError: it is missing or broken, or no homography protocol.
    """
    file = load_protocol(protocol)
    return HomographyProtocol(
        **shared_entries(file),
        excluded=tuple(file.value("excluded", list)),
        images_per_sequence=file.value("images_per_sequence", int),
        complete=file.value("complete", dict),
        estimator=file.table("estimator", HomographyRansac),
        errors=file.table("errors", CornerErrors),
    )
