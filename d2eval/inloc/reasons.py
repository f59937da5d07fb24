"""Why a query has no pose, from the counts of the candidate that would have been its answer."""

from collections.abc import Mapping

from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Dataset
from d2eval.inloc.protocol import InlocBenchmark
from d2eval.inloc.strategies import Needed, Strategy
from d2eval.localization.reasons import shortage

NO_IMAGE, NO_CUTOUT = "no image of the query is there", "no cutout was retrieved"


def reasons(
    dataset: Dataset,
    chosen: Mapping[str, Candidate | None],
    benchmark: InlocBenchmark,
    strategy: Strategy,
) -> dict[str, str]:
    """In words, for each query without a pose.

    ``chosen`` is the final candidate of each query; None, or no entry, is a failure.
    """
    found = {}
    for name in {*dataset.queries, *dataset.references}:
        candidate = chosen.get(name)
        if candidate is not None and candidate.pose is not None:
            continue
        if name not in dataset.queries:
            found[name] = NO_IMAGE
        elif candidate is not None:
            found[name] = _shortage(candidate, strategy.needed(benchmark))
        else:
            retrieved = dataset.retrieval.get(name)
            found[name] = (retrieved and strategy.without_candidate(benchmark)) or NO_CUTOUT
    return found


def _shortage(candidate: Candidate, needed: Needed) -> str:
    steps = [("matches", candidate.matches, needed.matches)]
    if needed.verified is not None:
        steps.append(("verified matches", candidate.verified, needed.verified))
    steps.append(("matches with depth", candidate.points, needed.inliers))
    steps.append(("inliers", candidate.inliers, needed.inliers))
    return shortage(steps)
