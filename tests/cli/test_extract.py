import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from d2eval.cli import main
from d2eval.contracts.method import Runtime
from d2eval.evaluation.benchmark import Request
from d2eval.evaluation.evaluate import run_benchmark
from d2eval.hpatches.hpatches import HPatches
from d2eval.pipeline.extraction import MethodChoice

TEMPLATE = "methods.TEMPLATE:MyFeature"
LABEL = "methods.TEMPLATE.MyFeature"


@pytest.fixture
def extract(tmp_path, capfd):
    """Runs ``d2eval extract`` into ``feats``: (exit code, standard output, error)."""

    def extract(*arguments, method=TEMPLATE, output="feats"):
        code = main(
            ["extract", "--method", method, "--output", str(tmp_path / output),
             "--cache", str(tmp_path / "cache"), *map(str, arguments)]
        )  # fmt: skip
        return (code, *capfd.readouterr())

    return extract


@pytest.fixture
def rows(tiny_hpatches, tmp_path, no_figures):
    """The rows and summary of a method on the tiny set, less names and costs."""

    def rows(method: str, **options) -> list[dict]:
        runtime = Runtime(cache=tmp_path / "cache")
        request = Request(MethodChoice(method, options), runtime=runtime, output=tmp_path / "runs")
        result = run_benchmark(HPatches(), tiny_hpatches, request)
        pairs = (result.folder / "pairs.csv").read_text().splitlines()
        kept = [i for i, name in enumerate(pairs[0].split(",")) if not _varies(name)]
        return [[line.split(",")[i] for i in kept] for line in pairs] + [
            {k: v for k, v in line.items() if not _varies(k)} for line in result.summary
        ]

    return rows


def _varies(column: str) -> bool:
    return column in ("method", "weights") or column.startswith(("seconds", "peak_memory"))


def files_under(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("npz", "rootsift"),
        *(
            pytest.param(*more, marks=pytest.mark.slow)
            for more in (("mat", TEMPLATE), ("h5", "rootsift"))
        ),
    ],
)
def test_files_score_as_the_method_itself(extract, rows, tiny_hpatches, tmp_path, kind, method):
    code, _, error = extract(tiny_hpatches, "--format", kind, method=method)
    assert (code, error) == (0, "")
    expected = rows(method, num_features=500)
    assert rows(method) == expected  # the tiny images have fewer
    assert rows(f"precomputed:{tmp_path / 'feats'}") == expected
    assert len(expected) == 1 + 10 + 3
    assert expected[-3]["mean_matches"] > 20


def test_the_report_and_the_names(extract, tiny_hpatches, tmp_path):
    code, out, error = extract(tiny_hpatches)
    assert (code, error) == (0, "")
    headline, counts = out.splitlines()
    assert headline == f"{LABEL}: no weights needed"
    total = sum(len(np.load(p)["scores"]) for p in (tmp_path / "feats").rglob(f"*.{LABEL}"))
    where = tmp_path / "feats" / f"*.{LABEL}"
    assert counts == f"{total} features of 12 images (12 extracted now): {where} (npz)"
    assert files_under(tmp_path / "feats") == [
        *(f"i_tiny/{k}.png.{LABEL}" for k in range(1, 7)),
        *(f"v_tiny/{k}.ppm.{LABEL}" for k in range(1, 7)),
    ]


def test_the_weights_are_named_first(extract, tiny_hpatches):
    arguments = (tiny_hpatches / "i_tiny" / "1.png", "--weights", "bundled")
    code, out, _ = extract(*arguments, method="d2_ss")
    assert code == 0
    assert out.splitlines()[0].startswith("d2_ss: weights bundled stand-in (a stand-in for")


def test_extractions_are_not_repeated(extract, tiny_hpatches):
    assert "(12 extracted now)" in extract(tiny_hpatches)[1]
    for arguments in ((), ("--format", "mat"), ("--format", "h5")):
        assert "(0 extracted now)" in extract(tiny_hpatches, *arguments)[1]
    assert "(12 extracted now)" in extract(tiny_hpatches, "--num-features", 9)[1]


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files_under(folder)}


def test_workers_extract_what_the_command_does(extract, tiny_hpatches, tmp_path, workers_here):
    assert extract(tiny_hpatches, output="one")[0] == 0
    arguments = tiny_hpatches, "--fresh", "--scheduler", "local:2"
    code, out, error = extract(*arguments, output="two")
    assert (code, error) == (0, "")
    assert "(12 extracted now)" in out
    units = [unit for block in workers_here.blocks for unit in block.units]
    assert sorted(units) == sorted(str(path) for path in tiny_hpatches.glob("*/?.p*"))
    assert len(contents(tmp_path / "one")) == 12
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert "(0 extracted now)" in extract(tiny_hpatches, "--scheduler", "local:2")[1]
    given = f"precomputed:{tmp_path / 'one'}"
    code, _, error = extract(*arguments, method=given)
    assert code == 2
    assert error == f"d2eval: {given}: has no work for workers; leave --scheduler out\n"


