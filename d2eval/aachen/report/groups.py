"""What may stand in one table or panel of Aachen: one protocol, epoch and split, and one kind."""

from collections.abc import Mapping
from dataclasses import dataclass

from d2eval.contracts.protocol import load_protocol
from d2eval.metrics.poses import Threshold
from d2eval.runs.published import presentation

CHALLENGE = "aachen"
_TITLES = presentation("aachen")
PROTOCOLS: Mapping[str, str] = _TITLES["protocols"]  # by stem of the benchmark file
SPLITS: Mapping[str, str] = _TITLES["splits"]
BENCHMARK, HOLDOUT, SAMPLE = "benchmark", "holdout", "sample"  # kinds of sections


@dataclass(frozen=True)
class Group:
    """Numbers that compare: those of one protocol, epoch of the ground truth, and split."""

    protocol: str
    epoch: str
    split: str

    def __str__(self) -> str:
        return f"{PROTOCOLS[self.protocol]}, {SPLITS[self.split]}, epoch {self.epoch}"


@dataclass(frozen=True)
class Section:
    """A table of its own: a group, and whether the runs are on the benchmark's own queries.

    Attributes:
        kind: `BENCHMARK`, `HOLDOUT` (held-out database images stand for queries) or `SAMPLE`.
        group: what its rows share.
    """

    kind: str
    group: Group

    @property
    def title(self) -> str:
        """Its heading."""
        group = self.group
        protocol, split = PROTOCOLS[group.protocol], SPLITS[group.split]
        if self == PAPER:
            return f"The paper's table ({group})"
        if self.kind == SAMPLE:
            return f"Embedded sample ({group})"
        if self.kind == HOLDOUT:
            return f"Holdout ({group})"
        if group.protocol != CHALLENGE:
            return f"{protocol} ({split}, epoch {group.epoch})"
        if group.split == "night":
            return f"Epoch {group.epoch} ({protocol}, {split})"
        return f"{split.capitalize()} ({protocol}, epoch {group.epoch})"

    @property
    def rank(self) -> tuple[int, ...]:
        """Where it stands: published first, then day, holdout, v1.1 and the sample."""
        group = self.group
        by_kind = {SAMPLE: 5, HOLDOUT: 3}
        by_protocol = {"aachen_v1_1": 4, "aachen_hloc": 1}
        challenge = 0 if group.split == "night" else 2
        return (
            by_kind.get(self.kind, by_protocol.get(group.protocol, challenge)),
            list(PROTOCOLS).index(group.protocol),
            list(SPLITS).index(group.split),
            epochs(group.protocol).index(group.epoch),
        )


PAPER = Section(BENCHMARK, Group(CHALLENGE, "2019", "night"))


def epochs(protocol: str) -> list[str]:
    """The epochs of a protocol's ground truth, oldest first."""
    return sorted(load_protocol(protocol).content["thresholds"])


def thresholds(protocol: str, epoch: str) -> tuple[Threshold, ...]:
    """The thresholds of an epoch, from fine to coarse."""
    entries = load_protocol(protocol).content["thresholds"][epoch]
    return tuple(Threshold(**values) for values in entries)
