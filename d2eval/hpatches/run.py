"""A whole run: features, matches, rows, summary and manifest of one method on a dataset."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from d2eval.foundation.machine.resources import measure
from d2eval.foundation.terminal.progress import progress
from d2eval.hpatches.benchmark import HPatchesBenchmark
from d2eval.hpatches.dataset import Dataset, Sequence, fingerprint, pairs
from d2eval.hpatches.evaluation import Row, evaluate_pair, summarize
from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.pairs import PairMatcher, match_features
from d2eval.pipeline.store import Store, StoredFeatures
from d2eval.runs.folder import RunName, run_folder, write_csv
from d2eval.runs.manifest import environment, write_manifest

NAME = "hpatches"


@dataclass(frozen=True)
class Settings:
    """The choices of a run that belong neither to the method nor to the protocol.

    Attributes:
        top_k: keep the features of highest score only; None keeps all.
        seed: of the homography estimation.
        device: for the manifest.
        workers: threads that read and write while features are extracted.
    """

    top_k: int | None = None
    seed: int = 0
    device: str = "cpu"
    workers: int = 1


@dataclass(frozen=True)
class Collected:
    """Rows of the pairs, one record for each image, and the images' SHA-256."""

    rows: list[Row]
    images: list[Row]
    hashes: dict[Path, str]


@dataclass(frozen=True)
class RunResult:
    """Where a run lies and what it found.

    Attributes:
        folder: holds pairs.csv, summary.csv and manifest.json.
        summary: the rows of summary.csv.
        extracted: images whose features were not in the store.
        notes: for the user, on runs of other work that are there.
    """

    folder: Path
    summary: list[Row]
    extracted: int
    notes: tuple[str, ...]


def _evaluate_sequence(
    sequence: Sequence,
    stored: list[StoredFeatures],
    store: Store,
    benchmark: HPatchesBenchmark,
    matcher: PairMatcher,
    settings: Settings,
) -> Iterator[Row]:
    for k, homography in pairs(sequence):
        first, other = stored[0], stored[k - 1]
        matches = match_features(first, other, store, matcher, settings.top_k)
        numbers = evaluate_pair(
            first.features, other.features, matches, homography, benchmark, settings.seed
        )  # fmt: skip
        yield {
            "sequence": sequence.name,
            "image": k,
            "split": sequence.split,
            **numbers,
            "seconds_1": first.cost.seconds,
            "seconds_k": other.cost.seconds,
            "peak_memory_mb_1": first.cost.peak_memory_mb,
            "peak_memory_mb_k": other.cost.peak_memory_mb,
        }


def _collect(
    source: FeatureSource,
    matcher: PairMatcher,
    dataset: Dataset,
    benchmark: HPatchesBenchmark,
    store: Store,
    settings: Settings,
) -> Collected:
    """Features and matches of every sequence, through the store; rows of every pair."""
    collected = Collected([], [], {})
    stored: list[StoredFeatures] = []
    sequences = [sequence for sequence in dataset.sequences for _ in sequence.images]
    items = [(p, f"{s.name}/{p.name}") for s in dataset.sequences for p in s.images]
    found = features_of_images(source, items, settings.workers)
    what = f"{source.label}: features, matches, scores"
    done = progress(zip(sequences, found, strict=True), what, len(items))
    for sequence, (image, unit) in done:
        collected.hashes[image.path] = image.sha256
        unit = replace(unit, features=unit.features.top_k(settings.top_k))
        stored.append(unit)
        collected.images.append(
            {
                "split": sequence.split,
                "features": len(unit.features),
                "seconds": unit.cost.seconds,
                "peak_memory_mb": unit.cost.peak_memory_mb,
            }
        )
        if len(stored) == len(sequence.images):
            collected.rows.extend(
                _evaluate_sequence(sequence, stored, store, benchmark, matcher, settings)
            )
            stored = []
    return collected


def _work(
    source: FeatureSource,
    matcher: PairMatcher,
    dataset: Dataset,
    benchmark: HPatchesBenchmark,
    settings: Settings,
    collected: Collected | None = None,
) -> dict[str, Any]:
    """What two runs of the same work share, as far as it is known before images are read."""
    sizes = {p: str(p.stat().st_size) for s in dataset.sequences for p in s.images}
    data: dict[str, Any] = {
        "completeness": dataset.completeness,
        "sequences": len(dataset.sequences),
        "outline": fingerprint(dataset, sizes),
    }
    if collected is not None:
        data |= {
            "images": len(collected.images),
            "pairs": len(collected.rows),
            "fingerprint": fingerprint(dataset, collected.hashes),
        }
    return {
        "benchmark": NAME,
        "protocol_sha256": benchmark.sha256,
        "features": source.describe(),
        "matcher": matcher.describe(),
        "top_k": settings.top_k,
        "seed": settings.seed,
        "dataset": data,
    }


def run(
    source: FeatureSource,
    matcher: PairMatcher,
    dataset: Dataset,
    benchmark: HPatchesBenchmark,
    store: Store,
    output: Path,
    settings: Settings,
    name: RunName | None = None,
) -> RunResult:
    """Evaluates ``source`` on ``dataset`` and writes ``output/hpatches/<label>/``.

    Features and matches go through ``store`` as they are made, so a run that was killed goes on
    where it stopped. The run's own files are written at the end, each complete or not at all.

    Args:
        source: of the features.
        matcher: of them.
        dataset: the sequences.
        benchmark: the protocol.
        store: keeps features and matches.
        output: folder of runs.
        settings: further choices.
        name: of the run; None: the source's label.

    Raises:
        D2EvalError: a broken image, features that break the contract, a full disk, another run
            that writes the same folder, or a name that was given to other work before.
    """
    with run_folder(output / NAME, name or RunName(source.label)) as place:
        work = _work(source, matcher, dataset, benchmark, settings)
        place.claim(work)
        with measure() as cost:
            collected = _collect(source, matcher, dataset, benchmark, store, settings)
            lines = summarize(collected.rows, collected.images, benchmark)
        work = _work(source, matcher, dataset, benchmark, settings, collected)
        folder = place.claim(work)
        described = work["features"]
        labels = {
            "dataset": dataset.completeness,
            "weights": described["weights"]["name"],
        }
        summary = [{"method": folder.name, **line, **labels} for line in lines]
        memory = [i["peak_memory_mb"] for i in collected.images]
        manifest = {
            **work,
            "label": folder.name,
            "method": described["method"],
            "weights": described["weights"],
            "excluded": list(dataset.excluded),
            "root": str(dataset.root),
            "extracted_now": source.extracted,
            "wall_seconds": round(cost.seconds, 3),
            "peak_memory_mb": round(
                max([cost.peak_memory_mb, *(m for m in memory if not math.isnan(m))]), 1
            ),
            **environment(settings.device),
        }
        write_csv(folder / "pairs.csv", [{**row, **labels} for row in collected.rows])
        write_csv(folder / "summary.csv", summary)
        write_manifest(folder, manifest)
    return RunResult(folder, summary, source.extracted, tuple(place.notes))
