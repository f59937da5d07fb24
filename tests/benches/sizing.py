"""What full benchmarks take, from what the shipped runs took: hours, disk and memory.

    python tests/benches/sizing.py DATA [--method d2_ms ...]

DATA holds the sets of the shipped runs, and Aachen's databases in aachen-meta. Measured are a run's
`Units`; a method without a run on Aachen has the mean of the others' units of pairs. The rest is
arithmetic, as if larger images and other pairs cost in proportion.
"""

import argparse
import csv
import json
import math
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from d2eval.contracts.protocol import load_protocol
from d2eval.foundation.images.decoding import read_image_size
from d2eval.pipeline.packs import bytes_of

RESULTS = Path(__file__).resolve().parents[2] / "results"
METHODS = ("d2_ms", "d2_ss", "rootsift", "aliked", "xfeat")
REAL = ("v_bird", "v_churchill", "v_dogman", "v_graffiti")  # HPatches' own in the sample
CUTOUT, QUERY = (1600, 1200), (4032, 3024)  # pixels of InLoc's images
SMALL_BYTES = 20  # of a feature beside its descriptor: place, score, scale, orientation
PACKED_BYTES = 80 + len(bytes_of({"matches": np.zeros((0, 2), np.int32), "seconds": np.zeros(1)}))
GEOMETRY_BYTES = PACKED_BYTES + 2 * 9 * 8 + 8  # F, H and the kind
HOUR, GIGA, GIB = 3600.0, 1e9, 2.0**30
Sizes = Counter[tuple[float, float]]  # (width, height) of images


class PairUnits(NamedTuple):
    """Of Aachen's stages after the features."""

    product_s: float  # matching: of two features, and a number of their descriptors
    matches: float  # of a feature and a pair
    match_s: float  # verification
    inliers: float  # of a match
    inlier_s: float  # triangulation
    inlier_bytes: float  # likewise: by how much the process grew
    query_s: float  # registration


@dataclass(frozen=True)
class Units:
    """What a method takes of an image."""

    pixel_s: float
    features: float  # of a pixel
    most: float  # features of an image
    dim: int
    peak_mib: float  # the process's, on the set of the run
    config: dict[str, Any]

    def pixels(self, sizes: Sizes) -> float:
        """Of all images, as the method shrinks them."""
        edge, both = (self.config.get(name) or math.inf for name in ("max_edge", "max_sum_edges"))
        shares = {size: min(1.0, edge / max(size), both / sum(size)) for size in sizes}
        return sum(math.prod(size) * shares[size] ** 2 * n for size, n in sizes.items())

    def mean(self, sizes: Sizes) -> float:
        """Features of an image."""
        own = {size: self.features * self.pixels(Counter([size])) for size in sizes}
        return sum(min(own[size], self.most) * n for size, n in sizes.items()) / sizes.total()


class Cost(NamedTuple):
    """Of a set."""

    features_s: float
    pairs_s: float
    features_bytes: float
    pairs_bytes: float
    grown_bytes: float = 0.0  # memory of triangulation


def rows_of(path: Path) -> list[dict[str, str]]:
    """Of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def units_of(run: Path, config: dict[str, Any], sizes: Sizes, features: float) -> Units:
    """Of a run on images of these sizes with a mean number of features."""
    manifest = json.loads((run / "manifest.json").read_text())
    costs = manifest["image_costs"]
    dim, peak = round(costs["descriptor_bytes"] / 4 / features), manifest["peak_memory_mib"]
    pixels = Units(0, 0, 0, 0, 0, config).pixels(sizes) / sizes.total()
    most = max(config.get("num_features") or math.inf, features)
    return Units(costs["seconds"] / pixels, features / pixels, most, dim, peak, config)


def pair_units(stages: list[dict[str, str]], dim: int) -> PairUnits:
    """Of a run's ``stages.csv``."""
    cells = {f"{row['stage']} {k}": float(v) for row in stages for k, v in row.items()
             if k != "stage" and v}  # fmt: skip
    mean = cells["features features"] / cells["features images"]
    pairs, matches = cells["matching pairs"], cells["matching matches"]
    inliers = cells["verification inlier_matches"]
    grown = cells["triangulation peak_memory_mib"] - cells["verification peak_memory_mib"]
    return PairUnits(
        cells["matching seconds"] / (pairs * mean**2 * dim), matches / (pairs * mean),
        cells["verification seconds"] / matches, inliers / matches,
        cells["triangulation seconds"] / inliers, grown * 2**20 / inliers,
        cells["registration seconds"] / cells["registration images"],
    )  # fmt: skip


def features_cost(units: Units, sizes: Sizes) -> tuple[float, float]:
    """Seconds and bytes."""
    size = units.mean(sizes) * sizes.total() * (4 * units.dim + SMALL_BYTES)
    return units.pixel_s * units.pixels(sizes), size


def aachen_cost(own: Units, of: PairUnits, sizes: Sizes, pairs: int, queries: int) -> Cost:
    """Of a set in Aachen's layout."""
    seconds, size = features_cost(own, sizes)
    mean = own.mean(sizes)
    matches = pairs * mean * of.matches
    inliers = matches * of.inliers
    rest = pairs * mean**2 * own.dim * of.product_s + matches * of.match_s
    rest += inliers * of.inlier_s + queries * of.query_s
    small = pairs * (PACKED_BYTES + GEOMETRY_BYTES) + 8 * (matches + inliers)
    return Cost(seconds, rest, size, small, inliers * of.inlier_bytes)


