"""A whole run: features, candidates of every query, verified poses, scores, outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from d2eval.contracts.identity import Identity
from d2eval.contracts.leaks import leaks
from d2eval.evaluation.benchmark import Evaluated, Request
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import write_text
from d2eval.foundation.machine.resources import Cost, measure
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.columns import CANDIDATES, QUERIES, STAGES, SUMMARY
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.fingerprint import fingerprint
from d2eval.inloc.data.records import candidate_rows
from d2eval.inloc.parts import FEATURES, POSES, VERIFICATION, found_candidates, verified_candidates
from d2eval.inloc.pictures import FILE as VIEWS
from d2eval.inloc.pictures import write_views
from d2eval.inloc.poses.estimators import Estimator, ImageRecord, Task
from d2eval.inloc.reasons import reasons
from d2eval.inloc.scores import query_rows, summarize
from d2eval.inloc.strategies import Strategy
from d2eval.inloc.verification.dense_pv import DensePVSettings
from d2eval.localization.submission import submission
from d2eval.runs.folder import Row, RunName, run_folder, write_csv
from d2eval.runs.manifest import circumstances, image_costs, write_manifest
from d2eval.runs.measured import SAMPLE

NAME = "inloc"
MEGA = 1e6


@dataclass(frozen=True)
class InlocRow:
    """What a run measures."""

    name: RunName  # of the run, its folder and rows
    strategy: Strategy  # how candidates are found
    verified: bool  # whether Dense PV judges the poses
    estimators: Mapping[str, Estimator]  # of each part of the strategy, by its name
    # the network whose global descriptors retrieved the cutouts, if one did
    retrieval: Identity | None = None


def _stage(name: str, cost: Cost, **counts: Any) -> Row:
    columns = ("images", "features", "stored_mb", "queries", "candidates", "posed")
    return {
        "stage": name, **dict.fromkeys(columns), **counts,
        "seconds": cost.seconds, "peak_memory_mib": cost.peak_memory_mib,
    }  # fmt: skip


def _run_estimator(
    name: str, estimator: Estimator, task: Task, verified: bool, request: Request, stages: list[Row]
) -> tuple[dict[str, list[Candidate]], Mapping[str, ImageRecord]]:
    executor, queries = request.executor, list(task.dataset.queries)

    def send(stage: str) -> None:
        if estimator.is_known:
            executor.ahead(f"{name} {stage}", queries, task.store, "poses")

    with executor.stage(f"{name} {FEATURES}"), measure() as cost:
        estimator.send_images(f"{name} {FEATURES}", executor)
        estimator.prepare(request.workers)
    stages.append(_stage(f"{name} {FEATURES}", cost))
    with executor.stage(f"{name} {POSES}"), measure() as cost:
        send(POSES)
        listed = progress(queries, f"{name}: poses")
        found = {query: found_candidates(task, estimator, query) for query in listed}
        task.store.flush()
    images = estimator.images()
    stages[-1] |= {
        "images": len(images),
        "features": sum(image.features for image in images.values()),
        "stored_mb": sum(i.stored_bytes for i in images.values()) / len(images) / MEGA,
    }
    everything = [candidate for listed in found.values() for candidate in listed]
    posed = sum(candidate.pose is not None for candidate in everything)
    counts = {"queries": len(found), "candidates": len(everything), "posed": posed}
    stages.append(_stage(f"{name} {POSES}", cost, **counts))
    if not posed:
        raise D2EvalError(
            f"{name}: no pose for any of {len(found)} queries: {len(everything)} candidates with "
            f"{sum(c.matches for c in everything)} matches, {sum(c.verified for c in everything)} "
            f"verified, {sum(c.points for c in everything)} with depth; check that retrieval, "
            "features and depth belong together"
        )
    if verified:
        with executor.stage(f"{name} {VERIFICATION}"), measure() as cost:
            send(VERIFICATION)
            verifying = progress(found.items(), f"{name}: verification by views")
            found = {q: verified_candidates(task, estimator, q, own) for q, own in verifying}
            task.store.flush()
        stages.append(_stage(f"{name} {VERIFICATION}", cost, **counts))
    return found, images


def run(row: InlocRow, task: Task, request: Request) -> Evaluated:
    """Measures ``row`` and writes ``inloc/<label>/`` in the folder of runs.

    Features, matches, candidates and verified poses go through the store as they are made, so a
    run that was killed goes on where it stopped. The run's own files are written at the end, each
    complete or not at all, and the manifest last.

    Raises:
        D2EvalError: a broken file, no retrieval, no pose at all, a full disk, another run that
            writes the same folder, or a name that was given to other work before.
    """
    dataset, benchmark = task.dataset, task.benchmark
    if not any(dataset.retrieval.get(query) for query in dataset.queries):
        raise D2EvalError(
            f"{dataset.root}: no retrieved cutouts for any query; give --retrieval a list or "
            "--global-retrieval"
        )
    stages: list[Row] = []
    with run_folder(request.output / NAME, row.name) as place:
        place.claim(_work(row, task))
        parts: list[dict[str, list[Candidate]]] = []
        images: dict[str, ImageRecord] = {}
        for name, estimator in row.estimators.items():
            found, used = _run_estimator(name, estimator, task, row.verified, request, stages)
            parts.append(found)
            images |= used
        candidates = {q: row.strategy.unite([found[q] for found in parts]) for q in parts[0]}
        chosen = {query: listed[0] if listed else None for query, listed in candidates.items()}
        queries = query_rows(dataset, chosen, reasons(dataset, chosen, benchmark, row.strategy))
        stored = sum(s["stored_mb"] for s in stages if s["stored_mb"] is not None)
        work = _work(row, task, images)
        folder = place.claim(work)
        described = work["row"]["features"]
        weights = dict.fromkeys(own["weights"]["name"] for own in described.values())
        labels = {"dataset": dataset.completeness, "weights": " and ".join(weights)}
        summary = [
            {"row": folder.name, **line, "stored_mb": stored, **labels}
            for line in summarize(queries, benchmark)
        ]
        manifest = _manifest(described, task, images, stages)
        if row.retrieval:
            manifest["weights"]["retrieval"] = work["row"]["retrieval"]["weights"]
        extra = {"protocol": benchmark.protocol, **labels}
        write_csv(folder / "queries.csv", [{**line, **extra} for line in queries], QUERIES)
        rows = candidate_rows(candidates, dataset.references)
        write_csv(folder / "candidates.csv", [{**line, **extra} for line in rows], CANDIDATES)
        write_csv(folder / "summary.csv", summary, SUMMARY)
        write_csv(folder / "stages.csv", stages, STAGES)
        poses = [(name, best.pose if best else None) for name, best in sorted(chosen.items())]
        write_text(folder / f"InLoc_{folder.name}.txt", submission(poses))
        if row.verified:
            options = DensePVSettings(**benchmark.strategy("dense_pv"))
            device = task.runtime.device
            write_views(folder / VIEWS, dataset, task.spatial, candidates, options, device)
        manifest["leaks"] = leaks(
            work, () if dataset.completeness == SAMPLE else benchmark.overlaps
        )
        write_manifest(folder, {**work, "label": folder.name, **manifest})
    return Evaluated(folder, queries, summary, notes=tuple(place.notes))


def _work(
    row: InlocRow, task: Task, images: Mapping[str, ImageRecord] | None = None
) -> dict[str, Any]:
    """What two runs of the same work share; the images' content once they were read."""
    dataset, benchmark = task.dataset, task.benchmark
    files = {**dataset.queries, **dataset.cutouts}
    matchers = [own.matcher.describe() for own in row.estimators.values() if own.matcher]
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
            "strategy": row.strategy.name,
            "verification": "dense_pv" if row.verified else "none",
            "features": {name: own.describe() for name, own in row.estimators.items()},
            **({"retrieval": asdict(row.retrieval)} if row.retrieval else {}),
        },
        **({"matcher": matchers[0]} if matchers else {}),
        "seed": task.runtime.seed,
        "dataset": data,
    }


def _manifest(
    described: Mapping[str, Any],
    task: Task,
    images: Mapping[str, ImageRecord],
    stages: Sequence[Row],
) -> dict[str, Any]:
    peaks = [image.cost.peak_memory_mib for image in images.values()]
    peaks += [stage["peak_memory_mib"] for stage in stages]
    return {
        "method": " and ".join(own["method"] for own in described.values()),
        "weights": {name: own["weights"] for name, own in described.items()},
        "root": str(task.dataset.root),
        "image_costs": image_costs(
            [image.cost for image in images.values()],
            [image.descriptor_bytes for image in images.values()],
        )
        if len(described) == 1
        else None,  # an image has those of each part
        **circumstances(task.runtime.device, sum(stage["seconds"] for stage in stages), peaks),
    }
