"""What match pictures are drawn from: each query's matches with its best database images."""

import io
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.matching import ImageKeypoints
from d2eval.aachen.registration import ModelPoints, Registered, partners
from d2eval.foundation.files.atomic import write_bytes
from d2eval.foundation.files.sealed import seal
from d2eval.foundation.terminal.progress import progress

BEST = 3  # database images for each query
REJECTED, VERIFIED, INLIER = 0, 1, 2


def _kinds(
    matches: npt.NDArray[np.integer],
    verified: npt.NDArray[np.integer],
    points: npt.NDArray[np.int64],
    found: Registered,
) -> npt.NDArray[np.int8]:
    """(M,) what became of each match: rejected, verified, or an inlier of the pose.

    Args:
        matches: (M, 2) keypoints of the query and of the database image.
        verified: (V, 2) those that geometric verification kept.
        points: (N,) the point of each keypoint of the database image, -1 for none.
        found: the query's result.
    """
    kept = {(int(a), int(b)) for a, b in verified}
    kinds = np.full(len(matches), REJECTED, np.int8)
    for i, (a, b) in enumerate(matches.tolist()):
        if points[b] >= 0 and found.points.get(a) == points[b]:
            kinds[i] = INLIER
        elif (a, b) in kept:
            kinds[i] = VERIFIED
    return kinds


def write_pictures(
    path: Path,
    database: Path,
    model: pycolmap.Reconstruction,
    dataset: Dataset,
    keypoints: Mapping[str, ImageKeypoints],
    results: Mapping[str, Registered],
) -> None:
    """Writes ``matches.h5``: for each query the database images of most inliers.

    Group ``<i>`` (attribute ``name``) holds groups ``<rank>`` (``name``) with ``points_query`` and
    ``points_database``, (M, 2) float32 pixels with the origin at the centre of the top-left pixel,
    and ``kind`` (M,): 0 rejected by verification, 1 verified, 2 inlier of the pose.

    Raises:
        D2EvalError: the file can't be written.
    """
    points, ids = ModelPoints(model), dataset.image_ids
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file, pycolmap.Database.open(database) as opened:
        file.attrs["images"] = str(dataset.images_folder.resolve())
        listed = progress(partners(dataset).items(), "pictures of the matches")
        for index, (query, others) in enumerate(listed):
            group = file.create_group(str(index))
            group.attrs["name"] = query
            drawn = []
            for other in others:
                pair = ids[query], ids[other]
                matches = opened.read_matches(*pair)
                verified = np.zeros((0, 2), np.uint32)
                if opened.exists_two_view_geometry(*pair):
                    verified = opened.read_two_view_geometry(*pair).inlier_matches
                kinds = _kinds(matches, verified, points.of_image(pair[1]), results[query])
                drawn.append((other, matches, kinds))
            drawn.sort(key=lambda entry: -int((entry[2] == INLIER).sum()))
            for rank, (other, matches, kinds) in enumerate(drawn[:BEST], 1):
                unit = group.create_group(str(rank))
                unit.attrs["name"] = other
                unit["points_query"] = keypoints[query].keypoints[matches[:, 0]]
                unit["points_database"] = keypoints[other].keypoints[matches[:, 1]]
                unit["kind"] = kinds
    write_bytes(path, seal(path.name, buffer.getbuffer()))
