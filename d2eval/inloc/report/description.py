"""What the report of InLoc says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2eval.inloc import columns
from d2eval.inloc.report import views
from d2eval.inloc.report.groups import (
    DEMO,
    FINER,
    FLOOR,
    FLOORS,
    FURTHER,
    HLOC,
    KINDS,
    PAPER,
    PAPERS,
    POOLED,
    PROTOCOLS,
    SAMPLE,
    Group,
    open_section,
    section_of,
)
from d2eval.inloc.report.site import REFERENCES, SITE, pooled
from d2eval.localization.columns import THRESHOLD, chosen
from d2eval.localization.description import (
    Cost,
    CurveRule,
    Errors,
    QueryPictures,
    Report,
    Words,
)
from d2eval.localization.groups import Kind, LocalizedRun, Section
from d2eval.localization.published import further_records, paper_records
from d2eval.localization.site import SiteResult
from d2eval.report.names import method_name
from d2eval.runs.columns import Column, names
from d2eval.runs.manifest import Manifest, entry
from d2eval.runs.results import Numbers
from d2eval.runs.rows import REMEDY, read_rows, reading

STRATEGIES = ("direct", "sparse", "pooled", "dense", "merge")
UNVERIFIED = "none"
# Strategy, and whether views verify the poses -> line style.
LINES = {
    ("direct", False): ":", ("direct", True): "-.",
    ("sparse", False): "-", ("sparse", True): "--",
    ("dense", False): "-", ("dense", True): "--",
    ("merge", True): "-.", ("merge", False): "-.",
    ("pooled", False): "-", ("pooled", True): "--",
}  # fmt: skip
WORDS = Words(
    heading="InLoc: the D2-Net paper's table",
    introduction=(
        "Localized queries in percent, by position error (smaller than the threshold) and rotation "
        "error. Numbers that were published, measured here and returned by the benchmark's site "
        "stand in columns of their own; numbers of another protocol, of one floor or at other "
        "thresholds in tables of their own. Intervals are Wilson's, of the measured percentages. A "
        "difference is in percentage points, from the published number. Where a table is too wide "
        "for a page, it goes on below."
    ),
    row="Row",
    posed="With a pose",
    sample="Embedded sample (not InLoc): not comparable with published numbers",
    paper=(
        "Published numbers as the paper prints them, from results/published/inloc.csv. It pools "
        "the 329 reference poses of both floors; a printed percentage stands for a count: 35.0 is "
        "115 of 329.",
        "Memory published is the paper's, of an image's features; measured is the mean size of "
        "what a run keeps of an image.",
    ),
    unscored=(
        "Runs without percentages had no reference poses, which the authors keep: submit their "
        "InLoc_*.txt file and add the answer with `d2eval import-result`."
    ),
    partial=(
        "Rows with a partial dataset lack images of the benchmark, or are of another place in "
        "its layout: they are no reproduction, and have no difference."
    ),
)
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


class InlocReport(Report[Group]):
    """InLoc's: sections by protocol and floor; rows by how poses are found and verified."""

    name = "inloc"
    group = Group
    site = SITE
    words = WORDS
    protocols = PROTOCOLS
    summary = columns.SUMMARY
    queries = columns.QUERIES
    posed = "posed"
    cost = Cost(
        "memory",
        "stored_mb",
        (
            Column("memory_published", "Memory published"),
            Column("stored_mb", "Memory measured", "{:.1f} MB".format),
        ),
    )
    flat = (
        "section", "row", "label", "strategy", "method", "verification", "protocol", "floor",
        "position_m", "rotation_deg", "published", "measured", "localized", "percent_low",
        "percent_high", "difference", "site", "site_difference", "queries", "posed",
        "memory_published", "stored_mb", "median_position_m", "median_rotation_deg",
    )  # fmt: skip
    rule = CurveRule(last_m=2.0, strict=True, one_angle=True)
    pictures = QueryPictures(
        views.FILE, "views", "runs with Dense PV leave them, and queries.csv has the names",
        views.query_names, views.plot_views,
    )  # fmt: skip
    always = (
        section_of(PAPER, PAPERS),
        *(section_of(FLOOR, Group(HLOC, floor)) for floor in FLOORS),
    )

    def is_known(self, group: Group) -> bool:
        """Whether there is such a floor."""
        return group.floor in FLOORS

    def kind_of(self, manifest: Manifest) -> Kind:
        """The strategy, what its features are and who verifies the poses."""
        row = entry(manifest.content, "row", dict)
        strategy = entry(row, "strategy", str)
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy is {strategy!r}; d2eval knows {', '.join(STRATEGIES)}")
        features = entry(row, "features", dict)
        own = entry(features, "sparse" if strategy == "merge" else strategy, dict)
        method, verification = entry(own, "method", str), entry(row, "verification", str)
        return Kind(method, manifest.matcher, strategy, verification)

    def name_of(self, kind: Kind) -> str:
        """As in the paper, or in its manner."""
        if paper := [label for label, own in KINDS.items() if own == kind]:
            return paper[0]
        method = method_name(kind.named)
        starts = {"merge": "InLoc + ", "pooled": ""}
        start = starts.get(kind.strategy, f"{kind.strategy.capitalize()} PE - ")
        verified = kind.verification != UNVERIFIED and kind.strategy != "merge"
        return start + method + (" + Dense PV" if verified else "")

    def published(self) -> list[Mapping[str, Any]]:
        """The paper's rows, then hloc's."""
        groups = [Group(HLOC, floor) for floor in FLOORS]
        kind = Kind("", "", "pooled", UNVERIFIED)
        return [
            *paper_records("inloc.csv", KINDS, PAPERS, self.cost.metric),
            *(r for group in groups for r in further_records("inloc_hloc.csv", group, kind)),
        ]

    def sections(self, run: LocalizedRun, group: Group, numbers: Numbers) -> Sequence[Section]:
        """One of the paper or beside it, one of finer thresholds; of the sample, one in all."""
        if run.is_sample:
            return [section_of(SAMPLE, group)] if group.floor == POOLED else []
        beside = open_section(group)
        of_paper = beside.kind == FURTHER and run.kind in KINDS.values()
        found = [section_of(PAPER, group) if of_paper else beside]
        if group.floor == POOLED and numbers.curve("localized"):
            found.append(section_of(FINER, group))
        return found

    def open_section(self, group: Group) -> Section:
        """Beside the paper's rows, or of one floor."""
        return open_section(group)

    def notes(self, section: Section, measured: bool) -> Sequence[str]:
        """The demo's faults, and what finer thresholds, the sample and hloc compare with."""
        notes, hloc = [], section.group.protocol == HLOC
        if measured and section.kind in (PAPER, FURTHER, SAMPLE) and not hloc:
            notes.append(KEPT if section.group.protocol == DEMO else MENDED)
        if section.kind == FINER:
            notes.append("Thresholds that nobody publishes: they tell precise methods apart.")
        if section.kind == SAMPLE:
            notes.append(
                "The embedded sample is a small building made for d2eval, not InLoc: these numbers "
                "never compare with published ones."
            )
        if hloc and section.kind not in (FINER, SAMPLE):
            notes.append(
                "Published numbers are on NetVLAD's top 20 and of an older hloc: no difference is "
                "shown, and none compares with the paper's protocol."
            )
        return notes

    def returned_note(self, section: Section) -> str | None:
        """How floors are pooled."""
        return POOLING if section.group.floor == POOLED else None

    def tells_reasons(self, section: Section) -> bool:
        """Not again at finer thresholds."""
        return section.kind != FINER

    def errors(self, folder: Path) -> Errors:
        """By floor, infinite without a pose and on a wrong floor."""
        path = folder / "queries.csv"
        where = chosen(self.queries, *names(THRESHOLD))
        found: dict[str, list[tuple[float, float]]] = {}
        with reading(path, REMEDY):
            for row in read_rows(path, [*chosen(self.queries, "name", "floor", "scored"), *where]):
                if row["scored"] == "1":
                    if row["floor"] not in FLOORS:
                        raise ValueError(f"{row['name']} is of floor {row['floor']!r}")
                    position, rotation = (float(column.value(row)) for column in where)
                    found.setdefault(row["floor"], []).append((position, rotation))
        return found

    def query_parts(self, group: Group, scored: bool) -> Sequence[str]:
        """The floor, or both; without references, no query is known to be of a floor."""
        if not scored:
            return [""]
        return [*FLOORS] if group.floor == POOLED else [group.floor]

    def line_of(self, kind: Kind) -> str | None:
        """How poses are found decides the line, the method the colour."""
        return LINES.get((kind.strategy, kind.verification != UNVERIFIED), "-")

    def further(
        self, returned: Sequence[SiteResult[Group]]
    ) -> tuple[list[SiteResult[Group]], list[str]]:
        """Both floors pooled."""
        return pooled(returned)


INLOC = InlocReport()
