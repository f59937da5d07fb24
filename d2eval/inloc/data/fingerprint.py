"""What names the content of an InLoc folder."""

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from d2eval.foundation.files.reading import read_bytes
from d2eval.foundation.formats.poses import wxyz
from d2eval.inloc.data.dataset import Dataset
from d2eval.inloc.data.files import depth_path


def fingerprint(dataset: Dataset, hashes: Mapping[str, str]) -> str:
    """SHA-256 over image contents, retrieval lists, references, intrinsics and alignments.

    Depth and scans enter with the sizes of their files alone: a full set has hundreds of gigabytes.
    ``hashes`` are SHA-256 of the images that are used, by name.
    """
    digest = hashlib.sha256()

    def add(kind: str, *words: object, numbers: npt.ArrayLike = ()) -> None:
        digest.update("\0".join([kind, *map(str, words), ""]).encode())
        digest.update(np.asarray(numbers, "<f8").tobytes())

    for name, content in sorted(hashes.items()):
        add("image", name, content)
    for query, retrieved in sorted(dataset.retrieval.items()):
        add("query", query, *(r.cutout for r in retrieved), numbers=[r.score for r in retrieved])
    for name, reference in sorted(dataset.references.items()):
        pose = [*wxyz(reference.pose), *reference.pose.translation]
        add("reference", name, reference.floor, numbers=pose)
    for name, camera in sorted(dataset.intrinsics.items()):
        add("camera", name, camera.width, camera.height, numbers=camera.params)
    for scan, path in sorted(dataset.alignments.items()):
        add("alignment", *scan, hashlib.sha256(read_bytes(path)).hexdigest())
    for name, path in sorted(dataset.cutouts.items()):
        depth = depth_path(path)
        add("depth", name, depth.stat().st_size if depth.is_file() else "missing")
    for scan, path in sorted(dataset.scans.items()):
        add("scan", *scan, path.stat().st_size)
    return digest.hexdigest()
