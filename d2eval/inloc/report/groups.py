"""What may stand in one table of InLoc: one protocol, floor, set of thresholds and kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from d2eval.contracts.protocol import load_protocol
from d2eval.inloc.columns import BOTH_FLOORS
from d2eval.localization import groups
from d2eval.localization.groups import Kind, Section
from d2eval.metrics.poses import Threshold
from d2eval.runs.published import presentation

INLOC, DEMO, HLOC = "inloc", "inloc_demo", "inloc_hloc"  # stems of the benchmark files
_TITLES = presentation("inloc")
PROTOCOLS: Mapping[str, str] = _TITLES["protocols"]
FLOORS: Mapping[str, str] = _TITLES["floors"]
# Kinds of sections: the rows of the paper's table, other rows beside it, one floor, thresholds
# that nobody publishes, the embedded sample. hloc's protocol has its pooled numbers in FLOOR too.
PAPER, FURTHER, FLOOR, FINER, SAMPLE = "paper", "further", "floor", "finer", "sample"
KINDS = {  # the paper's rows, by name
    row["label"]: Kind(row["method"], "", row["strategy"], row["verification"])
    for row in _TITLES["rows"]
}
# Reference poses of each floor, 329 in all. The authors keep them; all percentages that the site
# has returned are counts of so many.
REFERENCES = {"DUC1": 198, "DUC2": 131}
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
    def is_known(self) -> bool:
        """Whether there is such a floor."""
        return self.floor in FLOORS

    def query_parts(self, scored: bool) -> Sequence[str]:
        """The floor, or both; without references, no query is known to be of a floor."""
        if not scored:
            return [""]
        return [*FLOORS] if self.floor == BOTH_FLOORS else [self.floor]

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


FAULTS = (
    "InLoc's demo, which the published numbers are from, gives every P3P solution of a sample the "
    "rotation of the first (P3PSolver.m:15) and leaves the null vector out of Dense PE's minimal "
    "homographies (at_ransacH4.m:51)"
)
MENDED = f"{FAULTS}. Rows measured here do neither; `--protocol inloc_demo` measures with both."
KEPT = f"{FAULTS}. Rows measured here do so too; benchmarks/inloc_demo.toml has all that differs."
POOLING = (
    "The site reports each floor. Both together are pooled here by the number of reference poses, "
    + " and ".join(f"{count} on {floor}" for floor, count in REFERENCES.items())
    + ", which its percentages are counts of."
)
_NOTES = {
    FINER: "Thresholds that nobody publishes: they tell precise methods apart.",
    SAMPLE: (
        "The embedded sample is a small building made for d2eval, not InLoc: these numbers never "
        "compare with published ones."
    ),
}
_HLOC_NOTE = (
    "Published numbers are on NetVLAD's top 20 and of an older hloc: no difference is shown, and "
    "none compares with the paper's protocol."
)
PAPERS = Group(INLOC, BOTH_FLOORS)  # what the paper's rows are of


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
    note = _NOTES.get(kind, _HLOC_NOTE if group.protocol == HLOC else "")
    faults = {INLOC: MENDED, DEMO: KEPT} if kind in (PAPER, FURTHER, SAMPLE) else {}
    stem = _STEMS[group.protocol] + ("_sample" if kind == SAMPLE else "")
    return Section(
        kind,
        group,
        titles[kind],
        # the paper's protocols first, then hloc's, then the sample
        (_BEHIND[group.protocol] + _RANKS[kind] + list(FLOORS).index(group.floor),),
        thresholds.get(kind, group.thresholds),
        published.get(kind),
        is_paper=kind == PAPER,
        # hloc's published numbers are on other image pairs than a run's: no difference
        compares=kind == PAPER,
        submitted=kind not in (FINER, SAMPLE),
        figure=None if kind == FINER else stem,
        panel=str(group),
        notes=(note,) if note else (),
        measured_note=faults.get(group.protocol, ""),
        returned_note=POOLING if group.floor == BOTH_FLOORS else "",
    )


def open_section(group: Group) -> Section:
    """Where numbers of a group stand that belong to no row of the paper's table."""
    beside = group.protocol in (INLOC, DEMO) and group.floor == BOTH_FLOORS
    return section_of(FURTHER if beside else FLOOR, group)
