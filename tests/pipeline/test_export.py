import io
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from d2eval.contracts.features import OPTIONAL, Features, make_features
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.atomic import exclusive
from d2eval.pipeline.export import (
    check_extension,
    feature_file,
    find_images,
    write_feature_files,
    write_hdf5,
)
from d2eval.pipeline.featurefiles import read_feature_file, read_hloc_features

SIZE = (40, 30)


def make(n: int, scales: bool = True, seed: int = 0, origin: str = "center") -> Features:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(n, 8))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return make_features(
        rng.uniform(0.5, 29.5, (n, 2)), rng.random(n), descriptors, SIZE,
        rng.uniform(1, 4, n) if scales else None, origin,
        rng.uniform(-3, 3, n) if scales else None, rng.normal(size=(n, 2, 2)) if scales else None,
    )  # fmt: skip


def same(a: Features, b: Features) -> bool:
    scales = all(
        np.array_equal(getattr(a, name), getattr(b, name))
        if getattr(a, name) is not None
        else getattr(b, name) is None
        for name in OPTIONAL
    )
    parts = ("keypoints", "scores", "descriptors")
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in parts)
    return scales and arrays and (a.image_size, a.origin) == (b.image_size, b.origin)


@pytest.fixture
def images(tmp_path):
    """A folder of small images in two folders, and what is no image beside them."""
    root = tmp_path / "images"
    for name in ("a/1.ppm", "a/2.JPG", "b/deep/1.ppm", "a/.hidden.png", ".cache/1.ppm"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE).save(root / name)
    (root / "a" / "H_1_2").write_text("no image")
    (root / "a" / "1.ppm.d2-net").write_text("no image")
    return root


def test_npz_has_the_authors_layout():
    features = replace(
        make(5), orientations=None, affine_shapes=None
    )  # as D2-Net's, which has none
    data = feature_file(features, "npz")
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == [
        "keypoints.npy", "scores.npy", "descriptors.npy"
    ]  # fmt: skip
    arrays = dict(np.load(io.BytesIO(data)))
    assert {name: a.shape for name, a in arrays.items()} == {
        "keypoints": (5, 3), "scores": (5,), "descriptors": (5, 8)
    }  # fmt: skip
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert np.array_equal(arrays["keypoints"][:, :2], features.keypoints)
    assert np.array_equal(arrays["keypoints"][:, 2], features.scales)
    assert feature_file(features, "npz") == data


def test_mat_has_the_authors_layout():
    features = replace(make(5), orientations=None, affine_shapes=None)
    data = feature_file(features, "mat")
    assert data.startswith(b"MATLAB 5.0 MAT-file")
    arrays = {k: v for k, v in loadmat(io.BytesIO(data)).items() if not k.startswith("__")}
    assert {name: a.shape for name, a in arrays.items()} == {
        "keypoints": (5, 3), "scores": (1, 5), "descriptors": (5, 8)
    }  # fmt: skip
    assert np.array_equal(arrays["descriptors"], features.descriptors)


def test_without_scales_keypoints_have_two_columns():
    arrays = np.load(io.BytesIO(feature_file(make(5, scales=False), "npz")))
    assert arrays["keypoints"].shape == (5, 2)


def read_back(tmp_path: Path, features: Features, kind: str, **options: str) -> Features:
    if kind == "h5":
        write_hdf5([("a/1.ppm", features)], tmp_path / "x.h5")
        return read_hloc_features(tmp_path / "x.h5", "a/1.ppm", SIZE, **options)[0]
    (tmp_path / "1.ppm.x").write_bytes(feature_file(features, kind))
    return read_feature_file(tmp_path / "1.ppm.x", SIZE, **options)[0]


@pytest.mark.parametrize("kind", ["npz", "mat", "h5"])
@pytest.mark.parametrize("scales", [True, False])
@pytest.mark.parametrize("n", [1, 2, 5, 300])
@pytest.mark.parametrize("origin", ["center", "corner", "matlab"])
def test_a_file_reads_back_as_it_was(tmp_path, kind, scales, n, origin):
    features = make(n, scales, origin=origin)
    assert same(read_back(tmp_path, features, kind), features)


