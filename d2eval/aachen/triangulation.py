"""Points from the verified matches of the database images, whose poses are given and stay."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pycolmap

from d2eval.aachen.costs import keep_cost
from d2eval.aachen.data.dataset import Dataset
from d2eval.aachen.protocol import AachenBenchmark, Triangulation
from d2eval.foundation.errors import D2EvalError, writing
from d2eval.foundation.files.leftovers import temporary_path
from d2eval.foundation.formats.poses import pose_line
from d2eval.foundation.terminal.progress import Progress
from d2eval.pipeline.store import Store

VERSION = 1  # raise it when a change of the code changes the points
MODEL_FILES = ("cameras.bin", "images.bin", "points3D.bin", "rigs.bin", "frames.bin")


def pipeline_options(
    settings: Triangulation, seed: int, threads: int | None = None
) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's options for triangulation and registration, intrinsics fixed.

    ``threads`` is None for all that there are.
    """
    return pycolmap.IncrementalPipelineOptions(
        num_threads=threads or -1,
        min_num_matches=settings.min_matches,
        extract_colors=False,
        random_seed=seed,
        ba_refine_focal_length=False,
        ba_refine_principal_point=False,
        ba_refine_extra_params=False,
        ba_global_max_refinements=settings.max_refinements,
        ba_global_max_refinement_change=settings.max_refinement_change,
        mapper={
            "filter_max_reproj_error": settings.filter_max_error_px,
            "filter_min_tri_angle": settings.min_angle_deg,
        },
        triangulation={
            "create_max_angle_error": settings.create_max_angle_deg,
            "continue_max_angle_error": settings.continue_max_angle_deg,
            "merge_max_reproj_error": settings.merge_max_error_px,
            "complete_max_reproj_error": settings.complete_max_error_px,
            "min_angle": settings.min_angle_deg,
            "ignore_two_view_tracks": settings.ignore_two_view_tracks,
        },
    )


def posed_images(dataset: Dataset) -> list[str]:
    """Database images of the pair list whose pose is known."""
    return [name for name in dataset.images if name in dataset.poses]


def empty_model(dataset: Dataset) -> pycolmap.Reconstruction:
    """A model of the posed database images, with the database's ids, and without points."""
    model = pycolmap.Reconstruction()
    for name in posed_images(dataset):
        camera, image_id = dataset.cameras[name], dataset.image_ids[name]
        if not model.exists_camera(camera.camera_id):
            model.add_camera_with_trivial_rig(camera)
        image = pycolmap.Image(name=name, image_id=image_id, camera_id=camera.camera_id)
        model.add_image_with_trivial_frame(image, dataset.poses[name])
    return model


def model_unit(
    dataset: Dataset, benchmark: AachenBenchmark, verified: Sequence[str], store: Store, seed: int
) -> Path:
    """Where the points lie, or would, that follow from the geometries of these keys."""
    # Pairs with queries count too: COLMAP judges tracks on the whole graph of matches.
    posed = [pose_line(name, dataset.poses[name]) for name in posed_images(dataset)]
    cameras = [str(dataset.cameras[name]) for name in posed_images(dataset)]
    ids = {name: dataset.image_ids[name] for name in dataset.images}
    content = [
        VERSION, pycolmap.__version__, asdict(benchmark.triangulation), seed, ids, posed, cameras,
        list(verified),
    ]  # fmt: skip
    return store.unit_path("models", content)


def triangulate(
    database: Path,
    dataset: Dataset,
    benchmark: AachenBenchmark,
    verified: Sequence[str],
    store: Store,
    seed: int,
    threads: int | None = None,
    costs: Path | None = None,
) -> pycolmap.Reconstruction:
    """Triangulates the verified matches of posed images, or reads what a run before has done.

    ``verified`` are the keys of the two-view geometries; what it took is kept in ``costs``.

    Source: point_triangulator of COLMAP with the defaults of the protocol.

    Raises:
        D2EvalError: no point results, or the disk is full.
    """
    options = pipeline_options(benchmark.triangulation, seed, threads)
    unit = model_unit(dataset, benchmark, verified, store, seed)
    files = store.read_arrays(unit)
    with temporary_path(database.with_name("model")) as folder:
        with writing(folder, "free space or set TMPDIR to another folder"):
            folder.mkdir()
            if files is not None:
                for name in MODEL_FILES:
                    (folder / name).write_bytes(files[name].tobytes())
                return pycolmap.Reconstruction(folder)
            begin = time.perf_counter()
            with Progress("triangulation"):
                model = pycolmap.triangulate_points(
                    empty_model(dataset), database, dataset.images_folder, folder, True, options,
                    False,
                )  # fmt: skip
            seconds = time.perf_counter() - begin
            files = {n: np.frombuffer((folder / n).read_bytes(), np.uint8) for n in MODEL_FILES}
        if not model.num_points3D():
            raise D2EvalError(
                f"no point was triangulated from {len(verified)} pairs: see the counts of the "
                "stages before; the poses, the intrinsics and the images must belong together"
            )
        store.write_arrays(unit, files)
        if costs is not None:
            keep_cost(store, costs, len(verified), seconds, sum(map(len, files.values())))
        return pycolmap.Reconstruction(folder)
