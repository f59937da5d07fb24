"""The COLMAP database under construction: our own, filled stage by stage."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.aachen.data.dataset import Dataset
from d2eval.contracts.matching import Matches
from d2eval.foundation.errors import D2EvalError, writing

Pair = tuple[str, str]

# What COLMAP's database takes, on the safe side, twice because of its write-ahead log.
KEYPOINT_BYTES = 24
MATCH_BYTES = 16  # putative and verified
PAIR_BYTES = 1024  # two rows, matrices and indices
BASE_BYTES = 8 * 2**20
LOG_FACTOR = 2


@contextlib.contextmanager
def open_database(path: Path) -> Iterator[pycolmap.Database]:
    """Opens a COLMAP database that is ours, in one transaction.

    Raises:
        D2EvalError: it can't be opened or written.
    """
    try:
        with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
            yield database
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise D2EvalError(
            f"{path}: COLMAP can't use the database ({reason}); free space or set TMPDIR to "
            "another folder, then run the same command again: finished work is kept"
        ) from error


def require_space(folder: Path, keypoints: int, pairs: int, matches: int) -> None:
    """Makes sure that a database of so many rows can be written: COLMAP ends the process if not.

    Raises:
        D2EvalError: there is not enough space.
    """
    rows = keypoints * KEYPOINT_BYTES + matches * MATCH_BYTES + pairs * PAIR_BYTES
    size = LOG_FACTOR * rows + BASE_BYTES
    reserve = folder / "reserve"
    try:
        with reserve.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif shutil.disk_usage(folder).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise D2EvalError(
            f"{folder}: COLMAP's database needs {size / 2**20:.0f} MiB ({error.strerror}); free "
            "space or set TMPDIR to another folder, then run the same command again: finished work "
            "is kept"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            reserve.unlink(missing_ok=True)


def create_database(
    path: Path, dataset: Dataset, keypoints: Mapping[str, npt.NDArray[np.float32]]
) -> None:
    """Makes a new database of the dataset's images, their known intrinsics and keypoints.

    COLMAP never opens the user's: it migrates older files in place and ends the process at a
    damaged one. Features and matches that it may hold don't come along. Keypoints are (N, 2)
    float32 by image name, as COLMAP shall see them.

    Raises:
        D2EvalError: it can't be written.
    """
    with writing(path, "free space or set TMPDIR to another folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    with open_database(path) as database:
        for camera in {camera.camera_id: camera for camera in dataset.cameras.values()}.values():
            database.write_camera(camera, use_camera_id=True)
        for name, image_id in dataset.image_ids.items():
            camera_id = dataset.cameras[name].camera_id
            image = pycolmap.Image(name=name, image_id=image_id, camera_id=camera_id)
            database.write_image(image, use_image_id=True)
        for name, points in keypoints.items():
            database.write_keypoints(dataset.image_ids[name], points)


def write_matches(
    path: Path, dataset: Dataset, matches: Iterable[tuple[Pair, Matches]]
) -> dict[Pair, int]:
    """Writes matches, those of a pair by rising indices, the image of lower id first.

    What is estimated from matches depends on their order, which shall not depend on which image
    the list or the matcher puts first.

    Returns:
        The number of matches of each pair.

    Raises:
        D2EvalError: the database can't be written.
    """
    counts = {}
    with open_database(path) as database:
        for pair, indices in matches:
            first, other = (dataset.image_ids[name] for name in pair)
            sides = indices if first < other else indices[:, ::-1]
            rows = sides[np.lexsort((sides[:, 1], sides[:, 0]))]
            database.write_matches(min(first, other), max(first, other), rows.astype(np.uint32))
            counts[pair] = len(rows)
    return counts


def create_part(
    path: Path,
    part: Dataset,
    keypoints: Mapping[str, npt.NDArray[np.float32]],
    matches: Sequence[tuple[Pair, Matches]],
) -> None:
    """Makes a database of a `part_of` a dataset, with the matches of its pairs.

    Raises:
        D2EvalError: there is not enough space, or it can't be written.
    """
    points = sum(map(len, keypoints.values()))
    found = sum(len(indices) for _, indices in matches)
    require_space(path.parent, points, len(matches), found)
    create_database(path, part, keypoints)
    write_matches(path, part, matches)


def part_of(dataset: Dataset, pairs: Sequence[Pair]) -> Dataset:
    """The dataset of these pairs and their images, as they are called and numbered in it.

    A pair stands as in the dataset's list, whichever way round it is given.
    """
    names = {name for pair in pairs for name in pair}
    ids = {name: number for name, number in dataset.image_ids.items() if name in names}
    listed = set(dataset.pairs)
    return replace(
        dataset,
        image_ids=ids,
        cameras={name: dataset.cameras[name] for name in ids},
        queries={name: split for name, split in dataset.queries.items() if name in names},
        pairs=tuple(pair if pair in listed else pair[::-1] for pair in pairs),
    )
