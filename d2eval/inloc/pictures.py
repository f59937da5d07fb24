"""What pictures of verified poses are drawn from: each query and the views from its best poses."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from d2eval.foundation.files.atomic import write_bytes
from d2eval.foundation.files.sealed import seal
from d2eval.foundation.images.decoding import load_image_file
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.data.candidates import Candidate
from d2eval.inloc.data.dataset import Database3D, Dataset
from d2eval.inloc.data.files import scan_of
from d2eval.inloc.verification.dense_pv import DensePVSettings, descriptor_distances
from d2eval.inloc.verification.imresize import shrink
from d2eval.inloc.verification.render import render, scaled_intrinsics

FILE = "views.h5"
BEST = 2  # candidates of each query
QUALITY = 90  # of JPEG; all queries of InLoc take some 100 MB so


def write_views(
    path: Path,
    dataset: Dataset,
    spatial: Database3D,
    candidates: Mapping[str, Sequence[Candidate]],
    settings: DensePVSettings,
    device: str = "cpu",
) -> None:
    """Writes ``views.h5``: each query, small, beside the views from its best candidates.

    Group ``<i>`` (attribute ``name``) holds ``image``, a JPEG file of the query at 1 /
    ``settings.scale``, and a group ``<rank>`` for each of the best candidates with a pose:
    attributes ``name`` (of the cutout) and ``score`` (of the pose's verification), ``image``,
    a JPEG file of the rendered view, ``valid`` (H, W) where the view has points, ``centers`` (N, 2)
    x and y of the compared descriptors, and ``distances`` (N,) float16, whose median is 1 / score.

    Raises:
        D2EvalError: an image or a scan is broken, or the file can't be written.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for index, query in enumerate(progress(list(candidates), "pictures of the views")):
            group = file.create_group(str(index))
            group.attrs["name"] = query
            image = load_image_file(dataset.queries[query]).decode()
            camera = dataset.query_camera(query, (image.shape[1], image.shape[0]))
            small, K = shrink(image, settings.scale), scaled_intrinsics(camera, settings.scale)
            group["image"] = _jpeg(small)
            for rank, candidate in enumerate(candidates[query][:BEST], 1):
                if candidate.pose is None:
                    continue
                scan = spatial.scan(*scan_of(candidate.cutout))
                size = small.shape[1], small.shape[0]
                view = render(scan.xyz, scan.rgb, K, candidate.pose, size, device)
                centers, distances = descriptor_distances(small, view, settings)
                unit = group.create_group(str(rank))
                unit.attrs["name"] = candidate.cutout
                unit.attrs["score"] = candidate.pv_score
                unit["image"] = _jpeg(view.rgb)
                for name, values in (
                    ("valid", view.valid),
                    ("centers", centers.astype(np.uint16)),
                    ("distances", distances.astype(np.float16)),
                ):
                    unit.create_dataset(name, data=values, compression="gzip")
    write_bytes(path, seal(path.name, buffer.getbuffer()))


def _jpeg(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return np.frombuffer(file.getvalue(), np.uint8)
