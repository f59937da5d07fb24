"""What may stand in one table of InLoc: one protocol, floor, set of thresholds and kind."""

from collections.abc import Mapping
from dataclasses import dataclass

from d2eval.contracts.protocol import load_protocol
from d2eval.localization import groups
from d2eval.localization.groups import Kind, Section
from d2eval.metrics.poses import Threshold
from d2eval.runs.published import presentation

INLOC, DEMO, HLOC = "inloc", "inloc_demo", "inloc_hloc"  # stems of the benchmark files
_TITLES = presentation("inloc")
PROTOCOLS: Mapping[str, str] = _TITLES["protocols"]
POOLED = "all"  # both floors together, as in the paper
FLOORS: Mapping[str, str] = _TITLES["floors"]
# Kinds of sections: the rows of the paper's table, other rows beside it, one floor, thresholds
# that nobody publishes, the embedded sample. hloc's protocol has its pooled numbers in FLOOR too.
PAPER, FURTHER, FLOOR, FINER, SAMPLE = "paper", "further", "floor", "finer", "sample"
KINDS = {  # the paper's rows, by name
    row["label"]: Kind(row["method"], "", row["strategy"], row["verification"])
    for row in _TITLES["rows"]
}
_BEHIND = {INLOC: 0, DEMO: 10, HLOC: 20}
_RANKS = {PAPER: 0, FURTHER: 1, FLOOR: 2, FINER: 5, SAMPLE: 40}
_STEMS = {INLOC: "recall", DEMO: "recall_demo", HLOC: "recall_hloc"}


@dataclass(frozen=True)
class Group(groups.Group):
    """Queries whose numbers compare: those of one protocol and floor, or of both floors."""

    floor: str

    def __str__(self) -> str:
        return f"{PROTOCOLS[self.protocol]}, {FLOORS[self.floor]}"

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The thresholds of the protocol, from fine to coarse."""
        return _thresholds(self.protocol, "thresholds")

    @property
    def finer(self) -> tuple[Threshold, ...]:
        """Thresholds that nobody publishes."""
        return _thresholds(self.protocol, "further_thresholds")

    @property
    def measured(self) -> tuple[Threshold, ...]:
        """Both."""
        return (*self.thresholds, *self.finer)


def _thresholds(protocol: str, table: str) -> tuple[Threshold, ...]:
    return tuple(Threshold(**values) for values in load_protocol(protocol).content[table])


PAPERS = Group(INLOC, POOLED)  # what the paper's rows are of


def section_of(kind: str, group: Group) -> Section:
    """Where numbers of a group stand."""
    titles = {
        PAPER: "The paper's table ("
        + ("" if group.protocol == INLOC else f"{PROTOCOLS[group.protocol]}, ")
        + "both floors)",
        FURTHER: f"Further rows ({group})",
        FLOOR: str(group),
        FINER: f"Finer thresholds ({group})",
        SAMPLE: f"Embedded sample ({group})",
    }
    thresholds = {
        FINER: group.finer,
        SAMPLE: tuple(sorted(group.measured, key=lambda own: own.position_m)),
    }
    published = {PAPER: PAPERS, FLOOR: group if group.protocol == HLOC else None}
    stem = _STEMS[group.protocol] + ("_sample" if kind == SAMPLE else "")
    return Section(
        kind,
        group,
        titles[kind],
        # the paper's protocols first, then hloc's, then the sample
        (_BEHIND[group.protocol] + _RANKS[kind] + list(FLOORS).index(group.floor),),
        thresholds.get(kind, group.thresholds),
        published.get(kind),
        # hloc's published numbers are on other image pairs than a run's: no difference
        compares=kind == PAPER,
        submitted=kind not in (FINER, SAMPLE),
        figure=None if kind == FINER else stem,
        panel=str(group),
        always=kind == PAPER,
    )


def open_section(group: Group) -> Section:
    """Where numbers of a group stand that belong to no row of the paper's table."""
    beside = group.protocol in (INLOC, DEMO) and group.floor == POOLED
    return section_of(FURTHER if beside else FLOOR, group)
