"""Seconds of each stage beside plain files and COLMAP's command line, on the same features.

By hand: ``python tests/benches/bench_colmap.py --data AACHEN --method rootsift --cache CACHE``.
Features are extracted into the cache first, if they aren't there, and not timed. Then the stages
run twice from nothing: by d2eval, and as the benchmark's description has them: a file of features
for each image, both read for each pair, mutual nearest neighbours in torch, matches into a copy of
the database, and then COLMAP's matches_importer, point_triangulator and image_registrator.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import torch

from d2eval.aachen.data.dataset import Dataset, load_dataset
from d2eval.aachen.protocol import load_benchmark
from d2eval.aachen.run import Settings, run
from d2eval.aachen.triangulation import empty_model
from d2eval.contracts.method import Runtime
from d2eval.pipeline.extraction import FeatureSource, features_of_images, open_source
from d2eval.pipeline.pairs import open_matcher
from d2eval.pipeline.store import Store

MAX_IMAGES = 2**31 - 1  # in COLMAP's number of a pair
FIXED = [
    f"--Mapper.ba_refine_{name}=0" for name in ("focal_length", "principal_point", "extra_params")
]


def write_npz(source: FeatureSource, dataset: Dataset, folder: Path) -> None:
    """Writes a file of features for each image."""
    names = sorted(dataset.images)
    found = features_of_images(source, [(dataset.images_folder / n, n) for n in names], 1)
    for name, (_, unit) in zip(names, found, strict=True):
        path = folder / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        features = unit.features
        np.savez(path, keypoints=features.own_keypoints(), descriptors=features.descriptors)


def match_plainly(dataset: Dataset, folder: Path, database: Path) -> int:
    """Matches every pair from files and writes keypoints and matches; their number."""
    ids, total = dataset.image_ids, 0
    with closing(sqlite3.connect(database)) as connection, connection:
        for name in dataset.images:
            with np.load(folder / f"{name}.npz") as held:
                xy = held["keypoints"]
            ones, zeros = np.ones((len(xy), 1)), np.zeros((len(xy), 1))
            rows = np.hstack([xy, ones, zeros]).astype(np.float32)  # scale 1, orientation 0
            connection.execute(
                "INSERT INTO keypoints VALUES (?, ?, ?, ?)",
                (ids[name], *rows.shape, rows.tobytes()),
            )
        for pair in dataset.pairs:
            described = []
            for name in pair:
                with np.load(folder / f"{name}.npz") as held:
                    described.append(torch.from_numpy(held["descriptors"].astype(np.float32)))
            similarity = described[0] @ described[1].T
            nearest, back = similarity.argmax(dim=1), similarity.argmax(dim=0)
            first = torch.arange(len(nearest))
            mutual = back[nearest] == first
            rows = torch.stack([first[mutual], nearest[mutual]], dim=1).numpy().astype(np.uint32)
            low, high = (ids[name] for name in pair)
            if low > high:
                low, high, rows = high, low, np.ascontiguousarray(rows[:, ::-1])
            connection.execute(
                "INSERT INTO matches VALUES (?, ?, ?, ?)",
                (low * MAX_IMAGES + high, *rows.shape, rows.tobytes()),
            )
            total += len(rows)
    return total


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def colmap(command: str, *options: object) -> None:
    """Runs one command of COLMAP, without a display and without a GPU."""
    done = subprocess.run(
        ["colmap", command, *map(str, options)], capture_output=True, text=True, check=False,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"colmap {command}: {(done.stdout + done.stderr)[-2000:]}")


def by_colmap(dataset: Dataset, features: Path, folder: Path) -> tuple[dict[str, float], str]:
    """Seconds of each stage, and what they left."""
    database = folder / "database.db"
    shutil.copyfile(dataset.root / "database.db", database)
    empty, built, final = (folder / name for name in ("empty", "built", "final"))
    for model in (empty, built, final):
        model.mkdir()
    empty_model(dataset).write_text(empty)
    (folder / "pairs.txt").write_text("".join(f"{a} {b}\n" for a, b in dataset.pairs))
    where = ["--database_path", database]
    seconds = {}
    seconds["matching"], matches = timed(lambda: match_plainly(dataset, features, database))
    seconds["verification"], _ = timed(
        lambda: colmap(
            "matches_importer", *where, "--match_list_path", folder / "pairs.txt",
            "--match_type", "pairs", "--SiftMatching.use_gpu=0",
        )
    )  # fmt: skip
    seconds["triangulation"], _ = timed(
        lambda: colmap(
            "point_triangulator", *where, "--image_path", dataset.images_folder,
            "--input_path", empty, "--output_path", built, *FIXED,
        )
    )  # fmt: skip
    seconds["registration"], _ = timed(
        lambda: colmap(
            "image_registrator", *where, "--input_path", built, "--output_path", final, *FIXED
        )
    )
    with closing(sqlite3.connect(database)) as connection:
        (inliers,) = connection.execute("SELECT SUM(rows) FROM two_view_geometries").fetchone()
    points = pycolmap.Reconstruction(built).num_points3D()
    registered = sum(
        image.name in dataset.queries for image in pycolmap.Reconstruction(final).images.values()
    )
    return seconds, f"{matches} matches, {inliers} verified, {points} points, {registered} queries"


def by_d2eval(
    source: FeatureSource, dataset: Dataset, folder: Path
) -> tuple[dict[str, float], str]:
    """Seconds of each stage, and what they left."""
    benchmark = load_benchmark("aachen")
    matcher, store = open_matcher(None, benchmark.matcher, Runtime()), Store(folder / "cache")
    result = run(source, matcher, dataset, benchmark, store, folder / "runs", Settings())
    row = {line["stage"]: line for line in result.stages}
    seconds = {name: line["seconds"] for name, line in row.items() if name != "features"}
    return seconds, (
        f"{row['matching']['matches']} matches, {row['verification']['inlier_matches']} verified, "
        f"{row['triangulation']['points']} points, {row['registration']['registered']} queries"
    )


def main() -> None:
    """Runs both sides and prints the seconds of each stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", default="rootsift")
    parser.add_argument("--weights")
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()
    dataset = load_dataset(args.data, load_benchmark("aachen"))
    options = {"weights": args.weights} if args.weights else {}
    source = open_source(args.method, options, Runtime(cache=args.cache))
    print(f"{len(dataset.images)} images, {len(dataset.pairs)} pairs, {args.method}, load "
          f"{os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for side in ("plain", "ours"):
            (root / side).mkdir()
        write_npz(source, dataset, root / "features")
        ours, left = by_d2eval(source, dataset, root / "ours")
        print(f"d2eval: {left}")
        if shutil.which("colmap") is None:
            print("there is no colmap command here: only d2eval's side was measured")
            other: dict[str, float] = dict.fromkeys(ours, float("nan"))
        else:
            other, left = by_colmap(dataset, root / "features", root / "plain")
            print(f"files and colmap: {left}")
        print(f"{'seconds':>14} {'d2eval':>8} {'files and colmap':>18}")
        for stage, seconds in ours.items():
            print(f"{stage:>14} {seconds:8.2f} {other[stage]:18.2f}")
        print(f"{'all':>14} {sum(ours.values()):8.2f} {sum(other.values()):18.2f}")


if __name__ == "__main__":
    main()
