"""Readers of what d2eval and its helpers write: stores, runs, reports, archives, downloads."""

import dataclasses
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import scipy.io
from kinds import Parser, texts
from tensorbundle_files import checkpoint

from d2eval.cifar10.batches import _class_names
from d2eval.comparison.choice import Found
from d2eval.contracts import citations
from d2eval.contracts.features import Features
from d2eval.contracts.identity import Identity
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.evaluation.benchmark import benchmark_class
from d2eval.foundation.downloads.download import _unpack
from d2eval.foundation.downloads.transfer import _version_of
from d2eval.foundation.files.folders import RECORD, build_once
from d2eval.foundation.files.reading import read_bytes, require_file
from d2eval.foundation.formats.tensorbundle import read_bundle
from d2eval.foundation.machine.resources import Cost
from d2eval.hpatches.homographies.pairs import COLUMNS as HOMOGRAPHY_COLUMNS
from d2eval.hpatches.homographies.pairs import read_pairs
from d2eval.hpatches.homographies.protocol import load_homographies
from d2eval.inloc.data.retrieval import read_score_matrix
from d2eval.inloc.protocol import load_benchmark as load_inloc
from d2eval.leaderboard.collect import _described, collect
from d2eval.leaderboard.costs import costs_of
from d2eval.pipeline.packs import bytes_of, pack
from d2eval.pipeline.store import Store
from d2eval.report.page.results import read_results, results_text
from d2eval.report.speed import with_earlier
from d2eval.runs.archive import INDEX
from d2eval.runs.archive import pack as pack_run
from d2eval.runs.archive import unpack as unpack_run
from d2eval.runs.manifest import load_manifest
from d2eval.runs.measured import SHIPPED_RUNS, RunPlace
from d2eval.scheduling.cluster import address_in

Seeds = Callable[[], list[bytes]]

UNITS = {
    "a" * 64: {"matches": np.arange(8, dtype=np.int32).reshape(4, 2)},
    "b" * 64: {"record": np.frombuffer(b'{"seconds": 1.5}', np.uint8)},
    "c" * 64: {"matches": np.zeros((0, 2), np.int32), "side": np.ones(3, np.float32)},
}
PACKS = "matches/0123456789abcdef"


@lru_cache
def packs() -> list[bytes]:
    content = {name: bytes_of(arrays) for name, arrays in UNITS.items()}
    return [pack(content), pack(dict([*content.items()][:2])), pack(dict([*content.items()][2:]))]


def read_units(path: Path) -> object:
    """Each unit of a pack as it was written, or none of them that is damaged."""
    store = Store(path.parents[2])
    found = {name: store.read_arrays(path.parent / name) for name in UNITS}
    for name, arrays in found.items():
        if arrays is not None:
            assert arrays.keys() == UNITS[name].keys()
            assert all(np.array_equal(arrays[key], own) for key, own in UNITS[name].items())
    return [name for name, arrays in found.items() if arrays is not None] or None


METHOD = Identity("m", 1, {}, NONE_NEEDED)
FEATURES = Features(
    np.ones((3, 2), np.float32), np.ones(3, np.float32), np.eye(3, 8, dtype=np.float32), (17, 12)
)
FEATURE_FILE = f"features/{Store(Path()).features_folder(METHOD).name}/{'0' * 64}.h5"


@lru_cache
def stored_features() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        Store(Path(folder)).write_features(METHOD, "0" * 64, FEATURES, Cost(0.5, 100.0))
        return [(Path(folder) / FEATURE_FILE).read_bytes()]


def read_stored_features(path: Path) -> object:
    found = Store(path.parents[2]).read_features(METHOD, "0" * 64)
    if found is not None:
        assert np.array_equal(found.features.descriptors, FEATURES.descriptors)
    return found


def build(folder: Path) -> None:
    (folder / "a.txt").write_text("a")


@lru_cache
def folder_records() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        build_once(Path(folder) / "x", build)
        return [(Path(folder) / "x" / RECORD).read_bytes()]


def read_folder(path: Path) -> object:
    built: list[Path] = []
    build_once(path.parent, lambda folder: built.append(folder) or build(folder))
    return None if built else "whole"


