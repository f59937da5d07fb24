"""Retrieval by global descriptors, for sets that bring no list of their own."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from d2eval.contracts.identity import Identity
from d2eval.contracts.maps import MapsMethod
from d2eval.foundation.images.decoding import load_image_file
from d2eval.foundation.terminal.progress import progress
from d2eval.inloc.data.dataset import Dataset
from d2eval.inloc.data.retrieval import Retrieval, Retrieved
from d2eval.pipeline.hashes import image_hash
from d2eval.pipeline.store import Store

Float32Array = npt.NDArray[np.float32]


def _unit(vectors: Float32Array) -> Float32Array:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def rank(
    queries: Mapping[str, Float32Array],
    cutouts: Mapping[str, Float32Array],
    top: int,
    centered: bool = False,
) -> Retrieval:
    """The ``top`` cutouts of every query by dot product, best first, ties by name.

    Descriptors are (D,), L2-normalised. If ``centered``, the cutouts' mean is subtracted from all,
    and they are normalised again.

    Returns:
        The cutouts of each query, scored from -1 to 1.
    """
    names = np.array(list(cutouts), dtype=np.str_)
    if not len(names):
        return dict.fromkeys(queries, ())
    stacked = np.stack(list(cutouts.values()))
    mean = stacked.mean(axis=0) if centered else np.zeros(stacked.shape[1], np.float32)
    stacked = _unit(stacked - mean)
    found = {}
    for query, descriptor in queries.items():
        scores = stacked @ _unit(descriptor - mean)
        order = np.lexsort((names, -scores))[:top]
        found[query] = tuple(Retrieved(str(names[k]), float(scores[k])) for k in order)
    return found


def with_global_retrieval(
    dataset: Dataset, network: MapsMethod, identity: Identity, store: Store, top: int
) -> Dataset:
    """The dataset with cutouts that the network's global descriptors find for each query.

    Its own retrieval is not used.

    Raises:
        D2EvalError: a broken image, or one that is too small.
    """
    files = {**dataset.queries, **dataset.cutouts}
    found = {}
    for name, path in progress(files.items(), "global descriptors", len(files)):
        unit = store.unit_path("globals", [identity.key, image_hash(store, path)])
        arrays = store.read_arrays(unit)
        if arrays is None:
            image = load_image_file(path)
            unit = store.unit_path("globals", [identity.key, image.sha256])
            arrays = {"descriptor": network.global_descriptor(image.decode())}
            store.write_arrays(unit, arrays)
        found[name] = arrays["descriptor"]
    queries = {name: found[name] for name in dataset.queries}
    cutouts = {name: found[name] for name in dataset.cutouts}
    retrieval = rank(queries, cutouts, top, network.centered)
    note = f"cutouts were retrieved by global descriptors of {identity.method}"
    return replace(dataset, retrieval=retrieval, notes=(*dataset.notes, note))
