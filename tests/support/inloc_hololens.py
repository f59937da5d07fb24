"""The small real set with reference numbers, as its makers ran SIFT on it."""

import csv
from collections.abc import Callable, Iterator
from functools import cache

import cv2
import numpy as np
from places import DATA, REFERENCE, needs

from d2eval.contracts.features import Features, make_features
from d2eval.contracts.matching import Matches, mutual_nearest_neighbors
from d2eval.inloc.data.dataset import Database3D, Dataset, load_dataset
from d2eval.inloc.data.retrieval import Retrieved
from d2eval.inloc.poses.sparse import Query
from d2eval.inloc.protocol import load_benchmark

HOLOLENS = DATA / "inloc-hololens"
needs_data = needs(HOLOLENS)
# Easy and hard ones of both floors; all sixteen take some ten seconds.
FEW = ["IMG_0011.JPG", "IMG_0349.JPG", "IMG_0063.JPG"]
SIZE = (540, 360)


def rows(table: str, queries: list[str] | None) -> list[dict[str, str]]:
    """Of ``inloc_hololens_sift_<table>.csv``; None for every query."""
    with (REFERENCE / f"inloc_hololens_sift_{table}.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if queries is None or row["query"] in queries]


@cache
def dataset() -> Dataset:
    return load_dataset(HOLOLENS, load_benchmark())


@cache
def database() -> Database3D:
    return Database3D(dataset())


@cache
def features(name: str) -> Features:
    """OpenCV's SIFT with its defaults, RootSIFT; of a query or a cutout."""
    path = {**dataset().queries, **dataset().cutouts}[name]
    found, descriptors = cv2.SIFT_create(nfeatures=0).detectAndCompute(
        cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), None
    )
    return make_features(
        [point.pt for point in found],
        [point.response for point in found],
        np.sqrt(descriptors / descriptors.sum(axis=1, keepdims=True)),
        SIZE,
        [point.size / 2 for point in found],
        orientations=np.radians([point.angle for point in found]),
    )


def query(name: str) -> Query:
    """With the reference's list of cutouts."""
    found, camera = features(name), dataset().query_camera(name, SIZE)
    match = matching(found, features)
    return Query(name, found, camera, retrieved(name), features, match, database().xyz)


def matching(query: Features, load: Callable[[str], Features]) -> Callable[[str], Matches]:
    """Mutual nearest neighbours of ``query`` and what ``load`` gives for a name."""
    return lambda name: mutual_nearest_neighbors(query.descriptors, load(name).descriptors)


def retrieved(name: str) -> list[Retrieved]:
    """The reference's list of a query, with its scores."""
    listed = rows("sparsepe_candidates", [name])
    return [Retrieved(row["db"], float(row["retrieval"])) for row in listed]


def queries_of(few: bool) -> Iterator[str]:
    """Names of the queries, or of a few of them."""
    yield from FEW if few else dataset().references