VERSION = {"url": "https://a.org/w.pth", "validator": '"1"', "total": 9}
RUNS = {"hpatches": SHIPPED_RUNS / "hpatches/d2_ss", "aachen": SHIPPED_RUNS / "aachen/d2_ss",
        "inloc": SHIPPED_RUNS / "inloc/d2_ss_direct"}  # fmt: skip


@lru_cache
def run_files(benchmark: str) -> dict[str, bytes]:
    """A run's files, of whose lists of queries and pairs the first lines stand for all."""
    files = {}
    for path in RUNS[benchmark].iterdir():
        text = path.read_bytes()
        short = path.name in ("queries.csv", "pairs.csv")
        files[path.name] = b"".join(text.splitlines(True)[:5]) if short else text
    return files


def read_run(path: Path, benchmark: str) -> object:
    """Of a run what `d2eval report` and `d2eval compare` read of it."""
    folder = path.parent
    run = Found(RunPlace("run", folder), load_manifest(folder, benchmark).content)
    items = benchmark_class(benchmark)().items_of(folder, "run")
    return _described(run, benchmark, ""), costs_of(run.manifest, ()), items


def run_parsers() -> list[Parser]:
    """Each file of a run damaged, the others whole."""
    return [
        Parser(
            f"run-{benchmark}-{Path(name).stem}",
            f"runs/{benchmark}/run/{name}",
            partial(lambda benchmark, name: [run_files(benchmark)[name]], benchmark, name),
            partial(read_run, benchmark=benchmark),
            tries=4,
            beside=partial(
                lambda benchmark: {
                    f"runs/{benchmark}/run/{name}": content
                    for name, content in run_files(benchmark).items()
                },
                benchmark,
            ),
        )
        for benchmark, file in (("hpatches", "pairs.csv"), ("aachen", "queries.csv"),
                                ("inloc", "queries.csv"))
        for name in ("manifest.json", "summary.csv", file)
    ]  # fmt: skip


@lru_cache
def reports() -> list[bytes]:
    """A report of a run with few lines."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "aachen/run"
        run.mkdir(parents=True)
        for name, content in run_files("aachen").items():
            (run / name).write_bytes(content)
        return [results_text([collect("ours", [Path(folder)], print)]).encode()]


@lru_cache
def run_archives() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        run, path = Path(folder) / "run", Path(folder) / "run.zip"
        run.mkdir()
        for name, content in run_files("aachen").items():
            (run / name).write_bytes(content)
        pack_run(run, "run", path)
        return [path.read_bytes()]


def run_indices() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(run_archives()[0])) as archive:
        return [archive.read(INDEX)]


def read_repacked(path: Path) -> object:
    """An archive with another index, whose checksums are right."""
    changed = path.with_suffix(".zip")
    with (
        zipfile.ZipFile(io.BytesIO(run_archives()[0])) as whole,
        zipfile.ZipFile(changed, "w") as archive,
    ):
        for name in whole.namelist():
            archive.writestr(name, read_bytes(path) if name == INDEX else whole.read(name))
    return unpack_run(changed)


@lru_cache
def bundles() -> dict[str, bytes]:
    """A checkpoint of TensorFlow's, with two data files."""
    files = checkpoint({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3)}, 2)
    return {f"model{suffix}": content for suffix, content in files.items()}


def bundle_file(part: str) -> list[bytes]:
    return [bundles()[f"model.{part}"]]


