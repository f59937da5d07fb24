"""Aachen Day-Night as a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from d2eval.contracts.options import option
from d2eval.evaluation.benchmark import Checked, Evaluated, Request
from d2eval.foundation.errors import D2EvalError
from d2eval.localization.benchmark import LocalizationBenchmark
from d2eval.localization.reasons import summary_lines, without_pose

if TYPE_CHECKING:
    from d2eval.aachen.data.dataset import Dataset
    from d2eval.localization.description import Report
    from d2eval.runs.folder import Row, RunName

PROTOCOLS = ("aachen", "aachen_v1_1", "aachen_hloc")  # benchmarks/<name>.toml


@dataclass(frozen=True)
class AachenOptions:
    """What is chosen beside the method.

    Raises:
        D2EvalError: a number is out of range.
    """

    protocol: str = option(
        "aachen", "the challenge on v1 or v1.1, or hloc's protocol on v1", choices=PROTOCOLS
    )
    reference_poses: Path | None = option(
        None,
        "poses of the queries, lines `name qw qx qy qz tx ty tz` "
        "(default: reference_poses.txt in the dataset, if it is there)",
        metavar="FILE",
    )
    pairs: Path | None = option(
        None,
        "pair list instead of the dataset's: pairs of database images and retrieved ones",
        metavar="FILE",
    )
    holdout: int | None = option(
        None, "hold out N database images, and register them instead of the queries", metavar="N"
    )

    def __post_init__(self) -> None:
        if self.holdout is not None and self.holdout < 1:
            raise D2EvalError("--holdout must be 1 or more")


class Aachen(LocalizationBenchmark):
    """Evaluates a method on Aachen Day-Night: triangulates the database images, registers queries.

    With reference poses (--reference-poses, or reference_poses.txt in the dataset) the queries are
    scored here; without, the submission file for visuallocalization.net is written, and
    import-result brings the site's numbers back. Without --data it runs on a small embedded sample,
    whose numbers compare with nothing published. Writes queries.csv, summary.csv, stages.csv,
    manifest.json, the COLMAP model, the submission and a table under OUTPUT/aachen/RUN/.
    """

    name = "aachen"
    Options = AachenOptions
    site_parts: ClassVar[Mapping[str, tuple[str | None, str]]] = {
        "epoch": (None, "of the ground truth, 2019 or 2020"),
        "split": ("night", "night or day"),
    }
    examples = """examples:
  python -m d2eval aachen --method d2_ss
  python -m d2eval aachen --method d2_ms --data AACHEN
  python -m d2eval aachen --method rootsift --data AACHEN --holdout 100 --name rootsift_holdout
  python -m d2eval aachen --method d2_ss --data AACHEN --protocol aachen_hloc --name d2_ss_hloc \\
      --pairs pairs-covis20-netvlad30.txt
  python -m d2eval aachen --method d2_ss --help      # with the method's own options
"""

    def __init__(self, options: AachenOptions | None = None) -> None:
        from d2eval.aachen.protocol import load_benchmark

        super().__init__(options)
        self.numbers = load_benchmark(self.options.protocol)

    def load(self, root: Path, *, sample: bool = False) -> Dataset:
        """Database images, poses, queries and pairs, checked against each other."""
        from d2eval.aachen.data.covisibility import with_covisible_pairs
        from d2eval.aachen.data.dataset import load_dataset
        from d2eval.aachen.data.holdout import hold_out
        from d2eval.foundation.terminal.progress import Progress

        chosen = self.options
        with Progress("reading the dataset"):
            dataset = load_dataset(root, self.numbers, sample, chosen.reference_poses, chosen.pairs)
        if self.numbers.covisible_pairs and chosen.pairs is None:
            model = root / self.numbers.layout.model
            dataset = with_covisible_pairs(dataset, model, self.numbers.covisible_pairs)
        return hold_out(dataset, chosen.holdout) if chosen.holdout else dataset

    def check(self, root: Path) -> Checked:
        """Reads every file and compares them with each other; of the images, the headers."""
        from d2eval.aachen.data.check import check, describe

        found = check(root, self.numbers)
        head = f"{self.numbers.name} in {root}: {found.completeness}"
        sound = "the files fit each other, and the images have the sizes of their intrinsics"
        return Checked([head, *describe(found, self.numbers)], found.problems, sound)

    def sample(self, cache: Path) -> Path:
        """A rendered square in daylight and at night."""
        from d2eval.sample.aachen import make_aachen_sample

        return make_aachen_sample(cache)

    def words(self, request: Request) -> list[str | None]:
        """Method, matcher, protocol, files and numbers."""
        from d2eval.evaluation import naming

        assert request.method is not None  # noqa: S101 - needs_method
        chosen = self.options
        return [
            *naming.method_parts(request.method),
            *naming.matcher_parts(request.matcher, self.numbers.matcher),
            naming.protocol_part(chosen.protocol, "aachen"),
            naming.file_part(chosen.pairs),
            naming.file_part(chosen.reference_poses),
            naming.number_part("holdout", chosen.holdout),
            naming.data_part(request.sample),
            naming.number_part("seed", request.runtime.seed, 0),
        ]

    def run(self, dataset: Dataset, request: Request, name: RunName) -> Evaluated:
        """Features, matches, verification, triangulation, registration, scores."""
        from d2eval.aachen.run import Settings, run
        from d2eval.pipeline.pairs import open_matcher
        from d2eval.pipeline.store import Store

        assert request.method is not None  # noqa: S101 - needs_method
        runtime = request.runtime
        matcher = open_matcher(request.matcher, self.numbers.matcher, runtime, request.method.name)
        source = request.method.open(runtime, request.name)
        request.tell(
            source.headline(),
            *matcher.headlines(),
            f"{self.numbers.name} {dataset.completeness}: {len(dataset.poses)} database images "
            f"with a pose, {len(dataset.queries)} queries, {len(dataset.pairs)} pairs",
        )
        settings = Settings(runtime.seed, runtime.device, request.workers, self.options.holdout)
        store = Store(runtime.cache, runtime.fresh)
        result = run(source, matcher, dataset, self.numbers, store, request.output, settings, name)
        lines = [
            *stage_lines(result.stages),
            *summary_lines(
                result.summary,
                lambda row: (
                    f"{row['split']:>8}  epoch {row['epoch']}  "
                    f"{row['registered']}/{row['queries']} registered"
                ),
                scored=bool(dataset.references),
            ),
            *without_pose(result.queries, "registered"),
            f"extracted {result.extracted} images; finished work is kept in {runtime.cache}",
        ]
        if not dataset.references:
            file = result.folder / f"Aachen_eval_{result.folder.name}.txt"
            lines.append(f"no reference poses: submit {file} to visuallocalization.net")
        return Evaluated(result.folder, result.queries, result.summary, lines, result.notes)

    def description(self) -> Report[Any]:
        """The D2-Net paper's table, and what stands beside it."""
        from d2eval.aachen.report.description import AACHEN

        return AACHEN


def stage_lines(stages: Sequence[Row]) -> list[str]:
    """A line for each stage: what it left, and its seconds."""
    lines = []
    for row in stages:
        counts = [
            f"{value:.4g} {name}" if isinstance(value, float) else f"{value} {name}"
            for name, value in row.items()
            if value is not None and name not in ("stage", "seconds", "peak_memory_mb")
        ]
        text = ", ".join(counts).replace("_", " ")
        lines.append(f"{row['stage']:>13}  {row['seconds']:7.1f} s  {text}")
    return lines
