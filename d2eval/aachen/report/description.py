"""What the report of Aachen Day-Night says."""

from collections.abc import Sequence
from pathlib import Path

from d2eval.aachen import columns
from d2eval.aachen.report import matches
from d2eval.aachen.report.groups import (
    BENCHMARK,
    HOLDOUT,
    PAPER,
    PROTOCOLS,
    PUBLISHED,
    SAMPLE,
    SITE,
    SPLITS,
    Group,
    section_of,
)
from d2eval.aachen.report.topview import MODEL, plot_topview
from d2eval.localization.description import Cost, CurveRule, Published, QueryPictures, Report, Words
from d2eval.localization.groups import Kind, LocalizedRun, Section
from d2eval.report.names import method_name
from d2eval.report.tables import paper_count
from d2eval.runs.columns import Column
from d2eval.runs.manifest import Manifest, entry
from d2eval.runs.measured import SHIPPED_RUNS
from d2eval.runs.published import presentation
from d2eval.runs.results import Numbers

WORDS = Words(
    heading="Aachen Day-Night: the D2-Net paper's table",
    introduction=(
        "Localized queries in percent, by position and rotation error. Numbers that were "
        "published, measured here and returned by the benchmark's site stand in columns of their "
        "own; numbers of another epoch of the ground truth, protocol or set of queries in tables "
        "of their own. Intervals are Wilson's, of the measured percentages. A difference is in "
        "percentage points, from the published number. Where a table is too wide for a page, it "
        "goes on below."
    ),
    row="Method",
    posed="Registered",
    sample="Embedded sample (not Aachen): not comparable with published numbers",
    paper=(
        "Published numbers as the paper prints them, from results/published/aachen.csv. With 98 "
        "night queries a printed percentage stands for a count: 72.5 is 71 of 98 (72.449 %), "
        "rounded twice.",
        "The site never reported the fourth threshold; its ground truth changed in June 2020, so "
        "that none of these numbers compares with epoch 2020's.",
    ),
    unscored=(
        "Runs without percentages had no reference poses, which the benchmark keeps to itself: "
        "submit their Aachen_eval file and add the answer with `d2eval import-result`."
    ),
    partial=(
        "Rows with a partial dataset lack images or pairs of the benchmark, or are of another "
        "place in its layout: they are no reproduction, and have no difference."
    ),
)


KINDS = {row: Kind(method) for row, method in presentation("aachen")["rows"].items()}


class AachenReport(Report[Group]):
    """Aachen's: sections by epoch of the ground truth, split and protocol."""

    name = "aachen"
    group = Group
    site = SITE
    words = WORDS
    protocols = PROTOCOLS
    query_parts = SPLITS
    summary = columns.SUMMARY
    queries = columns.QUERIES
    posed = "registered"
    cost = Cost(
        "features",
        "mean_features",
        (
            Column("features_published", "Features published"),
            Column("features_measured", "Features measured", paper_count),
        ),
    )
    extra = (Column("holdout", "Held out", about=True),)
    flat = (
        "section", "row", "method", "label", "protocol", "epoch", "split", "position_m",
        "rotation_deg", "published", "measured", "localized", "percent_low", "percent_high",
        "difference", "site", "site_difference", "queries", "registered", "features_published",
        "features_measured", "median_position_m", "median_rotation_deg", "holdout",
    )  # fmt: skip
    rule = CurveRule(last_m=10.0, strict=False, one_angle=False)
    pictures = QueryPictures(
        matches.FILE, "runs that ship are rows alone: evaluate again to have it", matches.draw
    )
    published = tuple(
        Published(file, group, KINDS if group == PAPER else None)
        for group, file in PUBLISHED.items()
    )
    always = tuple(section_of(BENCHMARK, group) for group in PUBLISHED)

    def kind_of(self, manifest: Manifest) -> Kind:
        """The method and its matcher."""
        entry(manifest.content, "holdout", int, type(None))
        return Kind(manifest.method, manifest.matcher)

    def name_of(self, kind: Kind) -> str:
        """As the paper calls the method."""
        return method_name(kind.named)

    def addition(self, run: LocalizedRun) -> str:
        """That lost queries have the pose of a database image."""
        return ", nearest pose where lost" if run.manifest.get("nearest_pose") else ""

    def sections(self, run: LocalizedRun, group: Group, numbers: Numbers) -> Sequence[Section]:
        """One of the benchmark, of held-out images or of the sample."""
        if run.is_sample:
            return [section_of(SAMPLE, group)]
        # Night queries of a run with held-out images saw a smaller database than everyone else's.
        held_out = run.holdout is not None or group.split == "holdout"
        return [section_of(HOLDOUT if held_out else BENCHMARK, group)]

    def open_section(self, group: Group) -> Section:
        """The benchmark's."""
        return section_of(BENCHMARK, group)

    def plot_run(self, run: LocalizedRun, output: Path) -> tuple[list[Path], list[str]]:
        """The run from above."""
        pictures = plot_topview(run, output)
        if pictures or run.folder.is_relative_to(SHIPPED_RUNS):  # those are rows alone
            return pictures, []
        return [], [f"{run.folder}: no {MODEL}/, so no view from above"]


AACHEN = AachenReport()