@lru_cache
def archives_of_files(*modes: str) -> list[bytes]:
    found = []
    for mode in modes:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode=f"w:{mode}") as archive:
            for name, content in bundles().items():
                member = tarfile.TarInfo(f"models/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        found.append(data.getvalue())
    return found


@lru_cache
def zips() -> list[bytes]:
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    found = []
    for kind in kinds:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", kind) as archive:
            archive.writestr("models/model.index", bundles()["model.index"])
        found.append(data.getvalue())
    return found


def read_member(path: Path) -> object:
    require_file(path)
    part = path.with_name("part")
    _unpack("https://a.org/x", path, "models/model.index", part, 2**20)
    return part.read_bytes()


@lru_cache
def score_files() -> dict[str, bytes]:
    layout = load_inloc().layout
    found = {}
    for file, variable, value in (
        ("scores.mat", "score", np.array([[0.5, 1.0], [2.0, 0.25]])),
        (layout.query_names, Path(layout.query_names).stem, list(QUERIES)),
        (layout.cutout_names, Path(layout.cutout_names).stem, list(CUTOUTS)),
    ):
        if isinstance(value, list):
            names = np.empty((1, len(value)), object)
            names[0] = value
            value = names
        data = io.BytesIO()
        scipy.io.savemat(data, {variable: value})
        found[file] = data.getvalue()
    return found


QUERIES, CUTOUTS = ("IMG_1.JPG", "IMG_2.JPG"), ("DUC1/000/a_0_0.jpg", "DUC1/000/a_30_0.jpg")
HOMOGRAPHIES = f"{','.join(HOMOGRAPHY_COLUMNS)}\ns,a.png,b.png,1,0,.5,0,1,-2e-3,1e-5,0,1\n"
HOMOGRAPHY_TOML = (
    'extends = "homography"\nwithout = ["errors.failure"]\nexcluded = ["v_a"]\n'
    '[errors]\nfailure = "origin"\nthresholds_px = [1, 3.5]\n'
)
SPEED = (
    "what,size,features,seconds,features_per_second,network_seconds,outside_share,gflop,"
    "gflop_per_s,gemm_gflop_per_s,ratio_to_gemm,peak_memory_mib,stored_mb,device,threads\n"
    "m,640x480,9,.5,18,.4,.2,3,7.5,9,.8,300,1.5,cpu,2\n"
)
BIBTEX = "@article{a2020,\n  author = {A, B and C, D},\n  year = {2020},\n  title = {T}\n}\n"

OWN_PARSERS = (
    Parser("pack", f"{PACKS}/x.pack", packs, read_units, is_text=False, is_anew=True),
    Parser("stored-features", FEATURE_FILE, stored_features, read_stored_features,
           is_text=False, is_anew=True),
    Parser("folder-record", f"x/{RECORD}", folder_records, read_folder, is_anew=True,
           beside=lambda: {"x/a.txt": b"a"}),
    Parser("download-part", "w.pth.part.json", texts(json.dumps(VERSION)),
           lambda path: _version_of(path.with_suffix(""), VERSION["url"]), is_anew=True,
           beside=lambda: {"w.pth.part": b"w"}),
    Parser("download-zip", "archive.part", zips, read_member, is_text=False),
    Parser("download-tar", "archive.part",
           lambda: archives_of_files("", "gz", "bz2", "xz"), read_member, is_text=False),
    Parser("scheduler", "scheduler.json",
           texts('{"type": "Scheduler", "address": "tcp://10.0.0.1:8786", "workers": {}}'),
           address_in),
    Parser("homography-list", "pairs.csv", texts(HOMOGRAPHIES),
           lambda path: read_pairs(path.parent), beside=lambda: {"a.png": b"", "b.png": b""}),
    Parser("homography-protocol", "mine.toml", texts(HOMOGRAPHY_TOML),
           lambda path: dataclasses.asdict(load_homographies(str(path)))),
    Parser("cifar10-names", "batches.meta.txt", texts("cat\ndog\n\n"),
           lambda path: _class_names(path, 2)),
    Parser("inloc-scores", "scores.mat", lambda: [score_files()["scores.mat"]],
           lambda path: read_score_matrix(path, QUERIES, CUTOUTS, load_inloc().layout, 2),
           is_text=False, beside=score_files),
    Parser("speed", "speed.csv", texts(SPEED), lambda path: with_earlier(path, [])),
    Parser("citations", "citations.bib", texts(BIBTEX), citations._read.__wrapped__),
    Parser("results", "results.json", reports, read_results),
    *run_parsers(),
    Parser("run-archive", "run.zip", run_archives, unpack_run, is_text=False),
    Parser("run-archive-index", INDEX, run_indices, read_repacked, is_text=False),
    *(Parser(f"tensorbundle-{part}", f"model.{part}", partial(bundle_file, part),
             lambda path: read_bundle(path.with_name("model.index"), "get it again"),
             is_text=False, beside=bundles)
      for part in ("index", "data-00000-of-00002")),
    Parser("tensorbundle-tar", "model.tar.gz", lambda: archives_of_files("", "gz", "bz2", "xz"),
           lambda path: read_bundle(path, "get it again", "models"), is_text=False),
)  # fmt: skip
