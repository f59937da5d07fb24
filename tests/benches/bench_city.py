"""A city of Aachen's size with known poses, from features to scores: time and memory of each stage.

Run by hand: ``python tests/benches/bench_city.py FOLDER [--images 5401] [--pairs 14941]
[-- --scheduler local:2]``; what follows ``--`` goes to ``d2eval aachen``. Streets of facades with
some 400 points before each camera; images hold the number of their camera in their first pixels,
and the method below gives what such a camera sees, with noise, clutter and descriptors that nearly
agree. All else is what it is on Aachen: files, decoding, hashes, store, matching, COLMAP. The
city is made once; without FOLDER/cache the same command measures anew.
"""

import argparse
import csv
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from d2eval import NONE_NEEDED, Features, Method, RgbImage, Runtime, make_features
from d2eval.foundation.formats.poses import center, pose_line, wxyz
from d2eval.sample.scene import look_at

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, FOCAL = 640, 480, 520.0
CAMERA = f"SIMPLE_RADIAL {WIDTH} {HEIGHT} {FOCAL} {WIDTH / 2} {HEIGHT / 2} 0"
QUERIES, NEAREST = 98, 20  # images of the database that a query is matched to
STREET, STEP_M, APART_M = 200, 0.7, 100.0  # cameras in a street, metres between them and streets
POINTS, CLUTTER, NOISE_PX, DIM = 40, 40, 0.3, 128  # points of each metre of a facade
FURTHEST_M = 0.05  # a query may be off


def beside_of(query: int, database: int) -> int:
    """The camera of the database that a query stands half a step after."""
    return round(query * (database - 2) / (QUERIES - 1))


