"""All readers of files that people give d2eval, with small valid inputs, for tests and fuzzing.

To add one: a `Parser` in `PARSERS`, with inputs that it reads without an error.
"""

import argparse
import hashlib
import io
import json
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path

import h5py
import numpy as np
import pycolmap
import scipy.io
import torch
from kinds import Parser, texts
from own_parsers import OWN_PARSERS
from PIL import Image
from safetensors.torch import save as to_safetensors

from d2eval.aachen.data.covisibility import read_tracks
from d2eval.aachen.data.database import read_database
from d2eval.aachen.data.parsing import read_intrinsics, read_nvm, read_pairs
from d2eval.aachen.report import matches
from d2eval.aachen.report.groups import SITE as AACHEN_SITE
from d2eval.cifar10.batches import read_batch
from d2eval.cifar10.protocol import chosen_configurations
from d2eval.cifar10.protocol import load_benchmark as load_cifar10
from d2eval.contracts.protocol import load_toml
from d2eval.contracts.weights import load_state_dict
from d2eval.evaluation.pairs_runs import load_run
from d2eval.foundation.downloads.download import addresses_of, verified_path
from d2eval.foundation.files.reading import read_lines
from d2eval.foundation.files.sealed import seal
from d2eval.foundation.formats.colmap_model import read_model
from d2eval.foundation.formats.hdf5 import group_names
from d2eval.foundation.formats.matfiles import list_variables, read_variable
from d2eval.foundation.formats.poses import read_poses
from d2eval.foundation.images.decoding import read_image, read_image_size
from d2eval.hpatches.dataset import read_homography
from d2eval.hpatches.report.published import score_columns
from d2eval.inloc.data import files as inloc_files
from d2eval.inloc.data.alignments import read_alignment
from d2eval.inloc.data.retrieval import read_pair_list
from d2eval.inloc.protocol import load_benchmark as load_inloc
from d2eval.inloc.report import views
from d2eval.inloc.report.site import SITE as INLOC_SITE
from d2eval.pipeline.featurefiles import read_feature_file, read_hloc_features
from d2eval.runs.columns import Column, number
from d2eval.runs.manifest import read_manifest
from d2eval.runs.rows import read_rows, reading
from d2eval.twoview.dataset import COLUMNS as TWO_VIEW_COLUMNS
from d2eval.twoview.dataset import read_list as read_two_view_list
from d2eval.twoview.protocol import load_two_view
from methods.d2net.training import checkpoint
from methods.d2net.training.data import posed
from methods.d2net.training.data.depth_files import read_depth
from methods.d2net.training.data.scene_file import FORMAT, read_scene_file
from methods.d2net.training.logs import RunLog
from methods.vgg16.layers import CONVOLUTIONS
from methods.vgg16_dense.matlab import read_netvlad

CAMERA_LINES = "db/1.jpg SIMPLE_RADIAL 8 6 9.5 4 3 .25\n# two\ndb/2.jpg PINHOLE 8 6 9 9 4 3\n"
NVM = (
    "NVM_V3\n\n2\ndb/1.jpg 500 1 0 0 0 1 2 3 0.1 0\ndb/2.jpg 500 .6 .8 0 0 4 5 6 0 0\n\n"
    "2\n1 2 3 255 0 0 2 0 7 1.5 2 1 3 4 5\n1 2 4 9 9 9 1 1 5 2 2\n"
)
ALIGNMENT = "Before:\n" + 2 * " 1 0 0 9\n 0 1 0 9\n 0 0 1 9\n 0 0 0 1\n\nAfter:\n"
QUERIES, CUTOUTS = ("IMG_1.JPG", "IMG_2.JPG"), ("DUC1/000/a_0_0.jpg", "DUC1/000/a_30_0.jpg")
RETRIEVAL = f"{QUERIES[0]} {CUTOUTS[1]}\n{QUERIES[0]} {CUTOUTS[0]}\n{QUERIES[1]} {CUTOUTS[0]}\n"
TOML = '[a.b]\nx = 3\ny = [1.5, "t", {z = 1979-05-27}]\n\n[[c]]\nd = """\nlong"""\n'
SUMMARY = 'method,split,mean_features,mean_matches,mma_1px,note\nm,overall,9.5,4,0.5,"a, b"\n'
SITE_HEAD = "position_m,rotation_deg,percent,source,date\n"


