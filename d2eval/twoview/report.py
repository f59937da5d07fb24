"""Which two-view runs belong together, and how they compare."""

from d2eval.evaluation.pairing import Compared, Pairing
from d2eval.evaluation.pairs_runs import PairsRun
from d2eval.metrics.bootstrap import Statistic
from d2eval.runs.manifest import load_manifest
from d2eval.runs.measured import Run
from d2eval.twoview.protocol import TwoViewProtocol
from d2eval.twoview.scores import ERROR, INLIERS, epipolar_column

NAME = "twoview"


def protocol_of(run: Run) -> str:
    """Which protocol a run is of, and whether it was on pairs of the user's instead of its own."""
    assert isinstance(run, PairsRun)  # noqa: S101 - what runs of pairs are read as
    content = load_manifest(run.folder, NAME).content
    own = content["dataset"]["own_pairs"] and not run.is_sample
    return f"{content['protocol']}{'-own_pairs' if own else ''}"


def pairing(protocol: TwoViewProtocol) -> Pairing:
    """Whole scenes are drawn. Where a pair has several estimates, only matches are compared."""
    limits = protocol.errors.thresholds_deg
    return Pairing(
        "scene",
        [
            *(Compared(f"auc_{t}deg", ERROR, f"pose AUC@{t} deg", Statistic(t)) for t in limits),
            Compared("mean_inliers", INLIERS),
            *(
                Compared(column, column)
                for column in map(epipolar_column, protocol.errors.epipolar)
            ),
            Compared("mean_matches", "matches"),
        ],
        ERROR,
    )
