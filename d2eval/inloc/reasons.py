"""Why a query has no pose, from the counts of the candidate that would have been its answer."""

from collections.abc import Mapping

from d2eval.inloc.benchmark import InlocBenchmark
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Dataset
from d2eval.inloc.poses.p3p import SAMPLE
from d2eval.localization.reasons import shortage

NO_IMAGE, NO_CUTOUT = "no image of the query is there", "no cutout was retrieved"


def reasons(
    dataset: Dataset,
    chosen: Mapping[str, Candidate | None],
    benchmark: InlocBenchmark,
    strategy: str,
) -> dict[str, str]:
    """In words, for each query without a pose.

    Args:
        dataset: of the run.
        chosen: the final candidate of each query; None, or no entry, is a failure.
        benchmark: says how much is needed.
        strategy: "sparse", "direct", "pooled", "dense" or "merge".
    """
    found = {}
    for name in {*dataset.queries, *dataset.references}:
        candidate = chosen.get(name)
        if candidate is not None and candidate.pose is not None:
            continue
        if name not in dataset.queries:
            found[name] = NO_IMAGE
        elif candidate is not None:
            found[name] = _shortage(candidate, benchmark, strategy)
        elif strategy == "pooled" and dataset.retrieval.get(name):
            least = benchmark.strategy("pooled")["min_matches"]
            found[name] = f"too few matches: no cutout has {least}"
        else:
            found[name] = NO_CUTOUT
    return found


def _shortage(candidate: Candidate, benchmark: InlocBenchmark, strategy: str) -> str:
    needed = SAMPLE
    if strategy == "pooled":
        needed = benchmark.strategy("pooled")["min_inliers"]
    steps = [("matches", candidate.matches, needed)]
    if strategy in ("sparse", "dense"):  # a homography needs more inliers than this
        enough = benchmark.strategy(strategy)["min_inliers"] + 1
        steps = [("matches", candidate.matches, enough)]
        steps.append(("verified matches", candidate.verified, enough))
    elif strategy == "merge":
        steps.append(("verified matches", candidate.verified, needed))
    steps.append(("matches with depth", candidate.points, needed))
    steps.append(("inliers", candidate.inliers, needed))
    return shortage(steps)