@lru_cache
def databases() -> list[bytes]:
    """A database of COLMAP 3.5's layout, without and with a second page for each table."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (2, 300):
            path = Path(folder) / f"{count}.db"
            database = sqlite3.connect(path)
            database.executescript(
                "PRAGMA page_size = 1024;"
                "CREATE TABLE cameras (camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model"
                " INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, params BLOB,"
                " prior_focal_length INTEGER NOT NULL);"
                "CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name"
                " TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL);"
                "CREATE TABLE keypoints (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT"
                " NULL, cols INTEGER NOT NULL, data BLOB);"
                "PRAGMA user_version = 3400;"
            )
            params = np.array([9.5, 4, 3, 0.25]).tobytes()
            database.executemany(
                "INSERT INTO cameras VALUES (?, 2, 8, 6, ?, 0)",
                [(k, params) for k in range(1, count + 1)],
            )
            database.executemany(
                "INSERT INTO images VALUES (?, ?, ?)",
                [(k, f"db/{k}.jpg", k) for k in range(1, count + 1)],
            )
            database.execute("INSERT INTO keypoints VALUES (1, 2, 2, zeroblob(2000))")
            database.commit()
            database.close()
            found.append(path.read_bytes())
    return found


@lru_cache
def references() -> list[bytes]:
    kinds = [("queryname", object), ("P", object)]
    poses = np.array([[("IMG_1.JPG", np.eye(4)[:3])]], kinds)
    found = []
    for options in ({}, {"do_compression": True}):
        data = io.BytesIO()
        scipy.io.savemat(data, {"DUC1_RefList": poses}, **options)
        found.append(data.getvalue())
    return found


def hdf5(fill: Callable[[h5py.File], None]) -> Callable[[], list[bytes]]:
    def make() -> list[bytes]:
        data = io.BytesIO()
        with h5py.File(data, "w") as file:
            fill(file)
        return [data.getvalue()]

    return lru_cache(make)


def sealed(name: str, make: Callable[[], list[bytes]]) -> Callable[[], list[bytes]]:
    return lambda: [seal(name, content) for content in make()]


def fill_matches(file: h5py.File) -> None:
    file.attrs["images"] = "images"
    file["0/1/points_query"] = file["0/1/points_database"] = np.ones((3, 2), np.float32)
    file["0/1/kind"] = np.array([0, 1, 2], np.int8)
    file["0"].attrs["name"], file["0/1"].attrs["name"] = "q.jpg", "db/1.jpg"


def fill_views(file: h5py.File) -> None:
    data = io.BytesIO()
    Image.new("RGB", (24, 16)).save(data, "JPEG")
    file["0/image"] = file["0/1/image"] = np.frombuffer(data.getvalue(), np.uint8)
    file.create_dataset("0/1/valid", data=np.ones((16, 24), bool), compression="gzip")
    file["0/1/centers"] = np.array([[6, 5], [10, 5], [6, 9]], np.uint16)
    file["0/1/distances"] = np.ones(3, np.float16)
    file["0"].attrs["name"], file["0/1"].attrs["name"] = "q.jpg", "DUC1/000/a_0_0.jpg"
    file["0/1"].attrs["score"] = 1.5


def fill_depth(file: h5py.File) -> None:
    file.create_dataset("depth", data=np.ones((6, 8), np.float16), compression="gzip")


def depth_files(suffix: str) -> Callable[[], list[bytes]]:
    def make() -> list[bytes]:
        data = io.BytesIO()
        if suffix == ".npy":
            np.save(data, np.ones((6, 8), np.float32))
        else:
            Image.fromarray(np.full((6, 8), 4000, np.uint16)).save(data, "PNG")
        return [data.getvalue()]

    return make


@lru_cache
def megadepth() -> list[bytes]:
    arrays = {
        "format": FORMAT,
        "root": "/data",
        "image_paths": ["a.jpg", "b.jpg"],
        "depth_paths": ["a.h5", "b.h5"],
        "intrinsics": np.stack([np.eye(3)] * 2),
        "poses": np.stack([np.eye(4)] * 2),
        "pairs": [[0, 1], [1, 0]],
        "overlaps": np.ones(2, np.float32),
        "scale_ratios": np.ones(2, np.float32),
        "offsets": [0, 1, 3],
        "point_ids": [5, 5, 6],
        "points": np.ones((3, 2), np.float32),
        "normalized_depths": np.ones(3, np.float32),
    }
    found = []
    for save in (np.savez, np.savez_compressed):
        data = io.BytesIO()
        save(data, **arrays)
        found.append(data.getvalue())
    return found


def images(*kinds: str, mode: str = "RGB", **options: object) -> Callable[[], list[bytes]]:
    def make() -> list[bytes]:
        pixels = np.random.default_rng(1).integers(0, 256, (12, 17, 3), np.uint8)
        found = []
        for kind in kinds:
            data = io.BytesIO()
            Image.fromarray(pixels).convert(mode).save(data, kind, **options)
            found.append(data.getvalue())
        return found

    return lru_cache(make)


def tiffs() -> list[bytes]:
    kinds = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    found = [images("TIFF", compression=kind)()[0] for kind in kinds]
    deep = np.linspace(0, 1, 99, dtype=np.float32).reshape(9, 11)
    for samples in (deep, (deep * 65535).astype(np.uint16)):
        data = io.BytesIO()
        Image.fromarray(samples).save(data, "TIFF")
        found.append(data.getvalue())
    return [*found, images("TIFF", mode="1", compression="group4")()[0]]


PPM_TEXT = "P3\n# c\n2 2\n255\n1 2 3 40 50 60\n7 8 9 100 200 255\n"


def feature_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    descriptors = rng.normal(size=(5, 8)).astype(np.float32)
    return {
        "keypoints": rng.uniform(0, 5, (5, 3)).astype(np.float32),
        "scores": rng.random(5).astype(np.float32),
        "descriptors": descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
    }


@lru_cache
def npz_features() -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        data = io.BytesIO()
        save(data, **feature_arrays())
        found.append(data.getvalue())
    return found


@lru_cache
def mat_features() -> list[bytes]:
    found = []
    for compressed in (False, True):
        data = io.BytesIO()
        scipy.io.savemat(data, feature_arrays(), do_compression=compressed)
        found.append(data.getvalue())
    return found


def mat73(fill: Callable[[h5py.File], None]) -> Callable[[], list[bytes]]:
    """Version 7.3 of a .mat file: HDF5 behind a head of its own."""

    def make() -> list[bytes]:
        data = io.BytesIO()
        with h5py.File(data, "w", userblock_size=512) as file:
            fill(file)
        return [b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + data.getvalue()[128:]]

    return lru_cache(make)


def fill_mat_features(file: h5py.File) -> None:
    for name, array in feature_arrays().items():
        file.create_dataset(name, data=array.T, compression="gzip")
        file[name].attrs["MATLAB_class"] = np.bytes_("single")


def fill_structs(file: h5py.File) -> None:
    """A struct array, whose values are references, and one without values."""

    def stored(name: str, value: np.ndarray, kind: str) -> h5py.Reference:
        item = file.create_dataset(f"#refs#/{name}", data=value)
        item.attrs["MATLAB_class"] = np.bytes_(kind)
        return item.ref

    texts = [[stored(c, np.array([[ord(c)], [46]], np.uint16), "char")] for c in "ab"]
    poses = [[stored(c, np.eye(4)[:3].T, "double")] for c in "cd"]
    group = file.create_group("DUC1_RefList")
    group.attrs["MATLAB_class"] = np.bytes_("struct")
    group["queryname"], group["P"] = (np.array(x, h5py.ref_dtype) for x in (texts, poses))
    file["empty"] = np.array([0, 0], np.uint64)
    file["empty"].attrs["MATLAB_empty"], file["empty"].attrs["MATLAB_class"] = (
        1,
        np.bytes_("double"),
    )


def fill_hloc(file: h5py.File) -> None:
    arrays = feature_arrays()
    group = file.create_group("db/1.jpg")
    group["keypoints"] = arrays["keypoints"][:, :2].astype(np.float16)
    group["scores"], group["image_size"] = arrays["scores"], np.array([17, 12])
    group.create_dataset("descriptors", data=arrays["descriptors"].T, compression="gzip")


def read_mat(path: Path) -> object:
    return [read_variable(path, name) for name in list_variables(path)]


@lru_cache
def networks() -> list[bytes]:
    """A NetVLAD network with tiny layers."""
    layers = np.empty(34, object)
    for index in range(34):
        layers[index] = {"type": "other"}
    shapes = {index: ((3, 3, 2, 2), (1, 2)) for _, index, _, _ in CONVOLUTIONS}
    shapes |= {30: ((4, 3), (4, 3)), 33: ((1, 1, 12, 2), (1, 2))}
    for index, parts in shapes.items():
        cell = np.empty(2, object)
        cell[:] = [np.ones(shape, np.float32) for shape in parts]
        layers[index] = {"weights": cell}
    data = io.BytesIO()
    scipy.io.savemat(data, {"net": {"layers": layers}}, do_compression=True)
    return [data.getvalue()]


def read_pictures(what: str, load: Callable[[Path, str], object]) -> Callable[[Path], object]:
    return lambda path: [load(path, name) for name in group_names(path, what, "")]


def scene_files() -> dict[str, bytes]:
    image, depth = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 6)).save(image, "PNG")
    np.save(depth, np.ones((6, 8), np.float32))
    names = ("a", "b")
    files = {f"images/{name}.png": image.getvalue() for name in names}
    return files | {f"depth/{name}.npy": depth.getvalue() for name in names}


CAMERA = {"intrinsics": [[9, 0, 4], [0, 9, 3], [0, 0, 1]], "cam_from_world": np.eye(4).tolist()}
CAMERAS = json.dumps({"a.png": CAMERA, "b.png": CAMERA}, indent=1)
RUN_MANIFEST = json.dumps(
    {
        "benchmark": "hpatches",
        "label": "m",
        "method": "m",
        "top_k": None,
        "dataset": {"completeness": "complete", "sequences": 7},
        "weights": {"name": "d2", "description": "d", "sha256": "0" * 64, "stand_in": True},
    }
)
RUN_ROWS = "method,split,pairs,mean_features,mean_matches,mma_1px,dataset,weights\n" + "".join(
    f"m,{split},5,9.5,4,0.5,complete,d\n" for split in ("overall", "i", "v")
)


TENSORS = {"a.weight": torch.arange(24.0).reshape(2, 3, 4), "a.bias": torch.ones(2).half()}


TWO_VIEW_NUMBERS = "500,500,320,240,500,500,320,240,1,0,0,1,0,1,0,0,0,0,1,0"


def torch_files() -> list[bytes]:
    """As d2-net's train.py saves, and sparse, in both of PyTorch's formats."""
    beside = {"args": argparse.Namespace(lr=1e-3), "loss": [np.float64(0.5)], "epoch_idx": 2}
    sparse = {name: tensor.to_sparse() for name, tensor in TENSORS.items()}
    return [
        saved(content, _use_new_zipfile_serialization=is_zip)
        for content in ({**beside, "model": TENSORS}, sparse)
        for is_zip in (True, False)
    ]


def checkpoints() -> list[bytes]:
    progress = asdict(checkpoint.Progress(epoch=1, best_loss=0.5))
    return [saved({"work": "{}", "progress": progress, "layers": TENSORS})]


def saved(content: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def read_steps(path: Path) -> str:
    with RunLog(path.parent, 2, 1):
        return path.read_text()


def read_summary(path: Path) -> object:
    with reading(path, "run it again"):
        rows = read_rows(path, (Column("method"), Column("mean_features")))
        return rows, [number(row, "mean_features") for row in rows]


MODEL_TEXTS = {
    "cameras.txt": "# c\n1 PINHOLE 8 6 9 9.5 4 3\n2 SIMPLE_PINHOLE 8 6 9 4 3\n",
    "images.txt": "# c\n1 1 0 0 0 1 2 3 1 a.jpg\n2 3 1 4.5 2.5 -1\n2 1 0 0 0 1 2 4 2 b.jpg\n\n",
    "points3D.txt": "# c\n1 0 0 9 1 2 3 .5 1 0\n",
}


@lru_cache
def model_files(suffix: str) -> dict[str, bytes]:
    """COLMAP's model of two images and a point."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in MODEL_TEXTS.items():
            (Path(folder) / name).write_text(text)
        pycolmap.Reconstruction(folder).write_binary(folder)
        return {path.name: path.read_bytes() for path in Path(folder).glob(f"*{suffix}")}