def hpatches_cost(own: Units, run: Path, small: Sizes, full: Sizes, pairs: int) -> Cost:
    """Of a set of pairs: what a run took beside features, by pairs and pixels."""
    manifest = json.loads((run / "manifest.json").read_text())
    grown = own.pixels(full) / full.total() / (own.pixels(small) / small.total())
    rest = manifest["wall_seconds"] - small.total() * manifest["image_costs"]["seconds"]
    matches = float(rows_of(run / "summary.csv")[0]["mean_matches"]) * grown
    seconds, size = features_cost(own, full)
    rest *= pairs / manifest["dataset"]["pairs"] * grown
    return Cost(seconds, rest, size, pairs * (PACKED_BYTES + 8 * matches))


def inloc_cost(own: Units, of: PairUnits, stages: list[dict[str, str]], sets: list[Sizes],
               candidates: int) -> Cost:  # fmt: skip
    """Of queries and cutouts: matching by features squared, what else a pose took by features."""
    features, poses = stages[:2]
    few, count = float(features["features"]) / float(features["images"]), int(poses["candidates"])
    other = max(0.0, float(poses["seconds"]) / count - of.product_s * few**2 * own.dim)
    queries, cutouts = map(own.mean, sets)
    rest = of.product_s * queries * cutouts * own.dim + other * cutouts / few
    seconds, size = features_cost(own, sets[0] + sets[1])
    return Cost(seconds, candidates * rest, size, 0.0)


def sizes_in(database: Path) -> Sizes:
    """Of the images in a COLMAP database."""
    query = (
        "select width, height, count(*) from images join cameras using (camera_id) group by 1, 2"
    )
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return Counter(
            {(width, height): count for width, height, count in connection.execute(query)}
        )


def full_hpatches(small: dict[str, Sizes]) -> Sizes:
    """As many images, their pixels by the authors' numbers of features beside the sample's."""
    counts = rows_of(RESULTS / "published/hpatches_counts.csv")
    found = {r["sequence"]: float(r["features"]) for r in counts if r["method"] == "d2-net"}
    own = sum((small[name] for name in REAL), Counter())
    pixels = sum(math.prod(size) * n for size, n in own.items()) / own.total()
    share = np.mean(list(found.values())) / np.mean([found[name] for name in REAL])
    edge = math.sqrt(pixels * share)
    return Counter({(edge, edge): 6 * len(found)})


def sizes_of(folder: Path) -> Sizes:
    """Of the images below a folder."""
    found = (path for path in folder.rglob("*") if path.suffix in (".png", ".ppm", ".jpg", ".JPG"))
    return Counter(map(read_image_size, found))


def costs(data: Path, runs: Path, method: str) -> dict[str, tuple[Units, Cost]]:
    """Of the full sets, and the units that they are of."""
    run, sets = runs / "hpatches" / method, data / "hpatches-sequences-release"
    config = json.loads((run / "manifest.json").read_text())["features"]["config"]
    sample = {folder.name: sizes_of(folder) for folder in sets.iterdir()}
    small, full = sum(sample.values(), Counter()), full_hpatches(sample)
    own = units_of(run, config, small, float(rows_of(run / "summary.csv")[0]["mean_features"]))
    pairs = full.total() // 6 * 5
    found = {"HPatches": (own, hpatches_cost(own, run, small, full, pairs))}

    there = [name for name in METHODS if (runs / "aachen" / name).is_dir()]
    fountain, of = sizes_in(data / "aachen-fountain/database.db"), []
    for name in [method] if method in there else there:
        stages = rows_of(runs / "aachen" / name / "stages.csv")
        mean = float(stages[0]["features"]) / float(stages[0]["images"])
        aachen = units_of(runs / "aachen" / name, config, fountain, mean)
        of.append(pair_units(stages, aachen.dim))
    pooled, aachen = PairUnits(*np.mean(of, axis=0)), aachen if method in there else own
    for name, path in (("aachen", "database.db"), ("aachen_v1_1", "v1_1/database_v1_1.db")):
        whole = load_protocol(name).content["complete"]
        sizes = sizes_in(data / "aachen-meta" / path)
        cost = aachen_cost(aachen, pooled, sizes, whole["pairs"], whole["night"])
        found[name.replace("aachen", "Aachen").replace("_v1_1", " v1.1")] = aachen, cost

    inloc, place = load_protocol("inloc").content, data / "inloc-hololens"
    whole, poses = (
        inloc["complete"],
        runs / "inloc" / f"{method if method in there else 'rootsift'}_sparse",
    )
    stages = rows_of(poses / "stages.csv")
    if method in there:
        mean = float(stages[0]["features"]) / float(stages[0]["images"])
        images = sizes_of(place / "query") + sizes_of(place / "database/cutouts")
        own = units_of(poses, config, images, mean)
    images = [Counter({QUERY: whole["queries"]}), Counter({CUTOUT: whole["cutouts"]})]
    candidates = whole["queries"] * inloc["retrieval"]["candidates"]
    found["InLoc"] = own, inloc_cost(own, pooled, stages, images, candidates)
    return found


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--method", nargs="+", default=METHODS)
    args = parser.parse_args()
    heads = ("set", "method", "s a MP", "features a MP", "MiB", "features h", "pairs h")
    print(f"| {' | '.join((*heads, 'features GB', 'pairs GB', 'triangulation GiB'))} |")
    print(f"|{'---|' * 10}")
    for method in args.method:
        for name, (units, cost) in costs(args.data, RESULTS / "shipped/runs", method).items():
            cells = (
                name, method, f"{1e6 * units.pixel_s:.2f}", f"{1e6 * units.features:.0f}",
                f"{units.peak_mib:.0f}", f"{cost.features_s / HOUR:.2f}",
                f"{cost.pairs_s / HOUR:.2f}", f"{cost.features_bytes / GIGA:.1f}",
                f"{cost.pairs_bytes / GIGA:.2f}",
                f"{cost.grown_bytes / GIB:.1f}" if cost.grown_bytes else "",
            )  # fmt: skip
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
