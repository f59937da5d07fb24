"""What may stand in one table or panel of Aachen: one protocol, epoch and split, and one kind."""

from collections.abc import Mapping
from dataclasses import dataclass

from d2eval.contracts.protocol import load_protocol
from d2eval.localization import groups
from d2eval.localization.groups import Section
from d2eval.localization.site import SiteFormat
from d2eval.metrics.poses import Threshold
from d2eval.runs.published import presentation

CHALLENGE, HLOC = "aachen", "aachen_hloc"
_TITLES = presentation("aachen")
PROTOCOLS: Mapping[str, str] = _TITLES["protocols"]  # by stem of the benchmark file
SPLITS: Mapping[str, str] = _TITLES["splits"]
BENCHMARK, HOLDOUT, SAMPLE = "benchmark", "holdout", "sample"  # kinds of sections
_REPORTED = ("day", "night")  # splits, by the site
_UNREPORTED = {"2019": 1}  # how many of the coarsest thresholds the site never reported


@dataclass(frozen=True)
class Group(groups.Group):
    """Numbers that compare: those of one protocol, epoch of the ground truth, and split."""

    epoch: str
    split: str

    def __str__(self) -> str:
        return f"{PROTOCOLS[self.protocol]}, {SPLITS[self.split]}, epoch {self.epoch}"

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The thresholds of its epoch, from fine to coarse."""
        entries = load_protocol(self.protocol).content["thresholds"][self.epoch]
        return tuple(Threshold(**values) for values in entries)

    @property
    def is_known(self) -> bool:
        """Whether the protocol has the epoch, and there is such a split."""
        return self.epoch in epochs(self.protocol) and self.split in SPLITS


PAPER = Group(CHALLENGE, "2019", "night")
PUBLISHED = {  # groups with published numbers, and the files that have them
    PAPER: "aachen.csv",
    Group(CHALLENGE, "2020", "night"): "aachen_2020.csv",
    Group(HLOC, "2020", "night"): "aachen_hloc.csv",
    Group(HLOC, "2020", "day"): "aachen_hloc.csv",
}


def epochs(protocol: str) -> list[str]:
    """The epochs of a protocol's ground truth, oldest first."""
    return sorted(load_protocol(protocol).content["thresholds"])


_SAMPLE_NOTE = (
    "The embedded sample is a small scene made for d2eval, not Aachen: these numbers never compare "
    "with published ones."
)
_HOLDOUT_NOTE = (
    "Database images held out from a smaller database stand for queries: these numbers compare "
    "with nothing published."
)
_HLOC_NOTE = (
    "Published numbers are on pairs of NetVLAD's top 30 and of an older hloc: no difference is "
    "shown, and none compares with the challenge's."
)
_SCORED_NOTE = (
    "Measured percentages hold for the reference poses that were given, at the epoch's "
    "thresholds; the benchmark's own ground truth is known to the site alone."
)


def section_of(kind: str, group: Group) -> Section:
    """Where numbers of a group stand.

    ``kind`` is `BENCHMARK`, `HOLDOUT` (held-out database images stand for queries) or `SAMPLE`.
    """
    own, title = kind == BENCHMARK, _title(kind, group)
    notes = {SAMPLE: _SAMPLE_NOTE, HOLDOUT: _HOLDOUT_NOTE}
    note = notes.get(kind, _HLOC_NOTE if group.protocol == HLOC else "")
    return Section(
        kind,
        group,
        title,
        _rank(kind, group),
        group.thresholds,
        published=group if own else None,
        is_paper=own and group == PAPER,
        # hloc's published numbers are on other image pairs (NetVLAD) than the challenge's
        compares=own and group.protocol == CHALLENGE,
        submitted=own,
        figure="recall_sample" if kind == SAMPLE else "recall",
        panel=title,
        notes=(note,) if note else (),
        scored_note=_SCORED_NOTE if own else "",
    )


def _title(kind: str, group: Group) -> str:
    protocol, split = PROTOCOLS[group.protocol], SPLITS[group.split]
    if kind == SAMPLE:
        return f"Embedded sample ({group})"
    if kind == HOLDOUT:
        return f"Holdout ({group})"
    if group == PAPER:
        return f"The paper's table ({group})"
    if group.protocol != CHALLENGE:
        return f"{protocol} ({split}, epoch {group.epoch})"
    if group.split == "night":
        return f"Epoch {group.epoch} ({protocol}, {split})"
    return f"{split.capitalize()} ({protocol}, epoch {group.epoch})"


def _rank(kind: str, group: Group) -> tuple[int, ...]:
    """Published first, then day, holdout, v1.1 and the sample."""
    by_kind = {SAMPLE: 5, HOLDOUT: 3}
    by_protocol = {"aachen_v1_1": 4, "aachen_v1_1_hloc": 4, HLOC: 1}
    challenge = 0 if group.split == "night" else 2
    return (
        by_kind.get(kind, by_protocol.get(group.protocol, challenge)),
        list(PROTOCOLS).index(group.protocol),
        list(SPLITS).index(group.split),
        epochs(group.protocol).index(group.epoch),
    )


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
    if split not in _REPORTED:
        raise ValueError(f"split is {split!r}; the site reports {' and '.join(_REPORTED)}")
    return Group(protocol, epoch, split)


SITE = SiteFormat(Group, make_group, lambda group: _UNREPORTED.get(group.epoch, 0))