def model_parsers() -> list[Parser]:
    """Each file of a model damaged, the others whole."""
    return [
        Parser(
            f"model-{Path(name).stem}-{suffix}",
            name,
            partial(lambda name, suffix: [model_files(suffix)[name]], name, f".{suffix}"),
            lambda path: read_model(path.parent),
            suffix == "txt",
            partial(model_files, f".{suffix}"),
        )
        for suffix in ("bin", "txt")
        for name in (f"{part}.{suffix}" for part in ("cameras", "images", "points3D"))
    ]


PARSERS = {
    parser.name: parser
    for parser in (
        Parser("poses", "poses.txt", texts("# p\na.jpg 1 0 0 0 1 2 3\nb.jpg .6 .8 0 0 1e-3 2 3\n"),
               read_poses),
        Parser("aachen-database", "database.db", databases, read_database, is_text=False),
        Parser("aachen-intrinsics", "list.txt", texts(CAMERA_LINES), read_intrinsics),
        Parser("aachen-pairs", "pairs.txt", texts("a.jpg b.jpg\n\n# c\nb.jpg c.jpg\n"), read_pairs),
        Parser("aachen-nvm", "model.nvm", texts(NVM), read_nvm),
        Parser("aachen-tracks", "model.nvm", texts(NVM), lambda path: read_tracks(path, 2)),
        Parser("inloc-intrinsics", "intrinsics.txt",
               texts("IMG_1.JPG PINHOLE 8 6 9 9.5 4 3\nquery/IMG_2.JPG PINHOLE 6 8 9 9 3 4\n"),
               inloc_files.read_intrinsics),
        Parser("inloc-alignment", "DUC_trans_000.txt", texts(ALIGNMENT), read_alignment),
        Parser("inloc-pair-list", "pairs.txt", texts(RETRIEVAL),
               lambda path: read_pair_list(path, QUERIES, CUTOUTS, load_inloc().layout, [])),
        Parser("inloc-references", "DUC_refposes_all.mat", references,
               inloc_files.read_references, is_text=False),
        Parser("homography", "H_1_2", texts("1 0 .5\n0 1 -2e-3\n1e-5 0 1\n"), read_homography),
        Parser("cifar10-batch", "test_batch.bin", lambda: [bytes([9, *[7] * 3072, 0, *[5] * 3072])],
               lambda path: read_batch(path, load_cifar10().data, any_count=True),
               is_text=False),
        Parser("cifar10-settings", "sweep.toml",
               texts("epochs = [1, 2]\n[[configurations]]\nnesterov = [true, false]\n"),
               lambda path: chosen_configurations(str(path), load_cifar10())),
        Parser("two-view-list", "pairs.csv",
               texts(f"{','.join(TWO_VIEW_COLUMNS)}\ns,a.jpg,b.jpg,{TWO_VIEW_NUMBERS}\n"),
               read_two_view_list),
        Parser("two-view-protocol", "mine.toml",
               texts('extends = "twoview"\nkeypoints = 9\n[errors]\nfailure_deg = 90.0\n'),
               lambda path: load_two_view(str(path))),
        Parser("toml", "x.toml", texts(TOML), load_toml),
        Parser("manifest", "manifest.json", texts(RUN_MANIFEST),
               lambda path: read_manifest(path.parent)),
        Parser("hpatches-run-manifest", "manifest.json", texts(RUN_MANIFEST),
               lambda path: load_run(path.parent, "hpatches", score_columns([1])),
               beside=lambda: {"summary.csv": RUN_ROWS.encode()}),
        Parser("hpatches-run-summary", "summary.csv", texts(RUN_ROWS),
               lambda path: load_run(path.parent, "hpatches", score_columns([1])),
               beside=lambda: {"manifest.json": RUN_MANIFEST.encode()}),
        Parser("rows", "summary.csv", texts(SUMMARY), read_summary),
        Parser("aachen-site", "site.csv",
               texts(f"method,label,protocol,epoch,split,{SITE_HEAD}" + "".join(
                   f"m,l,aachen,2020,night,{m},{d},{p},s,2026-01-01\n"
                   for m, d, p in ((0.25, 2, 10), (0.5, 5, 20), (5, 10, 90.5)))),
               AACHEN_SITE.read),
        Parser("inloc-site", "site.csv",
               texts(f"method,label,protocol,floor,{SITE_HEAD}" + "".join(
                   f"m,l,inloc,DUC1,{m},10,{p},s,2026-01-01\n"
                   for m, p in ((0.25, 10), (0.5, 20), (1, 90.5)))),
               INLOC_SITE.read),
        Parser("lines", "list.txt", texts("a.png\n\nb.png\n"), lambda p: list(read_lines(p))),
        Parser("posed-cameras", "cameras.json", texts(CAMERAS),
               lambda path: posed.read_scene(path.parent), beside=scene_files),
        Parser("posed-pairs", "pairs.txt", texts("a.png b.png\nb.png c.png\n"),
               lambda path: posed.read_pairs(path, dict.fromkeys(("a.png", "b.png", "c.png")))),
        Parser("checksums", "checksums.json",
               texts(json.dumps({"w.pth": hashlib.sha256(b"w").hexdigest()})),
               lambda path: verified_path(path.parent, "w.pth"), beside=lambda: {"w.pth": b"w"}),
        Parser("megadepth-scene", "0001.npz", megadepth, read_scene_file, is_text=False),
        Parser("depth-npy", "a.npy", depth_files(".npy"), read_depth, is_text=False),
        Parser("depth-png", "a.png", depth_files(".png"), read_depth, is_text=False),
        Parser("depth-h5", "a.h5", hdf5(fill_depth), read_depth, is_text=False),
        *(Parser(f"image-{name}", "a.png", seeds, read_image, is_text=False)
          for name, seeds in (
              ("png", images("PNG")),
              ("png-palette", images("PNG", mode="P")),
              ("ppm", images("PPM")),
              ("ppm-text", lambda: [PPM_TEXT.encode()]),
              ("pgm-16", lambda: [b"P5 3 2 4095\n" + bytes(range(12))]),
              ("jpeg", images("JPEG")),
              ("jpeg-progressive", images("JPEG", progressive=True)),
              ("bmp", images("BMP")),
              ("tiff", lru_cache(tiffs)),
          )),
        Parser("image-size", "a.png", images("PNG", "PPM", "JPEG", "BMP", "TIFF"),
               read_image_size, is_text=False),
        Parser("features-npz", "a.npz", npz_features,
               lambda path: read_feature_file(path, (17, 12)), is_text=False),
        Parser("features-mat", "a.mat", mat_features,
               lambda path: read_feature_file(path, (17, 12)), is_text=False),
        Parser("features-mat-7.3", "a.mat", mat73(fill_mat_features),
               lambda path: read_feature_file(path, (17, 12)), is_text=False),
        Parser("features-h5", "a.h5", hdf5(fill_hloc),
               lambda path: read_hloc_features(path, "db/1.jpg", (17, 12)), is_text=False),
        Parser("mat", "a.mat", references, read_mat, is_text=False),
        Parser("mat-7.3", "a.mat", mat73(fill_structs), read_mat, is_text=False),
        Parser("netvlad", "net.mat", networks, read_netvlad, is_text=False),
        Parser("matches", "matches.h5", sealed("matches.h5", hdf5(fill_matches)),
               read_pictures(matches.WHAT, matches.load_pairs), is_text=False),
        Parser("views", "views.h5", sealed("views.h5", hdf5(fill_views)),
               read_pictures(views.WHAT, views.load_views), is_text=False),
        Parser("addresses", "addresses.json",
               texts(json.dumps({"w.pth": ["https://a.org/w.pth", "http://b.org/w.pth"]})),
               lambda path: addresses_of(path.parent, "w.pth")),
        Parser("weights-pth", "w.pth", torch_files, load_state_dict, is_text=False),
        Parser("weights-safetensors", "w.safetensors",
               lambda: [to_safetensors(TENSORS, {"note": "a b"})], load_state_dict, is_text=False),
        Parser("checkpoint", "checkpoint.pt", checkpoints,
               lambda path: checkpoint.load(path, "{}"), is_text=False),
        Parser("training-steps", "steps.csv",
               texts("step,epoch,loss\n1,1,0.5\n2,1,.25\n3,2,1e-3\n"), read_steps),
        *model_parsers(),
        *OWN_PARSERS,
    )
}  # fmt: skip
