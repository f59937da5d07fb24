"""What the report of InLoc says."""

from collections.abc import Sequence

from d2eval.inloc import columns
from d2eval.inloc.report import views
from d2eval.inloc.report.groups import (
    BOTH_FLOORS,
    FINER,
    FLOOR,
    FLOORS,
    FURTHER,
    HLOC,
    KINDS,
    PAPER,
    PAPERS,
    PROTOCOLS,
    SAMPLE,
    Group,
    open_section,
    section_of,
)
from d2eval.inloc.report.site import SITE, pooled
from d2eval.inloc.strategies import STRATEGIES
from d2eval.localization.description import Cost, CurveRule, Published, QueryPictures, Report, Words
from d2eval.localization.groups import Kind, LocalizedRun, Section
from d2eval.localization.site import SiteResult
from d2eval.report.names import method_name
from d2eval.runs.columns import Column
from d2eval.runs.manifest import Manifest, entry
from d2eval.runs.results import Numbers

UNVERIFIED = "none"
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


class InlocReport(Report[Group]):
    """InLoc's: sections by protocol and floor; rows by how poses are found and verified."""

    name = "inloc"
    group = Group
    site = SITE
    words = WORDS
    protocols = PROTOCOLS
    query_parts = FLOORS
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
        views.FILE, "runs with --dense-pv leave it, those that ship are rows alone", views.draw
    )
    published = (
        Published("inloc.csv", PAPERS, KINDS),
        *(
            Published("inloc_hloc.csv", Group(HLOC, floor), kind=Kind("", "", "pooled", UNVERIFIED))
            for floor in FLOORS
        ),
    )
    always = (
        section_of(PAPER, PAPERS),
        *(section_of(FLOOR, Group(HLOC, floor)) for floor in FLOORS),
    )

    def kind_of(self, manifest: Manifest) -> Kind:
        """The strategy, what its features are and who verifies the poses."""
        row = entry(manifest.content, "row", dict)
        strategy = entry(row, "strategy", str)
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy is {strategy!r}; d2eval knows {', '.join(STRATEGIES)}")
        features = entry(row, "features", dict)
        own = entry(features, STRATEGIES[strategy].parts[-1].name, dict)
        method, verification = entry(own, "method", str), entry(row, "verification", str)
        return Kind(method, manifest.matcher, strategy, verification)

    def name_of(self, kind: Kind) -> str:
        """As in the paper, or in its manner."""
        if paper := [label for label, own in KINDS.items() if own == kind]:
            return paper[0]
        strategy = STRATEGIES[kind.strategy]
        name = strategy.title.format(method_name(kind.named))
        return strategy.named(name, " + Dense PV", kind.verification != UNVERIFIED)

    def sections(self, run: LocalizedRun, group: Group, numbers: Numbers) -> Sequence[Section]:
        """One of the paper or beside it, one of finer thresholds; of the sample, one in all."""
        if run.is_sample:
            return [section_of(SAMPLE, group)] if group.floor == BOTH_FLOORS else []
        beside = open_section(group)
        of_paper = beside.kind == FURTHER and run.kind in KINDS.values()
        found = [section_of(PAPER, group) if of_paper else beside]
        if group.floor == BOTH_FLOORS and numbers.curve("localized"):
            found.append(section_of(FINER, group))
        return found

    def open_section(self, group: Group) -> Section:
        """Beside the paper's rows, or of one floor."""
        return open_section(group)

    def line_of(self, kind: Kind) -> str | None:
        """How poses are found decides the line, the method the colour."""
        strategy = STRATEGIES.get(kind.strategy)  # not known of what was submitted alone
        return strategy.lines[kind.verification != UNVERIFIED] if strategy else "-"

    def further(
        self, returned: Sequence[SiteResult[Group]]
    ) -> tuple[list[SiteResult[Group]], list[str]]:
        """Both floors pooled."""
        return pooled(returned)


INLOC = InlocReport()