@pytest.mark.parametrize("kind", ["npz", "mat", "h5"])
def test_no_features_read_back_as_none(tmp_path, kind):
    found = read_back(tmp_path, make(0), kind)
    assert (len(found), found.descriptors.shape, found.image_size) == (0, (0, 8), SIZE)


@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_keypoints_are_written_as_the_method_s_own_files_have_them(tmp_path, kind):
    features = make(5, origin="corner")
    data = feature_file(features, kind)
    arrays = np.load(io.BytesIO(data)) if kind == "npz" else loadmat(io.BytesIO(data))
    assert np.array_equal(arrays["keypoints"][:, :2], features.keypoints + np.float32(0.5))
    assert arrays["pixel_center"] == 0.5
    # A choice that agrees with what the file says is none; another is a mistake
    assert same(read_back(tmp_path, features, kind, origin="corner"), features)
    with pytest.raises(D2EvalError, match=r"pixel_center says .* the corner; leave --origin out"):
        read_back(tmp_path, features, kind, origin="center")


def test_hdf5_counts_from_centres_and_says_where_the_method_s_own_files_do(tmp_path):
    features = make(5, origin="corner")
    assert same(read_back(tmp_path, features, "h5", origin="center"), features)
    with h5py.File(tmp_path / "x.h5", "r") as file:
        assert np.array_equal(file["a/1.ppm/keypoints"][()], features.keypoints)
        assert dict(file["a/1.ppm/keypoints"].attrs) == {"own_pixel_center": 0.5}
    with pytest.raises(D2EvalError, match="counts from pixel centres; leave --origin out"):
        read_back(tmp_path, features, "h5", origin="corner")


def test_files_mirror_the_names_and_features_are_counted(tmp_path):
    items = [("a/1.ppm", make(3)), ("2.ppm", make(4))]
    assert write_feature_files(iter(items), tmp_path / "new", ".d2", "npz") == 7
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["new/2.ppm.d2", "new/a/1.ppm.d2"]


def test_hdf5_reads_back_as_hloc_reads_it(tmp_path):
    features = {"a/1.ppm": make(5, seed=1), "a/2.ppm": make(0), "3.jpg": make(2, False)}
    assert write_hdf5(iter(features.items()), tmp_path / "out" / "m.h5") == 7
    with h5py.File(tmp_path / "out" / "m.h5", "r", libver="latest") as hfile:
        names = set()

        def visit(_, found):
            if isinstance(found, h5py.Dataset):
                names.add(found.parent.name.strip("/"))

        hfile.visititems(visit)
        assert names == set(features)
        for name, expected in features.items():
            group = {key: value.__array__() for key, value in hfile[name].items()}
            usual = ["descriptors", "image_size", "keypoints", "scores"]
            more = list(OPTIONAL) if expected.scales is not None else []
            assert sorted(group) == sorted(usual + more)
            assert np.array_equal(group["keypoints"], expected.keypoints)
            assert np.array_equal(group["scores"], expected.scores)
            assert np.array_equal(group["descriptors"], expected.descriptors.T)
            assert tuple(group["image_size"]) == SIZE
            for key in ("keypoints", "scores", "descriptors"):
                assert group[key].dtype == np.float32
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name != ".lock"] == ["m.h5"]


def test_hdf5_that_fails_on_the_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.h5"
    write_hdf5([("1.ppm", make(3))], path)
    old = path.read_bytes()

    def broken():
        yield "2.ppm", make(3)
        raise RuntimeError("the method's own")

    with pytest.raises(RuntimeError, match="the method's own"):
        write_hdf5(broken(), path)
    assert path.read_bytes() == old
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "m.h5"]


