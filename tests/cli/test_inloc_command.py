"""``d2eval inloc`` as a user runs it: on the sample, killed, and with broken files."""

import csv
import json
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from blank_images import assert_told, make_blank
from forked_commands import Commands
from packed_units import packed
from safetensors.torch import load_file, save_file

import methods.vgg16_dense.weights
from d2eval.cli import main
from d2eval.inloc.report.groups import KINDS
from d2eval.sample.inloc import make_inloc_sample

QUERIES, CUTOUTS = "query/iphone7", "database/cutouts"
CUTOUT = "DUC1/000/DUC_cutout_000_0_0.jpg"
ALIGNMENT = "database/alignments/DUC1/transformations/DUC_trans_000.txt"
SCORES, PAIRS = "inputs/scores.mat", "lists/pairs-query-oracle8.txt"
FEW = 2  # cutouts of each query, instead of up to 30
STEPS = {"none": [], "dense_pv": ["--dense-pv"]}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def arguments(root: Path, *more: object) -> list[str]:
    where = ["--cache", root / "cache", "--output", root / "runs"]
    return [str(word) for word in ("inloc", *where, *more)]


def one_line(error: str, *says: object) -> None:
    last = error.splitlines()[-1]
    assert last.startswith("d2eval: ")
    assert error.endswith("\n")
    assert "Traceback" not in error
    assert all(line.startswith("note: ") for line in error.splitlines()[:-1]), error
    for part in says:
        assert str(part) in last, error


# A fifth of the features, in a tenth of the time
ROOTSIFT = ("--method", "rootsift", "--first-octave", "0")
VERIFIED = (*ROOTSIFT, "--dense-pv")


