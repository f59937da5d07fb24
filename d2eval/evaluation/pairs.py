"""Benchmarks of image pairs: they say which pairs there are, and what is measured of each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from d2eval.evaluation.benchmark import Evaluated, Request
from d2eval.evaluation.dataset import ImagePair, PairDataset
from d2eval.evaluation.pairs_shown import PairsShown
from d2eval.foundation.errors import D2EvalError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from d2eval.contracts.features import Features
    from d2eval.contracts.matcher import MatcherChoice
    from d2eval.contracts.matching import Matches
    from d2eval.evaluation.collection import Collected
    from d2eval.metrics.homography import FloatArray
    from d2eval.pipeline.extraction import FeatureSource
    from d2eval.pipeline.pairs import PairMatcher
    from d2eval.pipeline.resizing import Resize
    from d2eval.report.figures import Sources
    from d2eval.runs.folder import Row, RunName
    from d2eval.runs.measured import RunPlace
    from d2eval.scheduling.work import Parts


# Entries of the manifest, which an option would replace
RESERVED = {
    "schema", "benchmark", "version", "features", "matcher", "seed", "dataset", "label", "method",
    "weights", "leaks", "root", "extracted_now", "wall_seconds", "peak_memory_mib", "device",
    "command",
}  # fmt: skip


class PairsBenchmark(PairsShown):
    """A benchmark of image pairs: it says which pairs there are, and what a pair's numbers are.

    Attributes:
        version: raise it when a change changes numbers.
        shown: columns of the summary that are printed at the end -> their titles; empty: all.
        error_bins: rising ends of the kinds by which pictures colour matches.
        error_unit: of these, and of `errors`.
        of_features: numbers of a pair that say something of features, and nothing of matches of
            images.
    """

    version: ClassVar[int] = 1
    shown: ClassVar[Mapping[str, str]] = {}
    error_bins: ClassVar[Sequence[float]] = (1, 3, 5, 10)
    error_unit: ClassVar[str] = "px"
    takes_images = True
    of_features: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def load(self, root: Path, *, sample: bool = False) -> PairDataset:
        """The pairs in the folder ``root``."""

    @abstractmethod
    def score(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches, seed: int
    ) -> Row:
        """The numbers of a pair, by column; the same columns for every pair."""

    def summarize(self, rows: Sequence[Row], images: Sequence[Row]) -> list[Row]:
        """The rows of the summary: means over all pairs ("overall"), and over those of each split.

        Args:
            rows: one for each pair: ``split``, what it is of, and its numbers.
            images: one for each image: ``split``, ``features``, ``seconds``, ``peak_memory_mib``.
        """
        from d2eval.evaluation.summary import means

        return means(rows, images)

    def matcher(self) -> MatcherChoice:
        """What matches where the user names none."""
        from d2eval.contracts.matcher import MatcherChoice

        return MatcherChoice("mnn")

    def protocol(self) -> dict[str, Any]:
        """What of the protocol decides the numbers, for the manifest."""
        return {"version": self.version}

    def overlaps(self, dataset: PairDataset) -> Sequence[str]:
        """What data it measures on that weights may have seen, see `d2eval.contracts.leaks`.

        Of the sample none is asked for.
        """
        return ()

    def keyed_options(self) -> dict[str, Any]:
        """The options that decide the numbers, for the manifest."""
        keyed = [f.name for f in fields(self.options) if f.metadata.get("keyed", True)]
        return {name: asdict(self.options)[name] for name in keyed}

    @property
    def top_k(self) -> int | None:
        """How many features of an image are kept, of highest score; None: all."""
        return getattr(self.options, "top_k", None)

    @property
    def resize(self) -> Resize | None:
        """To which size images are brought before their features are extracted; None: as is."""
        return None

    def about(self, dataset: PairDataset) -> dict[str, Any]:
        """What else the manifest says."""
        return {}

    def words(self, request: Request) -> list[str | None]:
        """Method, matcher and options."""
        from d2eval.evaluation.naming import matcher_parts, method_parts, number_part

        assert request.method is not None  # noqa: S101 - needs_method
        return [
            *method_parts(request.method),
            *matcher_parts(request.matcher, self.matcher()),
            number_part("top", getattr(self.options, "top_k", None)),
            *self.option_words(),
        ]

    def option_words(self) -> list[str | None]:
        """Words for the options that choose among the data."""
        return []

    def run(self, dataset: PairDataset, request: Request, name: RunName) -> Evaluated:
        """Features and matches through the store, pair by pair; then the run's own files.

        These are written at the end, each complete or not at all, the manifest last.
        """
        from d2eval.contracts.leaks import leaks
        from d2eval.evaluation.collection import Collected, CollectedImages
        from d2eval.evaluation.summary import aligned
        from d2eval.foundation.machine.resources import measure
        from d2eval.runs.folder import run_folder, write_csv
        from d2eval.runs.manifest import circumstances, image_costs, write_manifest

        dataset.check()
        if taken := RESERVED & set(self.keyed_options()):
            raise D2EvalError(f"{self.name}: an option may not be called {min(taken)}")
        runtime = request.runtime
        source, matcher = self._open(request)
        request = self.planned(dataset, request, self._parts(source, matcher, dataset, request))
        kind = Collected if matcher else CollectedImages
        collected = kind(dataset, source, matcher, request, self.score, self.top_k)
        collected.of_features = self.of_features
        matched_by = matcher.headlines() if matcher else []
        request.tell(source.headline(), *matched_by, *dataset.lines)
        with run_folder(request.output / self.name, name) as place:
            place.claim(self._work(collected))
            with measure() as cost:
                collected.collect()
                lines = self.summarize(collected.rows, collected.images)
            work = self._work(collected, collected.hashes)
            folder = place.claim(work)
            described = work["features"]
            labels = {"dataset": dataset.completeness, "weights": described["weights"]["name"]}
            summary = [{"method": folder.name, **line, **labels} for line in lines]
            peaks = [cost.peak_memory_mib, *(i["peak_memory_mib"] for i in collected.images)]
            manifest = {
                **work,
                "label": folder.name,
                "method": described["method"],
                "weights": described["weights"],
                "leaks": leaks(work, () if request.sample else self.overlaps(dataset)),
                **self.about(dataset),
                "root": str(dataset.root),
                "extracted_now": source.extracted,
                "image_costs": image_costs(collected.costs, collected.descriptor_bytes),
                **circumstances(runtime.device, cost.seconds, peaks),
            }
            rows = [{**row, **labels} for row in collected.rows]
            write_csv(folder / "pairs.csv", rows)
            write_csv(folder / "summary.csv", summary)
            write_manifest(folder, manifest)
        said = f"{collected.said}; what was found is kept in {runtime.cache}"
        text = aligned(summary, self.shown)
        return Evaluated(folder, rows, summary, [*text, said], place.notes)

    def _open(self, request: Request) -> tuple[FeatureSource, PairMatcher | None]:
        """The features and what matches them; None where the method matches images."""
        from d2eval.pipeline.pairs import open_matcher
        from d2eval.pipeline.resizing import resized

        assert request.method is not None  # noqa: S101 - needs_method
        runtime = request.runtime
        source = request.method.open(runtime, request.name)
        if self.resize is not None:
            source = resized(source, self.resize)
        if request.method.matches_images:
            return source, None
        return source, open_matcher(request.matcher, self.matcher(), runtime, request.method.name)

    def parts(self, dataset: PairDataset, request: Request) -> Parts:
        """Features of images and matches of pairs."""
        return self._parts(*self._open(request), dataset, request)

    def _parts(
        self,
        source: FeatureSource,
        matcher: PairMatcher | None,
        dataset: PairDataset,
        request: Request,
    ) -> Parts:
        from d2eval.pipeline.sending import PairsParts
        from d2eval.pipeline.store import Store

        store = Store(request.runtime.cache, request.runtime.fresh)
        find = dataset.root.joinpath
        return PairsParts(source, matcher, find, store, self.top_k, request.workers)

    def errors(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches
    ) -> FloatArray | None:
        """(M,) the error of each match, for pictures; None where it isn't known."""
        return None

    def view(self, runs: Sequence[RunPlace], item: str, sources: Sources) -> Figure:
        """Both images, and the matches that are stored."""
        from d2eval.evaluation.pairs_view import draw_pair

        return draw_pair(self, runs, item, sources)

    def _work(
        self, collected: Collected, hashes: Mapping[Path, str] | None = None
    ) -> dict[str, Any]:
        """What two runs of the same work share; the images' content once it is known."""
        dataset = collected.dataset
        sizes = {path: str(path.stat().st_size) for path in dataset.images}
        data: dict[str, Any] = {
            "completeness": dataset.completeness,
            **dataset.counts,
            "outline": dataset.fingerprint(sizes),
        }
        if hashes is not None:
            data |= {
                "images": len(collected.images),
                "pairs": len(collected.rows),
                "fingerprint": dataset.fingerprint(hashes),
            }
        return {
            "benchmark": self.name,
            **self.protocol(),
            "features": collected.source.describe(),
            "matcher": collected.described_matcher(),
            **self.keyed_options(),
            "seed": collected.request.runtime.seed,
            "dataset": data,
        }
