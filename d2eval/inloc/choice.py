"""Which of a query's candidates is its answer, and how two methods' answers become one."""

import math
from collections.abc import Sequence
from dataclasses import replace

from d2eval.inloc.data.candidates import Candidate


def rerank(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates by falling score of the pose verification; equal ones keep their order.

    Without verification (NaN) nothing moves. Source: InLoc_demo, ht_top10_densePV_localization.
    """
    if all(math.isnan(candidate.pv_score) for candidate in candidates):
        return list(candidates)
    return sorted(candidates, key=lambda candidate: -candidate.pv_score)


def merge(first: Sequence[Candidate], second: Sequence[Candidate]) -> list[Candidate]:
    """Two lists of verified candidates of a query as one, best first ("InLoc + D2").

    The scores of the pose verification are summed over both lists for each cutout; of equal sums
    the cutout whose name comes first counts. Of a cutout that both have, the pose of higher score
    of its own is taken, the second list's if they are equal.

    ``first`` is from dense maps, ``second`` from sparse features.

    Source: the D2-Net authors' merge_files for InLoc, whose second list is the sparse one. It stops
    with an error where all scores are 0, which is no special case here.
    """
    totals: dict[str, float] = {}
    best: dict[str, Candidate] = {}
    for candidate in (*first, *second):
        totals[candidate.cutout] = totals.get(candidate.cutout, 0.0) + candidate.pv_score
        held = best.get(candidate.cutout)
        if held is None or candidate.pv_score >= held.pv_score:
            best[candidate.cutout] = candidate
    merged = [replace(best[cutout], score=total) for cutout, total in totals.items()]
    return sorted(merged, key=lambda candidate: (-candidate.score, candidate.cutout))
