"""A whole run: features, candidates of every query, verified poses, scores, outputs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.images.decoding import load_image_file
from d2eval.foundation.machine.resources import Cost, measure
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.benchmark import InlocBenchmark
from d2eval.inloc.choice import merge, rerank
from d2eval.inloc.columns import CANDIDATES, QUERIES, STAGES, SUMMARY
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Database3D, Dataset
from d2eval.inloc.data.files import scan_of
from d2eval.inloc.data.fingerprint import fingerprint
from d2eval.inloc.data.records import candidate_rows, from_records, to_records
from d2eval.inloc.pictures import FILE as VIEWS
from d2eval.inloc.pictures import write_views
from d2eval.inloc.poses.estimators import Estimator, ImageRecord
from d2eval.inloc.reasons import reasons
from d2eval.inloc.scores import query_rows, submission, summarize
from d2eval.inloc.verification.dense_pv import DensePVSettings, verify_pose
from d2eval.inloc.verification.imresize import shrink
from d2eval.inloc.verification.render import scaled_intrinsics
from d2eval.pipeline.pairs import PairMatcher
from d2eval.pipeline.store import Store
from d2eval.runs.folder import Row, RunName, run_folder, write_csv
from d2eval.runs.manifest import environment, write_manifest

NAME = "inloc"
VERSION = 2  # raise it when a change of the code changes verified poses
MEGA = 1e6


@dataclass(frozen=True)
class InlocRow:
    """What a run measures.

    Attributes:
        name: of the run, its folder and rows.
        strategy: "sparse", "direct", "pooled", "dense" or "merge".
        estimators: one, or the two whose candidates are merged, by the name of their strategy.
        verified: whether Dense PV judges the poses; always for "merge".
        describe: what decides the features of each estimator, for the manifest.
        matcher: of local features; None where only maps are matched.
        headlines: lines that say what the features are made with.
    """

    name: RunName
    strategy: str
    estimators: Mapping[str, Estimator]
    verified: bool
    describe: Mapping[str, Callable[[], Mapping[str, Any]]]
    matcher: PairMatcher | None
    headlines: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """The choices of a run that belong neither to the method nor to the protocol.

    Attributes:
        seed: of the pose estimation.
        device: where views are rendered.
        workers: threads that read and write while features are extracted.
    """

    seed: int = 0
    device: str = "cpu"
    workers: int = 1


@dataclass(frozen=True)
class RunResult:
    """Where a run lies and what it found.

    Attributes:
        folder: holds queries.csv, candidates.csv, summary.csv, stages.csv, manifest.json.
        summary: the rows of summary.csv.
        queries: the rows of queries.csv.
        stages: the rows of stages.csv.
        notes: for the user, on runs of other work that are there.
    """

    folder: Path
    summary: list[Row]
    queries: list[Row]
    stages: list[Row]
    notes: tuple[str, ...]


def _verify(
    query: str,
    candidates: Sequence[Candidate],
    dataset: Dataset,
    spatial: Database3D,
    settings: DensePVSettings,
    device: str,
) -> list[Candidate]:
    image = load_image_file(dataset.queries[query]).decode()
    camera = dataset.query_camera(query, (image.shape[1], image.shape[0]))
    small, K = shrink(image, settings.scale), scaled_intrinsics(camera, settings.scale)
    verified = []
    for candidate in candidates:
        scan = spatial.scan(*scan_of(candidate.cutout))
        score = verify_pose(small, scan, K, candidate.pose, settings, device).score
        verified.append(replace(candidate, pv_score=score))
    return rerank(verified)


class _Candidates:
    """Candidates of one estimator, through the store."""

    def __init__(
        self,
        estimator: Estimator,
        dataset: Dataset,
        spatial: Database3D,
        benchmark: InlocBenchmark,
        store: Store,
        settings: Settings,
    ) -> None:
        self.estimator, self.dataset, self.spatial = estimator, dataset, spatial
        self.benchmark, self.store, self.settings = benchmark, store, settings

    def candidates(self, query: str) -> list[Candidate]:
        """Stored, or estimated now."""
        path = self.store.unit_path("poses", self.estimator.content(query))
        record = self.store.read_record(path)
        if record is not None:
            return from_records(record)
        found = self.estimator.candidates(query)
        self.store.write_record(path, to_records(found))
        return found

    def verified(self, query: str, candidates: Sequence[Candidate]) -> list[Candidate]:
        """With scores of Dense PV, best first; stored, or rendered now."""
        settings = DensePVSettings(**self.benchmark.strategy("dense_pv"))
        scans = [self.dataset.scans.get(scan_of(c.cutout)) for c in candidates]
        states = [path.stat() for path in scans if path is not None]
        content = [
            VERSION, asdict(settings), self.estimator.content(query), to_records(candidates),
            [[state.st_size, state.st_mtime_ns] for state in states],
        ]  # fmt: skip
        path = self.store.unit_path("poses", content)
        record = self.store.read_record(path)
        if record is not None:
            return from_records(record)
        found = _verify(
            query, candidates, self.dataset, self.spatial, settings, self.settings.device
        )
        self.store.write_record(path, to_records(found))
        return found


def _stage(name: str, cost: Cost, **counts: Any) -> Row:
    columns = ("images", "features", "stored_mb", "queries", "candidates", "posed")
    return {
        "stage": name, **dict.fromkeys(columns), **counts,
        "seconds": cost.seconds, "peak_memory_mb": cost.peak_memory_mb,
    }  # fmt: skip


def _run_estimator(
    name: str, found_by: _Candidates, verified: bool, stages: list[Row]
) -> tuple[dict[str, list[Candidate]], dict[str, ImageRecord]]:
    queries = list(found_by.dataset.queries)
    with measure() as cost:
        found_by.estimator.prepare(found_by.settings.workers)
    stages.append(_stage(f"{name} features", cost))
    with measure() as cost:
        listed = progress(queries, f"{name}: poses")
        found = {query: found_by.candidates(query) for query in listed}
    images = found_by.estimator.images()
    stages[-1] |= {
        "images": len(images),
        "features": sum(image.features for image in images.values()),
        "stored_mb": sum(i.stored_bytes for i in images.values()) / len(images) / MEGA,
    }
    everything = [candidate for listed in found.values() for candidate in listed]
    posed = sum(candidate.pose is not None for candidate in everything)
    counts = {"queries": len(found), "candidates": len(everything), "posed": posed}
    stages.append(_stage(f"{name} poses", cost, **counts))
    if not posed:
        raise D2EvalError(
            f"{name}: no pose for any of {len(found)} queries: {len(everything)} candidates with "
            f"{sum(c.matches for c in everything)} matches, {sum(c.verified for c in everything)} "
            f"verified, {sum(c.points for c in everything)} with depth; check that retrieval, "
            "features and depth belong together"
        )
    if verified:
        with measure() as cost:
            verifying = progress(found.items(), f"{name}: verification by views")
            found = {query: found_by.verified(query, own) for query, own in verifying}
        stages.append(_stage(f"{name} verification", cost, **counts))
    return found, images


def run(
    row: InlocRow,
    dataset: Dataset,
    benchmark: InlocBenchmark,
    store: Store,
    output: Path,
    settings: Settings,
) -> RunResult:
    """Measures ``row`` on ``dataset`` and writes ``output/inloc/<label>/``.

    Features, matches, candidates and verified poses go through the store as they are made, so a
    run that was killed goes on where it stopped. The run's own files are written at the end, each
    complete or not at all, and the manifest last.

    Raises:
        D2EvalError: a broken file, no retrieval, no pose at all, a full disk, another run that
            writes the same folder, or a name that was given to other work before.
    """
    if not any(dataset.retrieval.get(query) for query in dataset.queries):
        raise D2EvalError(
            f"{dataset.root}: no retrieved cutouts for any query; give --retrieval a list or "
            "--global-retrieval"
        )
    stages: list[Row] = []
    spatial = Database3D(dataset)
    with run_folder(output / NAME, row.name) as place:
        place.claim(_work(row, dataset, benchmark, settings))
        found: list[dict[str, list[Candidate]]] = []
        images: dict[str, ImageRecord] = {}
        for name, estimator in row.estimators.items():
            own = _Candidates(estimator, dataset, spatial, benchmark, store, settings)
            candidates, used = _run_estimator(name, own, row.verified, stages)
            found.append(candidates)
            images |= used
        candidates = found[0]
        if len(found) == 2:
            candidates = {q: merge(found[0][q], found[1][q]) for q in dataset.queries}
        chosen = {query: listed[0] if listed else None for query, listed in candidates.items()}
        queries = query_rows(dataset, chosen, reasons(dataset, chosen, benchmark, row.strategy))
        stored = sum(s["stored_mb"] for s in stages if s["stored_mb"] is not None)
        work = _work(row, dataset, benchmark, settings, images)
        folder = place.claim(work)
        described = work["row"]["features"]
        labels = {"dataset": dataset.completeness, "weights": _weights(described)}
        summary = [
            {"row": folder.name, **line, "stored_mb": stored, **labels}
            for line in summarize(queries, benchmark)
        ]
        manifest = _manifest(described, dataset, settings, images, stages)
        extra = {"protocol": benchmark.protocol, **labels}
        write_csv(folder / "queries.csv", [{**line, **extra} for line in queries], QUERIES)
        rows = candidate_rows(candidates, dataset.references)
        write_csv(folder / "candidates.csv", [{**line, **extra} for line in rows], CANDIDATES)
        write_csv(folder / "summary.csv", summary, SUMMARY)
        write_csv(folder / "stages.csv", stages, STAGES)
        write_text(folder / f"InLoc_{folder.name}.txt", submission(chosen))
        if row.verified:
            options = DensePVSettings(**benchmark.strategy("dense_pv"))
            write_views(folder / VIEWS, dataset, spatial, candidates, options, settings.device)
        write_manifest(folder, {**work, "label": folder.name, **manifest})
    return RunResult(folder, summary, queries, stages, tuple(place.notes))


def _weights(described: Mapping[str, Any]) -> str:
    names = [d["weights"]["name"] for d in described.values()]
    return " and ".join(dict.fromkeys(names))


def _work(
    row: InlocRow,
    dataset: Dataset,
    benchmark: InlocBenchmark,
    settings: Settings,
    images: Mapping[str, ImageRecord] | None = None,
) -> dict[str, Any]:
    """What two runs of the same work share; the images' content once they were read."""
    files = {**dataset.queries, **dataset.cutouts}
    data = {
        "completeness": dataset.completeness,
        "queries": len(dataset.queries),
        "references": len(dataset.references),
        "cutouts": len(dataset.cutouts),
        "outline": fingerprint(dataset, {n: str(p.stat().st_size) for n, p in files.items()}),
    }
    if images is not None:
        data["fingerprint"] = fingerprint(dataset, {n: i.sha256 for n, i in images.items()})
    return {
        "benchmark": NAME,
        "protocol": benchmark.protocol,
        "protocol_sha256": benchmark.sha256,
        "row": {
            "strategy": row.strategy,
            "verification": "dense_pv" if row.verified else "none",
            "features": {name: describe() for name, describe in row.describe.items()},
        },
        **({"matcher": row.matcher.describe()} if row.matcher else {}),
        "seed": settings.seed,
        "dataset": data,
    }


def _manifest(
    described: Mapping[str, Any],
    dataset: Dataset,
    settings: Settings,
    images: Mapping[str, ImageRecord],
    stages: Sequence[Row],
) -> dict[str, Any]:
    peaks = [image.cost.peak_memory_mb for image in images.values()]
    known = [p for p in (*peaks, *(s["peak_memory_mb"] for s in stages)) if not math.isnan(p)]
    return {
        "method": " and ".join(own["method"] for own in described.values()),
        "weights": {name: own["weights"] for name, own in described.items()},
        "root": str(dataset.root),
        "wall_seconds": round(sum(stage["seconds"] for stage in stages), 3),
        "peak_memory_mb": round(max(known), 1),
        **environment(settings.device),
    }