@dataclass(frozen=True)
class Sample:
    """A run on a few pairs of the sample that was not interrupted; to be looked at only."""

    root: Path
    out: str
    err: str

    @property
    def folder(self) -> Path:
        return self.root / "runs/inloc/rootsift_sparse_pv-first-octave0-few-sample"

    @property
    def retrieval(self) -> list[object]:
        """The option that names the pairs."""
        return ["--retrieval", self.root / "few.txt"]

    @property
    def data(self) -> Path:
        return next((self.root / "cache/sample").glob("inloc-*"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory, commands, rendered) -> Sample:
    root = tmp_path_factory.mktemp("sample")
    made = rendered(make_inloc_sample)
    shutil.copytree(made, root / "cache/sample" / made.name)
    listed = (made / PAIRS).read_text().splitlines()
    by_query = groupby(listed, lambda line: line.split()[0])
    few = [line for _, lines in by_query for line in islice(lines, FEW)]
    (root / "few.txt").write_text("\n".join([*few, ""]))
    few_pairs = ("--retrieval", root / "few.txt")
    done = commands.start(*arguments(root, *VERIFIED, *few_pairs), draws=True)
    out, err = done.communicate()
    assert done.returncode == 0, err
    return Sample(root, out, err)


@pytest.fixture
def warm(sample, tmp_path) -> Path:
    """A folder whose cache holds the sample and its features, and nothing of later stages."""
    for name in ("sample", "features"):
        shutil.copytree(sample.root / "cache" / name, tmp_path / "cache" / name)
    return tmp_path


# On the sample


def test_without_data_it_runs_on_the_sample_and_says_so(sample):
    assert sample.err == ""
    is_of_the_sample(sample.folder, sample.out)


@pytest.mark.slow
def test_with_all_cutouts_that_the_sample_retrieves(warm, capsys):
    assert main(arguments(warm, *VERIFIED)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    is_of_the_sample(warm / "runs/inloc/rootsift_sparse_pv-first-octave0-sample", out)


def is_of_the_sample(folder: Path, out: str) -> None:
    assert "InLoc sample: 8 queries, 30 cutouts, 8 reference poses" in out
    assert {path.name for path in folder.iterdir()} >= {
        "queries.csv", "candidates.csv", "summary.csv", "stages.csv", "manifest.json",
        f"InLoc_{folder.name}.txt",
    }  # fmt: skip
    for name in ("queries.csv", "summary.csv"):
        assert {row["dataset"] for row in read_csv(folder / name)} == {"sample"}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["dataset"]["completeness"] == "sample"
    for row in read_csv(folder / "queries.csv"):
        assert float(row["position_m"]) < 0.25  # 0.21 at worst, where the view is repetitive
        assert float(row["rotation_deg"]) < 5


@pytest.mark.slow
def test_without_verification_too(sample, warm, capsys, no_figures):
    assert main(arguments(warm, *ROOTSIFT, *sample.retrieval)) == 0
    folder = warm / "runs/inloc/rootsift_sparse-first-octave0-few-sample"
    rows = read_csv(folder / "queries.csv")
    assert all(float(row["position_m"]) < 0.1 for row in rows)
    assert {row["pv_score"] for row in rows} == {""}
    assert "8/8 with a pose" in capsys.readouterr().out


@pytest.mark.slow
def test_dense_maps_with_cutouts_that_they_retrieve(sample, tmp_path, capsys):
    """Two queries of the sample, one on each floor, with no list of their own."""
    data, kept = tmp_path / "data", ("IMG_0731.JPG", "IMG_0807.JPG")
    shutil.copytree(sample.data, data)
    for name in (SCORES, PAIRS):
        (data / name).unlink()
    for path in (data / QUERIES).iterdir():
        if path.name not in kept:
            path.unlink()
    words = ("--strategy", "dense", "--dense-pv", "--global-retrieval")
    command = arguments(tmp_path, "--data", data, *words)
    assert main(command) == 0
    assert "cutouts were retrieved by global descriptors of vgg16_dense" in capsys.readouterr().err
    (run,) = (tmp_path / "runs/inloc").iterdir()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["row"]["retrieval"]["method"] == "vgg16_dense"
    assert manifest["weights"]["retrieval"]["stand_in"]
    folder = tmp_path / "runs/inloc/dense_pv-global"
    found = {row["name"]: float(row["position_m"]) for row in read_csv(folder / "queries.csv")}
    assert len(found) == 8  # the missing ones count as failures
    assert all((error < 0.25) == (name in kept) for name, error in found.items()), found
    before = {name: (folder / name).read_bytes() for name in ("queries.csv", "candidates.csv")}
    assert main(command) == 0
    assert before == {name: (folder / name).read_bytes() for name in before}


@pytest.mark.slow
def test_every_row_of_the_table_runs_from_the_command_line(warm):
    assert len(KINDS) == 9
    # The stand-in weights localize 5 of 8 without verification by homographies, the rest all.
    stand_ins = {"affine_rootsift": "rootsift", "d2_ms": "d2_ss"}
    for k, (name, kind) in enumerate(KINDS.items()):
        words = ["--strategy", kind.strategy, "--name", f"row{k}", *STEPS[kind.verification]]
        if kind.strategy != "dense":
            words += ["--method", stand_ins[kind.method]]
        assert main(arguments(warm, *words)) == 0, name
        found = read_csv(warm / f"runs/inloc/row{k}/queries.csv")
        assert sum(float(line["position_m"]) < 1 for line in found) >= 4, name


# Killed


def done_in(cache: Path) -> int:
    """Finished units of the stages after features."""
    return sum(packed(cache / kind) for kind in ("matches", "poses"))


def kill_at(commands: Commands, root: Path, words: list[object], count: int, delay: float) -> bool:
    """Starts a run and kills it ``delay`` after ``count`` units are there; False if it ended."""
    process = commands.start(*arguments(root, *words))
    deadline = time.monotonic() + 120
    while process.poll() is None and done_in(root / "cache") < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


def test_killed_at_several_moments_it_still_ends_with_the_same_bytes(sample, warm, commands):
    rng = np.random.default_rng(11)
    total = done_in(sample.root / "cache")
    assert packed(sample.root / "cache/poses") == 16  # estimated and verified
    moments = [
        int(rng.integers(1, total // 3)),  # among the first matches and poses
        int(rng.integers(total // 3, total - 8)),
        total - int(rng.integers(1, 8)),  # among those that are verified
    ]
    words = [*VERIFIED, *sample.retrieval]
    killed = [kill_at(commands, warm, words, count, rng.uniform(0, 0.1)) for count in moments]
    assert sum(killed) >= 2
    again = commands.start(*arguments(warm, *words))
    _, err = again.communicate()
    assert (again.returncode, err) == (0, "")
    folder = warm / "runs/inloc" / sample.folder.name
    for name in ("queries.csv", "candidates.csv", f"InLoc_{folder.name}.txt"):
        assert (folder / name).read_bytes() == (sample.folder / name).read_bytes()
    assert not list((warm / "runs").rglob("*.tmp"))


# Failing well


def write_features(data: Path, folder: Path) -> None:
    """Random features of every image: some match, but with no geometry."""
    rng = np.random.default_rng(3)
    for top in (QUERIES, CUTOUTS):
        for image in sorted((data / top).rglob("*.[jJ][pP][gG]")):
            path = folder / f"{image.relative_to(data / top)}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            described = rng.normal(size=(40, 16))
            described /= np.linalg.norm(described, axis=1, keepdims=True)
            np.savez(
                path, keypoints=rng.uniform(1, [298, 298], (40, 2)).astype(np.float32),
                scores=rng.random(40).astype(np.float32), descriptors=described.astype(np.float32),
            )  # fmt: skip


@pytest.fixture
def data(sample, tmp_path) -> Path:
    """A copy of the sample to be broken, whose features are beside it."""
    root = tmp_path / "data"
    shutil.copytree(sample.data, root)
    (root / PAIRS).unlink()
    write_features(root, tmp_path / "features")
    return root


@pytest.fixture
def fails(tmp_path, data, capfd) -> Callable[..., str]:
    """Runs random features on ``data``, expects exit code 2, and gives standard error."""

    def run(*more: object, folder: Path = data, method: bool = True) -> str:
        features = ("--method", f"precomputed:{tmp_path / 'features'}") if method else ()
        assert main(arguments(tmp_path, "--data", folder, *features, *more)) == 2
        assert not list((tmp_path / "runs").rglob("*.csv"))
        return capfd.readouterr().err

    return run


def depth(data: Path, cutout: str = CUTOUT) -> Path:
    return data / CUTOUTS / f"{cutout}.mat"


def test_no_such_folder(fails, tmp_path):
    one_line(fails(folder=tmp_path / "none"), tmp_path / "none")


def test_depth_without_its_variable(fails, data):
    path = depth(data)
    scipy.io.savemat(path, {"RGBcut": np.zeros((300, 400, 3), np.uint8)})
    one_line(fails("--strategy", "direct"), path, "XYZcut")


def test_depth_of_another_size(fails, data):
    path = depth(data)
    scipy.io.savemat(path, {"XYZcut": np.zeros((150, 200, 3))})
    one_line(fails("--strategy", "direct"), path, "150x200x3", "400x300")


def test_depth_that_is_missing(fails, data):
    depth(data).unlink()
    one_line(fails(), depth(data))


def test_an_alignment_of_too_few_lines(fails, data):
    path = data / ALIGNMENT
    path.write_text("\n".join(path.read_text().splitlines()[:5]))
    one_line(fails(), path, "5 lines")


def test_a_singular_alignment(fails, data):
    path = data / ALIGNMENT
    lines = path.read_text().splitlines()
    lines[8] = lines[7]  # two rows of the rotation are the same
    path.write_text("\n".join(lines))
    one_line(fails(), path, "singular")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"{QUERIES}/IMG_9999.JPG {CUTOUTS}/{CUTOUT}", "IMG_9999.JPG"),
        (f"IMG_0731.JPG {CUTOUTS}/DUC1/009/none.jpg", "DUC1/009/none.jpg"),
    ],
)
def test_a_retrieval_list_of_unknown_images(fails, tmp_path, line, name):
    path = tmp_path / "pairs.txt"
    path.write_text(f"IMG_0731.JPG {CUTOUT}\n{line}\n")
    one_line(fails("--retrieval", path), path, name)


def test_no_retrieval_at_all(fails, data):
    (data / SCORES).unlink()
    one_line(fails(), "no retrieved cutouts", "--retrieval", "--global-retrieval")


def test_sparse_without_a_method(fails):
    one_line(fails("--strategy", "sparse", method=False), "--strategy sparse", "--method")


def test_an_unknown_dense_network(fails):
    error = fails("--strategy", "dense", "--dense-network", "vgg16_dens", method=False)
    one_line(error, "vgg16_dens", "vgg16_dense")


def test_dense_weights_of_another_architecture(fails, tmp_path):
    (bundled,) = Path(methods.vgg16_dense.weights.__file__).parent.glob("weights/*.safetensors")
    state = load_file(bundled)
    name = next(key for key in state if key.endswith("weight"))
    state[name] = state[name][:, :1].contiguous()
    path = tmp_path / "narrow.safetensors"
    save_file(state, path)
    one_line(fails("--strategy", "dense", "--dense-weights", path, method=False), path)


def test_a_strategy_that_the_protocol_lacks(fails):
    one_line(fails("--protocol", "inloc_hloc", "--strategy", "direct"), "no table [direct]")


def test_features_that_give_no_pose_at_all(fails):
    one_line(fails(), "no pose for any of 8 queries", " candidates with ", " 0 verified")


def test_images_of_one_colour(sample, tmp_path, capfd, no_figures):
    """They have no features, so that such a query counts as a failure; the run goes on."""
    data, query, cutout = tmp_path / "data", "IMG_0731.JPG", "DUC2/001/DUC_cutout_001_180_0.jpg"
    shutil.copytree(sample.data, data)
    for name in ("features", "matches", "poses"):
        shutil.copytree(sample.root / "cache" / name, tmp_path / "cache" / name)
    empty = [data / QUERIES / query, data / CUTOUTS / cutout]
    make_blank(empty)
    assert main(arguments(tmp_path, "--data", data, *VERIFIED, *sample.retrieval)) == 0
    said = capfd.readouterr()
    assert_told(said.err, empty)
    assert f"no pose for {query}: too few matches: 0, " in said.out
    assert "7/8 with a pose" in said.out
    folder = tmp_path / "runs/inloc/rootsift_sparse_pv-first-octave0-few"
    for row in read_csv(folder / "queries.csv"):
        assert row["posed"] == str(int(row["name"] != query))
        assert (float(row["position_m"]) < 0.25) == (row["name"] != query)
    before, rows = (read_csv(where / "candidates.csv") for where in (sample.folder, folder))
    of_cutout = [row for row in rows if row["cutout"] == cutout]
    for row in (*of_cutout, *(row for row in rows if row["query"] == query)):
        assert (row["matches"], row["inliers"], row["qw"]) == ("0", "0", "")
    # Other queries have their pose by other cutouts
    assert len({row["query"] for row in before if row["cutout"] == cutout} - {query}) >= 2


@pytest.mark.slow
def test_cutouts_without_depth_have_no_pose(sample, tmp_path, no_figures):
    """Some cutouts of the list; the others still give the poses."""
    data = tmp_path / "data"
    shutil.copytree(sample.data, data)
    blind = {f"DUC1/000/DUC_cutout_000_{yaw}_0.jpg" for yaw in (0, 60, 120, 180)}
    for cutout in blind:
        scipy.io.savemat(depth(data, cutout), {"XYZcut": np.full((300, 400, 3), np.nan)})
    shutil.copytree(sample.root / "cache/features", tmp_path / "cache/features")
    assert main(arguments(tmp_path, "--data", data, *VERIFIED, *sample.retrieval)) == 0
    folder = tmp_path / "runs/inloc/rootsift_sparse_pv-first-octave0-few"
    rows = read_csv(folder / "candidates.csv")
    found = [row for row in rows if row["cutout"] in blind]
    assert found
    for row in found:
        assert (row["points"], row["inliers"], row["qw"], row["tx"]) == ("0", "0", "", "")
        assert float(row["pv_score"]) == 0
        assert float(row["position_m"]) == float("inf")
        assert row["matches"] != "0"
    assert any(row["qw"] for row in rows if row["cutout"].startswith("DUC2"))
    stages = {row["stage"]: row for row in read_csv(folder / "stages.csv")}
    posed = sum(bool(row["qw"]) for row in rows)
    assert stages["sparse poses"]["posed"] == str(posed)
    assert stages["sparse poses"]["candidates"] == str(len(rows))
