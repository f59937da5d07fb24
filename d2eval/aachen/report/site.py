"""Which results of Aachen the benchmark's site returns."""

from collections.abc import Sequence

from d2eval.aachen.report.groups import PROTOCOLS, Group, epochs, thresholds
from d2eval.localization.localized import site_percents
from d2eval.localization.site import SiteFormat
from d2eval.metrics.poses import Threshold

SPLITS = ("day", "night")
UNREPORTED = {"2019": 1}  # how many of the coarsest thresholds the site never reported


def make_group(protocol: str, epoch: str, split: str) -> Group:
    """A group that the site reports.

    Raises:
        ValueError: there is no such protocol, epoch of it, or split.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    if epoch not in epochs(protocol):
        raise ValueError(
            f"epoch is {epoch!r}; protocol {protocol} has {' and '.join(epochs(protocol))}"
        )
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; the site reports {' and '.join(SPLITS)}")
    return Group(protocol, epoch, split)


def percents(values: Sequence[str], group: Group) -> dict[Threshold, float]:
    """The percentages as the site shows them, by threshold.

    Args:
        values: a number each, or several joined by slashes ("44.9 / 66.3 / 88.8").
        group: what they are of.

    Raises:
        ValueError: their count is not the group's, one is no percentage, or they fall.
    """
    wanted = thresholds(group.protocol, group.epoch)
    least = len(wanted) - UNREPORTED.get(group.epoch, 0)
    return site_percents(values, wanted, least, f"epoch {group.epoch}")


SITE = SiteFormat(("protocol", "epoch", "split"), make_group, percents)
