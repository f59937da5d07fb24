"""What may stand in one table of InLoc: one protocol, floor, set of thresholds and kind."""

from collections.abc import Mapping
from dataclasses import dataclass

from d2eval.contracts.protocol import load_protocol
from d2eval.metrics.poses import Threshold
from d2eval.runs.published import presentation

INLOC, DEMO, HLOC = "inloc", "inloc_demo", "inloc_hloc"  # stems of the benchmark files
_TITLES = presentation("inloc")
PROTOCOLS: Mapping[str, str] = _TITLES["protocols"]
PAPERS = (INLOC, DEMO)  # protocols that the paper's table belongs to
POOLED = "all"  # both floors together, as in the paper
FLOORS: Mapping[str, str] = _TITLES["floors"]
PAPER, FURTHER, FLOOR, FINER, SAMPLE = "paper", "further", "floor", "finer", "sample"  # kinds
_BEHIND = {INLOC: 0, DEMO: 10, HLOC: 20}
_RANKS = {PAPER: 0, FURTHER: 1, FLOOR: 2, FINER: 5, SAMPLE: 40}


@dataclass(frozen=True)
class Group:
    """Queries whose numbers compare: those of one protocol and floor, or of both floors."""

    protocol: str
    floor: str

    def __str__(self) -> str:
        return f"{PROTOCOLS[self.protocol]}, {FLOORS[self.floor]}"


@dataclass(frozen=True)
class Section:
    """A table of its own.

    Attributes:
        kind: `PAPER` for the rows of the paper's table, `FURTHER` for other rows beside it,
            `FLOOR` for one floor, `FINER` for thresholds that nobody publishes, `SAMPLE` for the
            embedded sample. hloc's protocol has its pooled numbers in `FLOOR` too.
        group: what its rows share.
    """

    kind: str
    group: Group

    @property
    def title(self) -> str:
        """Its heading."""
        if self.kind == PAPER:
            whose = "" if self.group.protocol == INLOC else f"{PROTOCOLS[self.group.protocol]}, "
            return f"The paper's table ({whose}both floors)"
        if self.kind == FURTHER:
            return f"Further rows ({self.group})"
        if self.kind == FINER:
            return f"Finer thresholds ({self.group})"
        if self.kind == SAMPLE:
            return f"Embedded sample ({self.group})"
        return str(self.group)

    @property
    def rank(self) -> int:
        """Where it stands: the paper's protocols first, then hloc's, then the sample."""
        return (
            _BEHIND[self.group.protocol] + _RANKS[self.kind] + list(FLOORS).index(self.group.floor)
        )

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The thresholds of its columns, from fine to coarse."""
        if self.kind == SAMPLE:
            every = (*thresholds(self.group.protocol, True), *thresholds(self.group.protocol))
            return tuple(sorted(every, key=lambda threshold: threshold.position_m))
        return thresholds(self.group.protocol, self.kind == FINER)


def thresholds(protocol: str, finer: bool = False) -> tuple[Threshold, ...]:
    """The thresholds of a protocol, or the finer ones, from fine to coarse."""
    entries = load_protocol(protocol).content["further_thresholds" if finer else "thresholds"]
    return tuple(Threshold(**values) for values in entries)


def open_section(group: Group) -> Section:
    """Where numbers of a group stand that belong to no row of the paper's table."""
    if group.protocol in PAPERS and group.floor == POOLED:
        return Section(FURTHER, group)
    return Section(FLOOR, group)
