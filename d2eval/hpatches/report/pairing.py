"""Which pairs of HPatches belong together, and what of them is compared."""

from d2eval.evaluation.pairing import Compared, Pairing
from d2eval.hpatches.protocol import HPatchesBenchmark
from d2eval.metrics.bootstrap import Statistic
from d2eval.runs.published import presentation


def pairing(benchmark: HPatchesBenchmark) -> Pairing:
    """Whole sequences are drawn; all numbers of a pair but counts of features are compared."""
    shown = presentation("hpatches")["table"]["thresholds_px"]
    return Pairing(
        "sequence",
        [
            *(
                Compared(f"mma_{t}px", f"mma_{t}px", f"MMA@{t}px", shown=t in shown)
                for t in benchmark.thresholds_px
            ),
            Compared("mean_matches", "matches"),
            Compared("mean_correct_matches", "correct_matches", shown=False),
            *(Compared(name, name) for name in ("matching_score", "repeatability")),
            *(
                Compared(f"h_accuracy_{t}px", f"h_accuracy_{t}px", shown=False)
                for t in benchmark.corner_error_px
            ),
            *(
                Compared(f"h_auc_{t}px", "corner_error_px", f"homography AUC@{t}px", Statistic(t))
                for t in benchmark.corner_error_px
            ),
        ],
        "mma_3px",
    )
