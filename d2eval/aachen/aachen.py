"""Aachen Day-Night as a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from d2eval.contracts.options import option
from d2eval.contracts.registry import DENSE_NETWORK
from d2eval.evaluation.benchmark import Checked, Evaluated, Request
from d2eval.foundation.errors import D2EvalError
from d2eval.localization.benchmark import LocalizationBenchmark
from d2eval.localization.reasons import summary_lines, without_pose

if TYPE_CHECKING:
    from d2eval.aachen.data.dataset import Dataset
    from d2eval.aachen.matching import Matching
    from d2eval.aachen.parts import AachenParts
    from d2eval.localization.description import Report
    from d2eval.localization.groups import Kind
    from d2eval.pipeline.maps import DenseChoice
    from d2eval.pipeline.store import Store
    from d2eval.runs.folder import Row, RunName
    from d2eval.scheduling.work import Parts

STRATEGIES = ("sparse", "dense")
DENSE_SFM = "dense_sfm"  # how rows and runs of dense maps are called
PROTOCOLS = ("aachen", "aachen_v1_1", "aachen_hloc", "aachen_v1_1_hloc")  # benchmarks/<name>.toml


@dataclass(frozen=True)
class AachenOptions:
    """What is chosen beside the method.

    Raises:
        D2EvalError: a number is out of range.
    """

    protocol: str = option(
        "aachen", "the challenge on v1 or v1.1, or hloc's protocol on either", choices=PROTOCOLS
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
    nearest_pose: bool = option(
        False,
        "give a query that can't be localized the pose of the first database image that was "
        "retrieved for it, as hloc does without clustering (only with hloc's protocols)",
    )
    holdout: int | None = option(
        None, "hold out N database images, and register them instead of the queries", metavar="N"
    )
    strategy: str = option(
        "sparse",
        "how images are matched: by local features, or by dense maps coarse to fine (DenseSfM)",
        choices=STRATEGIES,
    )
    dense_network: str = option(
        DENSE_NETWORK, "whose maps the strategy dense matches", metavar="NAME"
    )
    dense_weights: str = option(
        "bundled",
        "its weights: bundled (a stand-in for NetVLAD's), or a path, e.g. Pitts30K_struct.mat",
        metavar="FILE",
    )
    dense_cell: int | None = option(
        None, "side of a keypoint's cell, in cells of the fine map (default: 1)", metavar="N"
    )
    dense_max_matches: int | None = option(
        None, "most dense matches of a pair (default: 0, all)", metavar="N"
    )

    def __post_init__(self) -> None:
        if self.holdout is not None and self.holdout < 1:
            raise D2EvalError("--holdout must be 1 or more")


class Aachen(LocalizationBenchmark):
    """Evaluates a method on Aachen Day-Night: triangulates the database images, registers queries.

    With --strategy dense, dense maps matched coarse to fine take the place of local features.
    With reference poses (--reference-poses, or reference_poses.txt in the dataset) the queries are
    scored here; without, the submission file for visuallocalization.net is written, and
    import-result brings the site's numbers back. Without --data it runs on a small embedded sample,
    whose numbers compare with nothing published. Writes queries.csv, summary.csv, stages.csv,
    manifest.json, the COLMAP model, the submission and a table under OUTPUT/aachen/RUN/.
    """

    name = "aachen"
    papers = (
        "dusmanu2019d2net", "sattler2018benchmarking", "sattler2012image", "zhang2021reference",
        "schoenberger2016sfm",
    )  # fmt: skip
    Options = AachenOptions
    needs_method = False
    matcher_default = "the protocol's, mnn; dense maps take none"
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
  python -m d2eval aachen --data AACHEN --strategy dense
  python -m d2eval aachen --method d2_ss --help      # with the method's own options
"""

    def __init__(self, options: AachenOptions | None = None) -> None:
        from d2eval.aachen.protocol import PnpRegistration, load_benchmark

        super().__init__(options)
        self.numbers = load_benchmark(self.options.protocol)
        if self.options.nearest_pose and not isinstance(self.numbers.registration, PnpRegistration):
            raise D2EvalError(
                f"--nearest-pose: {self.options.protocol} registers images as COLMAP does; choose "
                "one of hloc's protocols"
            )
        given = {"cell": self.options.dense_cell, "max_matches": self.options.dense_max_matches}
        self.dense = replace(
            self.numbers.dense, **{name: n for name, n in given.items() if n is not None}
        )

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
        from d2eval.aachen.data.check import check

        return check(root, self.numbers)

    def sample(self, cache: Path) -> Path:
        """A rendered square in daylight and at night."""
        from d2eval.sample.aachen import make_aachen_sample

        return make_aachen_sample(cache)

    def words(self, request: Request) -> list[str | None]:
        """Method, matcher or network, protocol, files and numbers.

        Raises:
            D2EvalError: local features without a method, or dense maps with one or with a matcher.
        """
        from d2eval.evaluation import naming

        chosen = self.options
        return [
            *self._matching_words(request),
            naming.protocol_part(chosen.protocol, "aachen"),
            naming.file_part(chosen.pairs),
            naming.file_part(chosen.reference_poses),
            "nearest-pose" if chosen.nearest_pose else None,
            naming.number_part("holdout", chosen.holdout),
        ]

    def _matching_words(self, request: Request) -> list[str | None]:
        """What matches images."""
        from d2eval.evaluation import naming

        if self.options.strategy == "sparse":
            if request.method is None:
                raise D2EvalError("--strategy sparse takes local features: name a --method")
            matcher = naming.matcher_parts(request.matcher, self.numbers.matcher)
            return [*naming.method_parts(request.method), *matcher]
        if request.method or request.matcher:
            raise D2EvalError(
                f"{'--method' if request.method else '--matcher'}: strategy dense matches maps, "
                "not features; leave it out"
            )
        usual = asdict(self.numbers.dense)
        numbers = [naming.number_part(n, own, usual[n]) for n, own in asdict(self.dense).items()]
        return [DENSE_SFM, *naming.maps_parts(self._dense()), *numbers]

    def _dense(self) -> DenseChoice:
        from d2eval.pipeline.maps import DenseChoice

        return DenseChoice(self.options.dense_network, {"weights": self.options.dense_weights})

    def _open(self, dataset: Dataset, request: Request, store: Store) -> Matching:
        """What matches images, from the method or the network that was chosen."""
        from d2eval.aachen.dense import DenseMatching
        from d2eval.aachen.matching import FeatureMatching
        from d2eval.pipeline.maps import MapsSource
        from d2eval.pipeline.pairs import open_matcher

        runtime, method = request.runtime, request.method
        if method is None:
            files = {name: dataset.images_folder / name for name in dataset.images}
            maps = MapsSource(*self._dense().open(runtime), store, files, runtime.device)
            return DenseMatching(maps, self.dense, runtime.device)
        matcher = open_matcher(request.matcher, self.numbers.matcher, runtime, method.name)
        return FeatureMatching(method.open(runtime, request.name), matcher)

    def run(self, dataset: Dataset, request: Request, name: RunName) -> Evaluated:
        """Features, matches, verification, triangulation, registration, scores."""
        from d2eval.aachen.run import Settings, run
        from d2eval.pipeline.store import Store

        runtime = request.runtime
        store = Store(runtime.cache, runtime.fresh)
        matching = self._open(dataset, request, store)
        request.tell(
            *matching.headlines(),
            f"{self.numbers.name} {dataset.completeness}: {len(dataset.poses)} database images "
            f"with a pose, {len(dataset.queries)} queries, {len(dataset.pairs)} pairs",
        )
        parts = self._parts(matching, dataset, request, store)
        request = self.planned(dataset, request, parts)
        settings = Settings(
            runtime.seed, runtime.device, request.workers, self.options.holdout,
            self.options.nearest_pose, request.executor, runtime.threads,
        )  # fmt: skip
        result = run(matching, dataset, self.numbers, store, request.output, settings, name)
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

    def parts(self, dataset: Dataset, request: Request) -> Parts:
        """Features of images, matches and geometries of pairs."""
        from d2eval.pipeline.store import Store

        store = Store(request.runtime.cache, request.runtime.fresh)
        return self._parts(self._open(dataset, request, store), dataset, request, store)

    def _parts(
        self, matching: Matching, dataset: Dataset, request: Request, store: Store
    ) -> AachenParts:
        from d2eval.aachen.parts import AachenParts

        runtime = request.runtime
        return AachenParts(
            matching, dataset, self.numbers, store, request.workers, runtime.seed, runtime.threads
        )

    def row_options(self, kind: Kind) -> Sequence[str]:
        """A method, or dense maps."""
        if kind.method == DENSE_SFM:
            return ["--strategy", "dense"]
        return ["--method", kind.method]

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
            if value is not None and name not in ("stage", "seconds", "peak_memory_mib")
        ]
        text = ", ".join(counts).replace("_", " ")
        lines.append(f"{row['stage']:>13}  {row['seconds']:7.1f} s  {text}")
    return lines