@pytest.mark.slow
def test_two_processes_extract_what_one_does(extract, tiny_hpatches, tmp_path):
    assert extract(tiny_hpatches, "--cache", tmp_path / "a", output="one")[0] == 0
    more = "--cache", tmp_path / "b", "--scheduler", "local:2"
    code, out, _ = extract(tiny_hpatches, *more, output="two")
    assert code == 0
    assert "(12 extracted now)" in out
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_names_extension_and_root(extract, tiny_hpatches, tmp_path):
    image = tiny_hpatches / "v_tiny" / "1.ppm"
    assert extract(image, "--extension", ".d2-net")[0] == 0
    assert extract(image, "--name", "mine", "--root", tiny_hpatches)[0] == 0
    assert extract(image, "--name", "mine", "--format", "h5")[0] == 0
    assert files_under(tmp_path / "feats") == [
        ".lock", "1.ppm.d2-net", "mine.h5", "v_tiny/1.ppm.mine"
    ]  # fmt: skip


def test_h5_as_hloc_reads_it(extract, tiny_hpatches, tmp_path):
    assert extract(tiny_hpatches)[0] == 0
    code, out, error = extract(tiny_hpatches, "--format", "h5")
    assert (code, error) == (0, "")
    assert out.endswith(f"{tmp_path / 'feats' / LABEL}.h5 (h5)\n")
    with h5py.File(tmp_path / "feats" / f"{LABEL}.h5", "r", libver="latest") as hfile:
        assert (list(hfile), len(hfile["v_tiny"])) == (["i_tiny", "v_tiny"], 6)
        for name in ("i_tiny/3.png", "v_tiny/6.ppm"):
            expected = np.load(tmp_path / "feats" / f"{name}.{LABEL}")
            keypoints = hfile[name]["keypoints"].__array__()
            assert keypoints.dtype == np.float32
            assert np.array_equal(keypoints, expected["keypoints"])
            descriptors = hfile[name]["descriptors"].__array__()
            assert descriptors.shape == (256, len(keypoints))
            assert np.array_equal(descriptors.T, expected["descriptors"])
            assert np.array_equal(hfile[name]["scores"].__array__(), expected["scores"])
            assert hfile[name]["image_size"].__array__().tolist() == [96, 80]


def test_precomputed_features_are_converted(extract, tiny_hpatches, tmp_path):
    for extension in (".d2-net", ".other"):
        extract(tiny_hpatches, "--extension", extension)
    arguments = (tiny_hpatches, "--format", "mat")
    method = f"precomputed:{tmp_path / 'feats'}"
    code, _, error = extract(*arguments, method=method, output="mats")
    assert code == 2
    assert "several kinds of features (.d2-net, .other)" in error
    reading = ("--extension", ".d2-net")
    code, out, error = extract(*arguments, *reading, method=method, output="mats")
    assert (code, error) == (0, "")
    assert out.splitlines()[0] == f"feats: features from files under {tmp_path / 'feats'}"
    writing = ("--output-extension", ".mat")
    assert extract(*arguments, *reading, *writing, method=method, output="mats")[0] == 0
    first = [name for name in files_under(tmp_path / "mats") if name.startswith("i_tiny/1.")]
    assert first == ["i_tiny/1.png.feats", "i_tiny/1.png.mat"]


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_a_broken_image_is_one_line_and_what_was_finished_is_kept(
    extract, tiny_hpatches, tmp_path, kind
):
    shutil.copytree(tiny_hpatches, tmp_path / "data")
    broken = tmp_path / "data" / "v_tiny" / "3.ppm"
    broken.write_bytes(broken.read_bytes()[:5000])
    code, _, error = extract(tmp_path / "data", "--format", kind)
    assert code == 2
    assert error.startswith(f"d2eval: {broken}: broken image")
    assert error.count("\n") == 1
    kept = files_under(tmp_path / "feats")
    assert len(kept) == (8 if kind == "npz" else 1)
    assert all(name.endswith((LABEL, ".lock")) for name in kept)
    Image.new("RGB", (96, 80)).save(broken)
    code, out, _ = extract(tmp_path / "data", "--format", kind)
    assert code == 0
    assert "of 12 images (4 extracted now)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing: no such image or folder"),
        (["data", "--root", "other"], "other; give a root that holds all images"),
        (["data", "--extension", ".png"], "extension '.png': can't name features"),
        (["data", "--format", "h5", "--extension", ".x"], "--name names the h5 file"),
        (["data", "--quality", "2"], "--quality between 0 and 1"),
    ],
)
def test_mistakes_are_one_line(extract, tiny_hpatches, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(tiny_hpatches)
    code, out, error = extract(*arguments)
    assert (code, out) == (2, "")
    assert error.startswith("d2eval: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "feats").exists()