def test_hdf5_overwrites_what_a_killed_run_left(tmp_path):
    (tmp_path / ".m.h5.tmp").write_bytes(b"half of a file")
    write_hdf5([("1.ppm", make(3))], tmp_path / "m.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "m.h5"]


def test_hdf5_of_two_runs_at_once_is_refused(tmp_path):
    with exclusive(tmp_path), pytest.raises(D2EvalError, match="another run"):
        write_hdf5([("1.ppm", make(3))], tmp_path / "m.h5")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from test_export import make, write_hdf5, write_feature_files, D2EvalError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
items = [(f"{i}.ppm", make(300)) for i in range(9)]
for write in (
    lambda: write_hdf5(items, Path(sys.argv[1], "m.h5")),
    lambda: write_feature_files([*items, ("big.ppm", make(3000))], Path(sys.argv[1]), ".d2", "npz"),
):
    try:
        write()
    except D2EvalError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on file sizes")
def test_a_full_disk_is_one_line_and_leaves_nothing_half(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    hdf5, files = done.stdout.splitlines()
    assert hdf5.startswith(f"{tmp_path / 'm.h5'}: can't be written (File too large)")
    assert files.startswith(f"{tmp_path / 'big.ppm.d2'}: can't be written (File too large)")
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {".lock", *(f"{i}.ppm.d2" for i in range(9))}


def test_a_single_folder_is_the_root(images):
    found = find_images([str(images)])
    assert list(found) == ["a/1.ppm", "a/2.JPG", "b/deep/1.ppm"]
    assert found["a/2.JPG"] == images / "a" / "2.JPG"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["a"], ["1.ppm", "2.JPG"]),
        (["a/1.ppm"], ["1.ppm"]),
        (["a/1.ppm", "b"], ["a/1.ppm", "b/deep/1.ppm"]),
        (["a/1.ppm", "b/deep/1.ppm"], ["a/1.ppm", "b/deep/1.ppm"]),
        (["a/1.ppm", "b/../a/1.ppm", "a"], ["1.ppm", "2.JPG"]),
    ],
)
def test_the_root_is_what_arguments_have_in_common(images, monkeypatch, arguments, names):
    monkeypatch.chdir(images)
    assert list(find_images(arguments)) == names


def test_a_given_root_names_the_images(images, monkeypatch):
    monkeypatch.chdir(images)
    assert list(find_images(["a/1.ppm"], Path())) == ["a/1.ppm"]
    assert list(find_images(["b"], images.parent)) == ["images/b/deep/1.ppm"]


def test_a_list_of_images(images, tmp_path, monkeypatch):
    monkeypatch.chdir(images)
    (tmp_path / "list.txt").write_text("a/2.JPG\n\n  b/deep/1.ppm  \n")
    assert list(find_images([f"@{tmp_path / 'list.txt'}"])) == ["a/2.JPG", "b/deep/1.ppm"]


def test_linked_folders_are_followed_and_loops_are_not(images, tmp_path):
    (images / "b" / "up").symlink_to(images)
    subset = tmp_path / "subset"
    subset.mkdir()
    (subset / "linked").symlink_to(images / "a")
    assert list(find_images([str(images)])) == ["a/1.ppm", "a/2.JPG", "b/deep/1.ppm"]
    assert list(find_images([str(subset)])) == ["linked/1.ppm", "linked/2.JPG"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.ppm"], "nothing.ppm: no such image or folder"),
        (["empty"], "empty: no images in this folder"),
        (["@no.txt"], "no.txt: is missing"),
        (["@empty.txt"], "the list is empty"),
        (["a", "../outside.ppm"], "outside.ppm: not under --root"),
    ],
)
def test_arguments_that_name_no_images(images, monkeypatch, arguments, message):
    monkeypatch.chdir(images)
    (images / "empty").mkdir()
    (images / "empty.txt").write_text("\n")
    Image.new("RGB", SIZE).save(images.parent / "outside.ppm")
    with pytest.raises(D2EvalError, match=message):
        find_images(arguments, images)


def test_extensions():
    assert check_extension("d2-net") == check_extension(".d2-net") == ".d2-net"
    assert check_extension("methods.mine.Feature") == ".methods.mine.Feature"
    for bad in ("", ".", ".png", "a.PNG", f"a{os.sep}b"):
        with pytest.raises(D2EvalError, match="can't name features"):
            check_extension(bad)