def pose_of(number: int, database: int) -> np.ndarray:
    """(3, 4) pose of a camera; those from ``database`` on are queries."""
    rng = np.random.default_rng([1, number])
    query = number - database
    beside = number if query < 0 else beside_of(query, database)
    x, y = beside % STREET * STEP_M, beside // STREET * APART_M
    x, y = (x, y + rng.uniform(-0.8, 0.8)) if query < 0 else (x + STEP_M / 2, y + 2.0)
    toward = (x + rng.uniform(-1, 1), beside // STREET * APART_M + 8.0, rng.uniform(1.7, 2.3))
    return look_at((x, y, 1.6 + rng.uniform(-0.2, 0.2)), toward, rng.uniform(-3, 3))


class City(Method):
    """What the camera sees whose number is in the first pixels."""

    description, license, papers = "points of a city with known poses", "BSD-3-Clause", ()
    descriptor_dim, weights = DIM, NONE_NEEDED

    def __init__(self, config: object, runtime: Runtime) -> None:
        """Nothing is loaded."""

    def extract(self, image: RgbImage) -> Features:
        """Keypoints counted as COLMAP does."""
        number, database = struct.unpack("<II", image[0, :8, 0].tobytes())
        pose, rng = pose_of(number, database), np.random.default_rng([2, number])
        place = -pose[:, :3].T @ pose[:, 3]
        street, metre = round(place[1] / APART_M), int(place[0])
        metres = range(metre - 8, metre + 9)
        draws = [np.random.default_rng([3, street, m + 100]) for m in metres]
        points = np.concatenate([draw.uniform(0, 1, (POINTS, 3)) for draw in draws])
        points[:, 0] += np.repeat(metres, POINTS)
        points[:, 1] = street * APART_M + 6.5 + 3 * points[:, 1]
        points[:, 2] *= 5.0
        known = np.concatenate([draw.standard_normal((POINTS, DIM)) for draw in draws])
        local = points @ pose[:, :3].T + pose[:, 3]
        pixels = FOCAL * local[:, :2] / local[:, 2:] + [WIDTH / 2, HEIGHT / 2]
        inside = ((pixels > 1) & (pixels < [WIDTH - 1, HEIGHT - 1])).all(axis=1)
        seen = np.flatnonzero(inside & (local[:, 2] > 0) & (rng.random(len(points)) < 0.9))
        xy = pixels[seen] + rng.normal(0, NOISE_PX, (len(seen), 2))
        found = known[seen] + 0.3 * rng.standard_normal((len(seen), DIM))
        xy = np.concatenate([xy, rng.uniform(1, [WIDTH - 1, HEIGHT - 1], (CLUTTER, 2))])
        found = np.concatenate([found, rng.standard_normal((CLUTTER, DIM))])
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        xy = xy.clip(0.5, [WIDTH - 0.5, HEIGHT - 0.5])
        scores, size = np.ones(len(xy)), (WIDTH, HEIGHT)
        return make_features(xy, scores, found, size, origin="corner")


def names_of(images: int) -> list[str]:
    """Of database images, then of queries."""
    database = [f"db/{k:05}.png" for k in range(images - QUERIES)]
    return [*database, *(f"query/night/nexus5x/{k:03}.png" for k in range(QUERIES))]


def pairs_of(images: int, pairs: int) -> list[tuple[int, int]]:
    """Queries with what is nearest, and so many neighbours in the same street as are left."""
    database = images - QUERIES
    found = []
    for query in range(QUERIES):
        beside = beside_of(query, database)
        first = beside // STREET * STREET
        street = range(first, min(first + STREET, database))
        nearest = sorted(street, key=lambda k: abs(k - beside - 0.5))[:NEAREST]
        found += [(database + query, k) for k in nearest]
    for offset in range(1, STREET):
        for k in range(database - offset):
            if len(found) == pairs:
                return found
            if k // STREET == (k + offset) // STREET:
                found.append((k, k + offset))
    raise SystemExit(f"{images} images have no more than {len(found)} pairs in the same street")


def make(folder: Path, images: int, pairs: int) -> None:
    """Writes a folder in Aachen's layout."""
    names, database = names_of(images), images - QUERIES
    listed_pairs = pairs_of(images, pairs)
    poses = [pycolmap.Rigid3d(pose_of(k, database)) for k in range(images)]
    ground = np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))
    for number, name in enumerate(names):
        path = folder / "images/images_upright" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ground[0, :8] = np.frombuffer(struct.pack("<II", number, database), np.uint8)
        cv2.imwrite(str(path), cv2.cvtColor(ground, cv2.COLOR_GRAY2BGR))
    for name in ("3D-models", "queries"):
        (folder / name).mkdir()
    lines = [
        " ".join(map(str, (name, FOCAL, *wxyz(pose), *center(pose), 0, 0)))
        for name, pose in zip(names[:database], poses, strict=False)
    ]
    model = "\n".join(["NVM_V3", "", str(database), *lines, "", "0", ""])
    (folder / "3D-models/aachen_cvpr2018_db.nvm").write_text(model)
    given = {"3D-models/database_intrinsics.txt": names[:database]}
    given["queries/night_time_queries_with_intrinsics.txt"] = names[database:]
    for path, listed in given.items():
        (folder / path).write_text("".join(f"{name} {CAMERA}\n" for name in listed))
    true = zip(names[database:], poses[database:], strict=True)
    (folder / "reference_poses.txt").write_text("".join(f"{pose_line(*one)}\n" for one in true))
    parameters = [FOCAL, WIDTH / 2, HEIGHT / 2, 0.0]
    with pycolmap.Database.open(folder / "database.db") as db, pycolmap.DatabaseTransaction(db):
        for name in names:
            camera = pycolmap.Camera(
                model="SIMPLE_RADIAL", width=WIDTH, height=HEIGHT, params=parameters
            )
            db.write_image(pycolmap.Image(name=name, camera_id=db.write_camera(camera)))
    text = "".join(f"{names[a]} {names[b]}\n" for a, b in listed_pairs)
    (folder / "image_pairs_to_match.txt").write_text(text)


def main() -> None:
    """Makes the city, runs the benchmark, and prints stages and the greatest error of a query."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=5401)
    parser.add_argument("--pairs", type=int, default=14941)
    parser.add_argument("more", nargs="*", help="options of d2eval aachen, after --")
    args = parser.parse_args()
    city = args.folder.resolve() / f"city-{args.images}-{args.pairs}"
    if not city.exists():
        made = city.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)  # what was interrupted
        make(made, args.images, args.pairs)
        made.rename(city)
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    words = ["aachen", "--data", str(city), "--method", "bench_city:City", "--name", city.name]
    words += ["--cache", str(args.folder / "cache"), "--output", str(args.folder / "runs")]
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "d2eval", *words, *args.more],
        env={**os.environ, "PYTHONPATH": path}, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    folder = args.folder / "runs/aachen" / city.name
    sys.stdout.write((folder / "stages.csv").read_text())
    with (folder / "queries.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    errors = [float(row["position_m"] or "inf") for row in rows]
    within = sum(error < FURTHEST_M for error in errors)
    sys.stdout.write(
        f"{seconds:.0f} s in all; {within} of {len(rows)} queries within {FURTHEST_M} m, the "
        f"furthest {max(errors):.4f} m\n"
    )


if __name__ == "__main__":
    main()
