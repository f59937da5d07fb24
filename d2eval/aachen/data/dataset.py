"""An Aachen Day-Night folder as the protocol uses it: what is matched, posed and registered."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from d2eval.aachen.data.files import (
    KINDS,
    Files,
    count_images,
    evaluated_lists,
    find_problems,
    merge_cameras,
    read_files,
    split_of,
    split_queries,
)
from d2eval.aachen.protocol import AachenBenchmark
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import is_there
from d2eval.foundation.formats.poses import read_poses, wxyz
from d2eval.foundation.text.words import some
from d2eval.localization.datasets import describe_completeness


@dataclass(frozen=True)
class Dataset:
    """What one run uses."""

    root: Path  # the dataset's folder
    images_folder: Path  # image names are relative to it
    image_ids: Mapping[str, int]  # of every image of the database, by name
    # of every image of the database, by name: ids and priors of focal lengths from there,
    # intrinsics from the lists where they have a line
    cameras: Mapping[str, pycolmap.Camera]
    # cam_from_world of database images, by name; those without take no part in triangulation
    poses: Mapping[str, pycolmap.Rigid3d]
    # split of every query that is evaluated ("day", "night", "holdout"), by name
    queries: Mapping[str, str]
    # of images to match, each unordered pair once, in the order of the list
    pairs: tuple[tuple[str, str], ...]
    merged_pairs: int  # lines that repeated a pair, either way round
    # cam_from_world of the queries; all of them, or empty
    references: Mapping[str, pycolmap.Rigid3d]
    notes: tuple[str, ...]  # what the user should be told
    completeness: str  # what every output says about the set

    @property
    def images(self) -> tuple[str, ...]:
        """Images that features are needed of: those of the pairs and the queries."""
        used = {name for pair in self.pairs for name in pair} | set(self.queries)
        return tuple(name for name in self.image_ids if name in used)


def read_references(
    path: Path, queries: Mapping[str, str], notes: list[str]
) -> dict[str, pycolmap.Rigid3d]:
    """Reads the reference poses of all ``queries``, and adds a note on others to ``notes``.

    Raises:
        D2EvalError: a file that can't be read, or without the pose of a query.
    """
    poses = read_poses(path)
    lacking = [name for name in queries if name not in poses]
    if lacking:  # scores over some of the queries would pass for scores over all
        raise D2EvalError(
            f"{path}: {len(lacking)} queries have no reference pose: {some(lacking)}; add them, or "
            "run without reference poses"
        )
    others = [name for name in poses if name not in queries]
    if others:
        notes.append(f"{path}: {len(others)} poses are not of evaluated queries: {some(others)}")
    return {name: poses[name] for name in queries}


def _list_notes(files: Files) -> Iterator[str]:
    evaluated = evaluated_lists(files)
    known = files.database.image_ids
    for path, names in files.lists.items():
        if path not in evaluated:
            yield f"{path}: not evaluated: none of its {len(names)} queries is in a pair"
    others = {files.intrinsics_path: files.intrinsics}
    others |= {path: names for path, names in files.lists.items() if path not in evaluated}
    for path, names in others.items():
        unknown = [name for name in names if name not in known]
        if known and unknown:
            yield (
                f"{path}: {len(unknown)} names are not in {files.database_path} and not used: "
                f"{some(unknown)}"
            )
    splits = split_queries(files)
    pairs = files.pairs.pairs
    partners = {a for pair in pairs for a, b in (pair, pair[::-1]) if b not in splits}
    alone = [name for names in evaluated.values() for name in names if name not in partners]
    if alone:
        yield (
            f"{files.pairs_path}: {len(alone)} queries have no pair with a database image and "
            f"count as failures: {some(alone)}"
        )
    listed = set().union(*files.lists.values())
    unlisted = [name for name in splits if name in known and name not in listed]
    if files.lists and unlisted:
        yield (
            f"{files.database_path}: {len(unlisted)} queries stand in no query list and are not "
            f"evaluated: {some(unlisted)}"
        )
    between = sum(a in splits and b in splits for a, b in pairs)
    if between:
        yield f"{files.pairs_path}: {between} pairs are of two queries, and register none"
    paired = dict.fromkeys(name for pair in pairs for name in pair if name not in splits)
    unposed = sum(name not in files.poses for name in paired)
    if files.poses and unposed:
        yield f"{files.model_path}: no pose of {unposed} database images; they triangulate nothing"


def file_notes(files: Files) -> list[str]:
    """What the user should be told of files that fit, a line each."""
    notes = []
    if files.pairs.merged:
        notes.append(f"{files.pairs_path}: {files.pairs.merged} lines repeat a pair; merged")
    held = files.database
    if held.keypoints or held.matches:
        notes.append(
            f"{files.database_path}: holds keypoints of {held.keypoints} images and matches of "
            f"{held.matches} pairs; they are not used"
        )
    return [*notes, *_list_notes(files)]


def _check_images(dataset: Dataset) -> None:
    lacking = [n for n in dataset.images if not (dataset.images_folder / n).is_file()]
    if lacking:
        raise D2EvalError(
            f"{dataset.images_folder}: {len(lacking)} images are missing: {some(lacking)}; add them"
        )


def load_dataset(
    root: Path,
    benchmark: AachenBenchmark,
    sample: bool = False,
    reference_poses: Path | None = None,
    pairs: Path | None = None,
) -> Dataset:
    """Reads the folder and checks that its files fit; the images are not opened.

    The queries are those of the query lists with a query in the pair list: the challenge's list
    pairs night queries alone. Reference poses (in `read_poses`' format) and pairs are the layout's
    where no file is given; reference poses may be missing there.

    Raises:
        D2EvalError: a file is missing or broken, or doesn't fit the others.
    """
    files = read_files(root, benchmark, pairs)
    find_problems(files)
    queries = {
        name: split_of(path) for path, names in evaluated_lists(files).items() for name in names
    }
    notes = file_notes(files)
    references_path = reference_poses or root / benchmark.layout.references
    given = reference_poses is not None or is_there(references_path)
    references = read_references(references_path, queries, notes) if given else {}
    completeness = describe_completeness(count_images(files), benchmark.complete, KINDS)
    dataset = Dataset(
        root=root,
        images_folder=root / benchmark.layout.images,
        image_ids=files.database.image_ids,
        cameras=merge_cameras(files),
        poses=files.poses,
        queries=queries,
        pairs=files.pairs.pairs,
        merged_pairs=files.pairs.merged,
        references=references,
        notes=tuple(notes),
        completeness="sample" if sample else completeness,
    )
    _check_images(dataset)
    return dataset


def fingerprint(dataset: Dataset, hashes: Mapping[str, str]) -> str:
    """SHA-256 over the pairs, queries, poses, cameras, references and image contents.

    ``hashes`` are SHA-256 of the images of ``dataset.images``, by name.
    """
    digest = hashlib.sha256()

    def add(kind: str, *words: str, numbers: tuple[np.ndarray, ...] = ()) -> None:
        digest.update("\0".join([kind, *words, ""]).encode())
        for array in numbers:
            digest.update(np.asarray(array, "<f8").tobytes())

    for pair in dataset.pairs:
        add("pair", *pair)
    for name, split in dataset.queries.items():
        add("query", name, split)
    for kind, poses in (("pose", dataset.poses), ("reference", dataset.references)):
        for name, pose in sorted(poses.items()):
            add(kind, name, numbers=(wxyz(pose), pose.translation))
    for name in dataset.images:
        camera = dataset.cameras[name]
        prior = str(camera.has_prior_focal_length)
        size = (str(camera.width), str(camera.height))
        add("image", name, hashes[name], camera.model.name, prior, *size, numbers=(camera.params,))
    return digest.hexdigest()
