"""Which results of InLoc the benchmark's site returns: of each floor, never of both together."""

from collections.abc import Iterable, Mapping

from d2eval.inloc.report.groups import BOTH_FLOORS, PROTOCOLS, REFERENCES, Group
from d2eval.localization.site import SiteFormat, SiteResult
from d2eval.metrics.poses import Threshold

_ROUNDING = 0.05 + 1e-9  # the site shows one decimal


def make_group(protocol: str, floor: str) -> Group:
    """A group that the site reports.

    Raises:
        ValueError: there is no such protocol or floor.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    if floor not in REFERENCES:
        raise ValueError(f"floor is {floor!r}; the site reports {' and '.join(REFERENCES)}")
    return Group(protocol, floor)


SITE = SiteFormat(Group, make_group, lambda _: 0)


def pooled(results: Iterable[SiteResult[Group]]) -> tuple[list[SiteResult[Group]], list[str]]:
    """What the results of both floors amount to, for each submission that has both.

    The paper pools the floors. A submission whose percentages are no counts of `REFERENCES`, to
    the site's rounding, is left out.

    Returns:
        The results, and notes for the user on what was left out.
    """
    by_run: dict[tuple[str, str, str], dict[str, SiteResult[Group]]] = {}
    for result in results:
        key = (result.method, result.label, result.group.protocol)
        by_run.setdefault(key, {})[result.group.floor] = result
    made, notes = [], []
    for (method, label, protocol), floors in by_run.items():
        if set(floors) != set(REFERENCES):
            continue
        percent = _pooled_percent(floors)
        if percent is not None:
            sources = dict.fromkeys(result.source for result in floors.values())
            source = f"{' and '.join(sources)}; pooled here from {' and '.join(floors)}"
            date = max(result.date for result in floors.values())
            group = Group(protocol, BOTH_FLOORS)
            made.append(SiteResult(method, label, group, percent, source, date))
        else:
            counts = " and ".join(map(str, REFERENCES.values()))
            notes.append(
                f"{label}: the site's percentages are no counts of {counts} reference poses, so "
                "the floors aren't pooled"
            )
    return made, notes


def _pooled_percent(floors: Mapping[str, SiteResult[Group]]) -> dict[Threshold, float] | None:
    percent = {}
    for threshold in next(iter(floors.values())).percent:
        total = 0
        for floor, references in REFERENCES.items():
            said = floors[floor].percent[threshold]
            count = round(said * references / 100)
            if abs(100 * count / references - said) > _ROUNDING:
                return None
            total += count
        percent[threshold] = 100 * total / sum(REFERENCES.values())
    return percent
