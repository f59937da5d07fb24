import csv
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
import undrawn
from forked_commands import Command
from packed_units import packed
from PIL import Image
from places import REPOSITORY
from progress_lines import without_progress
from safetensors.torch import save_file

from d2eval.cli import main
from d2eval.contracts.protocol import load_protocol
from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.terminal import progress

MMA = [f"mma_{t}px" for t in range(1, 16)]
PAIR_COLUMNS = [
    "sequence", "image", "split", "features_1", "features_k", "matches", *MMA,
    "correct_matches", "matching_score", "repeatability", "corner_error_px",
    "h_accuracy_1px", "h_accuracy_3px", "h_accuracy_5px",
    "seconds_1", "seconds_k", "peak_memory_mib_1", "peak_memory_mib_k", "dataset", "weights",
]  # fmt: skip
SUMMARY_COLUMNS = [
    "method", "split", "images", "pairs", "mean_features", "mean_matches", *MMA,
    "mean_correct_matches", "matching_score", "repeatability",
    "h_accuracy_1px", "h_accuracy_3px", "h_accuracy_5px", "h_auc_1px", "h_auc_3px", "h_auc_5px",
    "seconds_per_image", "peak_memory_mib", "dataset", "weights",
]  # fmt: skip
PARTIAL = "partial (2 of 108 sequences)"

# In a user's terminal a warning would be lines of its own.
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def command(tmp_path, capfd) -> Callable[..., tuple[int, str, str]]:
    """Runs ``d2eval hpatches`` in this process: (exit code, standard output, error)."""

    def run(
        *arguments: object, method: str = "rootsift", cache: str = "cache", output: str = "runs",
        draws: bool = False,
    ):  # fmt: skip
        capfd.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            if not draws:
                undrawn.leave_out(patch.setattr)
            code = main(
                ["hpatches", "--method", method, "--cache", str(tmp_path / cache),
                 "--output", str(tmp_path / output), *map(str, arguments)]
            )  # fmt: skip
        return (code, *capfd.readouterr())

    return run


def test_several_methods_run_one_after_the_other(command, tiny_hpatches, tmp_path):
    code, out, _ = command(
        "--method", "upright_rootsift", "--method=rootsift", "--data", tiny_hpatches
    )
    assert code == 0
    assert out.index("upright_rootsift") > out.index("rootsift")
    for name, alone in (("rootsift", "a"), ("upright_rootsift", "b")):
        assert command("--data", tiny_hpatches, method=name, output=alone)[0] == 0
        ours, theirs = (
            tmp_path / folder / "hpatches" / name / "pairs.csv" for folder in ("runs", alone)
        )
        assert without_costs(ours) == without_costs(theirs)
    assert sorted(path.name for path in (tmp_path / "runs/hpatches").iterdir()) == [
        "rootsift",
        "upright_rootsift",
    ]


def without_costs(rows: Path) -> list[dict[str, str]]:
    """The rows of a run without what differs between two of them."""
    with rows.open() as file:
        return [
            {k: v for k, v in row.items() if not k.startswith(("seconds", "peak"))}
            for row in csv.DictReader(file)
        ]


def test_several_methods_are_checked_before_the_first_runs(command, tiny_hpatches, tmp_path):
    code, out, error = command("--method", "rotsift", "--data", tiny_hpatches)
    assert (code, out) == (2, "")
    assert "rotsift" in error
    assert error.count("\n") == 1
    code, out, error = command("--method", "upright_rootsift", "--name", "x")
    assert (code, out) == (2, "")
    assert "--name names one run" in error
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def data(tmp_path, tiny_hpatches) -> Path:
    """A copy of the tiny set that may be changed."""
    return Path(shutil.copytree(tiny_hpatches, tmp_path / "data"))


@pytest.fixture
def run_folder(tmp_path) -> Path:
    return tmp_path / "runs" / "hpatches" / "rootsift"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def header(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[0].split(",")


def numbers(path: Path) -> list[dict[str, str]]:
    """Rows without what the clock and the memory say."""
    return [
        {k: v for k, v in row.items() if not k.startswith(("seconds", "peak_memory"))}
        for row in read_csv(path)
    ]


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def units(cache: Path, kind: str) -> dict[Path, tuple[int, int]]:
    """Stored units of one kind and which file each is: written again, it would be another."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (cache / kind).glob("*/*.*")
        if path.suffix in (".h5", ".pack")
    }


def one_line(error: str, *says: object) -> None:
    assert error.startswith("d2eval: ")
    assert error.endswith("\n")
    assert error.count("\n") == 1
    for part in says:
        assert str(part) in error


@dataclass(frozen=True)
class Finished:
    """A run that is over: where it lies, what it ran on and what it said."""

    folder: Path
    cache: Path
    data: Path
    out: str
    err: str


def finish(root: Path, data: Path, *arguments: str) -> Finished:
    """Runs RootSIFT to the end, as the command line does."""
    line = ["hpatches", "--method", "rootsift", "--data", str(data), "--cache", str(root / "cache")]
    line += ["--output", str(root / "runs"), *arguments]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["d2eval", *line])
        code = main(line)
    assert code == 0, err.getvalue()
    (folder,) = (root / "runs" / "hpatches").iterdir()
    return Finished(folder, root / "cache", data, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_hpatches) -> Finished:
    """A run on the tiny set, to be looked at only."""
    return finish(tmp_path_factory.mktemp("finished"), tiny_hpatches, "--seed", "4")


# What a run writes


def test_rows_and_columns(finished):
    assert finished.err == ""
    assert header(finished.folder / "pairs.csv") == PAIR_COLUMNS
    assert header(finished.folder / "summary.csv") == SUMMARY_COLUMNS
    rows = read_csv(finished.folder / "pairs.csv")
    assert [(row["sequence"], row["image"], row["split"]) for row in rows] == [
        (name, str(k), name[0]) for name in ("i_tiny", "v_tiny") for k in range(2, 7)
    ]
    summary = read_csv(finished.folder / "summary.csv")
    assert [(row["method"], row["split"], row["images"], row["pairs"]) for row in summary] == [
        ("rootsift-seed4", "overall", "12", "10"),
        ("rootsift-seed4", "i", "6", "5"),
        ("rootsift-seed4", "v", "6", "5"),
    ]
    assert f"{float(summary[0]['mma_3px']):.3f}" in finished.out
    assert "extracted 12 of 12 images" in finished.out
    assert all(float(row["seconds_1"]) > 0 for row in rows)


def test_the_numbers_are_those_of_the_stored_features(finished):
    """Matched and scored again with plain numpy under the homographies on disk."""

    def stored(path: Path) -> tuple[np.ndarray, np.ndarray]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (unit,) = (finished.cache / "features").glob(f"*/{digest}.h5")
        with h5py.File(unit) as file:
            return file["keypoints"][()].astype(float), file["descriptors"][()].astype(float)

    rows, counts = read_csv(finished.folder / "pairs.csv"), []
    for row in rows:
        folder, k = finished.data / row["sequence"], row["image"]
        suffix = ".png" if row["split"] == "i" else ".ppm"
        points_1, described_1 = stored(folder / f"1{suffix}")
        points_k, described_k = stored(folder / f"{k}{suffix}")
        similarity = described_1 @ described_k.T
        nearest, back = similarity.argmax(1), similarity.argmax(0)
        mine = [i for i in range(len(points_1)) if back[nearest[i]] == i]
        homography = np.loadtxt(folder / f"H_1_{k}")
        moved = np.column_stack([points_1[mine], np.ones(len(mine))]) @ homography.T
        errors = np.hypot(*(moved[:, :2] / moved[:, 2:] - points_k[nearest[mine]]).T)
        assert int(row["features_1"]) == len(points_1)
        assert int(row["features_k"]) == len(points_k)
        assert int(row["matches"]) == pytest.approx(len(mine), abs=1)
        for t, column in enumerate(MMA, start=1):
            assert float(row[column]) == pytest.approx(np.mean(errors <= t), abs=1 / len(mine))
        counts += [len(points_1)] * (k == "2") + [len(points_k)]
    overall = read_csv(finished.folder / "summary.csv")[0]
    assert len(counts) == 12
    assert float(overall["mean_features"]) == pytest.approx(np.mean(counts), rel=1e-8)
    for column in MMA:
        mean = np.mean([float(row[column]) for row in rows])
        assert float(overall[column]) == pytest.approx(mean, rel=1e-7)
    assert float(overall["mma_3px"]) > 0.9  # the homographies are exact


def test_the_manifest(finished):
    manifest = manifest_of(finished.folder)
    assert set(manifest) == {
        "schema", "benchmark", "protocol_sha256", "label", "method", "features", "weights",
        "matcher", "leaks", "image_costs", "machine", "top_k", "seed", "dataset", "excluded",
        "root", "extracted_now", "wall_seconds", "peak_memory_mib", "d2eval",
        "git_commit", "versions", "device", "command", "finished",
    }  # fmt: skip
    assert manifest["protocol_sha256"] == load_protocol("hpatches").sha256
    assert (manifest["benchmark"], manifest["method"]) == ("hpatches", "rootsift")
    assert (manifest["label"], manifest["seed"], manifest["top_k"]) == ("rootsift-seed4", 4, None)
    assert manifest["features"]["config"]["num_features"] == 8192
    assert manifest["weights"]["name"] == "none needed"
    assert manifest["matcher"]["name"] == "mnn"
    dataset = manifest["dataset"]
    assert {**dataset, "fingerprint": "", "outline": ""} == {
        "completeness": PARTIAL, "sequences": 2, "images": 12, "pairs": 10, "fingerprint": "",
        "outline": "",
    }  # fmt: skip
    assert len(dataset["fingerprint"]) == len(dataset["outline"]) == 64
    assert (manifest["root"], manifest["extracted_now"]) == (str(finished.data), 12)
    assert manifest["command"][:4] == ["d2eval", "hpatches", "--method", "rootsift"]
    assert manifest["device"] == "cpu"


def test_a_partial_set_is_called_partial_everywhere(finished):
    assert f"HPatches {PARTIAL}: 2 sequences, 12 images" in finished.out
    for name in ("pairs.csv", "summary.csv"):
        assert {row["dataset"] for row in read_csv(finished.folder / name)} == {PARTIAL}
        assert {row["weights"] for row in read_csv(finished.folder / name)} == {"none needed"}
    assert manifest_of(finished.folder)["dataset"]["completeness"] == PARTIAL
    table = read_csv(finished.folder / "hpatches.csv")
    assert [row["dataset"] for row in table if row["mma_3px_measured"] != ""] == [PARTIAL]
    lines = (finished.folder / "hpatches.md").read_text(encoding="utf-8").splitlines()
    assert any(PARTIAL in line and "rootsift" in line for line in lines)


def test_without_data_it_runs_on_the_sample_and_says_so(command, run_folder, monkeypatch):
    for name in ("FIRST_S", "NEXT_S"):
        monkeypatch.setattr(progress, name, 0.001)
    code, out, err = command("--first-octave", 0, draws=True)  # which is ten times as fast
    run_folder = run_folder.with_name("rootsift-first-octave0-sample")
    assert (code, without_progress(err)) == (0, "")
    assert re.search(r"^rendering the sample: \d of 4, 0:\d\d", err, re.M)
    assert re.search(r"^rootsift: features, matches, scores: \d+ of 24, 0:\d\d", err, re.M)
    assert "HPatches sample: " in out
    for name in ("pairs.csv", "summary.csv"):
        assert {row["dataset"] for row in read_csv(run_folder / name)} == {"sample"}
    assert manifest_of(run_folder)["dataset"]["completeness"] == "sample"
    assert (run_folder / "mma_sample.png").is_file()
    assert not (run_folder / "mma.png").exists()  # never among the published curves
    text = (run_folder / "hpatches.md").read_text(encoding="utf-8")
    assert any("rootsift" in line and "sample" in line for line in text.splitlines())


def test_only_some_sequences(command, data, run_folder):
    code, out, _ = command("--data", data, "--sequences", "v_*")
    assert code == 0
    run_folder = run_folder.with_name("rootsift-v_all")
    assert "partial (1 of 108 sequences)" in out
    assert {row["sequence"] for row in read_csv(run_folder / "pairs.csv")} == {"v_tiny"}
    overall, of_i, of_v = read_csv(run_folder / "summary.csv")
    assert (of_i["images"], of_i["pairs"], of_i["mma_3px"]) == ("0", "0", "")
    assert overall["mma_3px"] == of_v["mma_3px"] != ""


def test_the_best_k(command, finished, run_folder):
    code, _, err = command("--data", finished.data, "--top-k", 30, "--name", "best")
    assert (code, err) == (0, "")
    folder = run_folder.with_name("best")
    everything = read_csv(finished.folder / "pairs.csv")
    for row, of_all in zip(read_csv(folder / "pairs.csv"), everything, strict=True):
        for column in ("features_1", "features_k"):
            assert int(row[column]) == 30 < int(of_all[column])
        assert 0 < int(row["matches"]) <= 30
    assert float(read_csv(folder / "summary.csv")[0]["mean_features"]) == 30
    manifest = manifest_of(folder)
    assert (manifest["top_k"], manifest["label"], manifest["method"]) == (30, "best", "rootsift")
    code, out, _ = command("--data", finished.data, "--name", "all")
    assert code == 0
    assert "extracted 0 of 12 images" in out  # the best were chosen among all that were stored
    assert numbers(run_folder.with_name("all") / "pairs.csv") == numbers(
        finished.folder / "pairs.csv"
    )


def test_runs_of_other_work_lie_beside_the_first(command, data, run_folder):
    """Each gets a folder of its own, whose name says what it is of; none is touched again."""
    assert command("--data", data)[0] == 0
    kept = {p: p.read_bytes() for p in run_folder.iterdir()}
    others = {
        ("--data", data, "--top-k", 30): "rootsift-top30",
        ("--data", data, "--sequences", "v_tiny"): "rootsift-v_tiny",
        ("--data", data, "--num-features", 50): "rootsift-num-features50",
        ("--data", data, "--sequences", "v_tiny", "--num-features", 50, "--seed", 3):
            "rootsift-num-features50-v_tiny-seed3",
    }  # fmt: skip
    for arguments, name in others.items():
        code, _, err = command(*arguments)
        assert (code, err) == (0, "")
        folder = run_folder.with_name(name)
        assert manifest_of(folder)["label"] == name
        kept |= {p: p.read_bytes() for p in folder.iterdir()}
    names = sorted(path.name for path in run_folder.parent.iterdir())
    assert names == sorted(["rootsift", *others.values()])
    assert {p: p.read_bytes() for p in kept} == kept
    assert command("--data", data, "--top-k", 30)[0] == 0  # the same work: no further folder
    assert sorted(path.name for path in run_folder.parent.iterdir()) == names


@pytest.mark.slow
def test_other_images_in_a_folder_of_the_same_name(command, data, run_folder):
    """Of the same names and sizes: known only once they were read."""
    assert command("--data", data)[0] == 0
    before = {p.name: p.read_bytes() for p in run_folder.iterdir() if p.name != ".lock"}
    path = data / "v_tiny" / "3.ppm"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for _ in range(2):
        code, _, err = command("--data", data)
        assert code == 0
        assert err == (
            f"note: {run_folder}: holds a run of other work (the content of the dataset), which "
            "stays\n"
        )
        (other,) = (p for p in run_folder.parent.iterdir() if p != run_folder)
        assert other.name.startswith("rootsift-")
        assert manifest_of(other)["label"] == other.name
    assert {p.name: p.read_bytes() for p in run_folder.iterdir() if p.name != ".lock"} == before


def test_a_name_that_was_given_to_other_work_is_refused_before_any_work(
    command, data, run_folder, tmp_path
):
    assert command("--data", data, "--name", "mine")[0] == 0
    folder = run_folder.with_name("mine")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for more, says in [
        (("--top-k", 30), "top_k null there, 30 here"),
        (("--num-features", 50), "features.config.num_features 8192 there, 50 here"),
        (("--sequences", "v_tiny"), "the dataset's files"),
        (("--seed", 1), "seed 0 there, 1 here"),
    ]:
        code, _, err = command("--data", data, "--name", "mine", *more, cache="other")
        assert code == 2
        one_line(err, f"{folder}: holds a run of other work (", says, "choose another --name")
        assert not (tmp_path / "other" / "features").exists()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert command("--data", data, "--name", "mine")[0] == 0


@pytest.mark.parametrize(
    "name",
    ["../evil", "/evil", ".", "..", "a/b", "a\\b", "a\nb", "\x1b[31m", "", " ", ".hid", "-x", "=1",
     "a\u202eb", "a" * 121, "x:y", "a|b"],
)  # fmt: skip
def test_a_name_that_is_no_label(command, data, tmp_path, name):
    code, _, err = command("--data", data, f"--name={name}")
    assert code == 2
    one_line(err, "argument --name: ", "names a folder or file, but")
    assert err.isprintable() or err[:-1].isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_folder_of_features_may_be_called_anything(command, data, tmp_path):
    """Its name becomes that of a run, as far as it can be one."""
    features = tmp_path / ".a|b\x1b[31m=\n"
    done = main(["extract", "--method", "rootsift", str(data), "--output", str(features),
                 "--cache", str(tmp_path / "cache")])  # fmt: skip
    assert done == 0
    assert command("--data", data, method=f"precomputed:{features}")[0] == 0
    (folder,) = (tmp_path / "runs" / "hpatches").iterdir()
    assert folder.name == "a_b_[31m=_"


# Twice the same


def test_the_same_command_again_extracts_nothing_and_gives_the_same_bytes(
    command, data, run_folder, tmp_path
):
    _, out, _ = command("--data", data)
    assert "extracted 12 of 12 images" in out
    first = {name: (run_folder / name).read_bytes() for name in ("pairs.csv", "summary.csv")}
    stored = units(tmp_path / "cache", "features") | units(tmp_path / "cache", "matches")
    assert len(units(tmp_path / "cache", "features")) == 12
    assert packed(tmp_path / "cache/matches") == 10
    code, out, err = command("--data", data)
    assert (code, err) == (0, "")
    assert "extracted 0 of 12 images" in out
    assert manifest_of(run_folder)["extracted_now"] == 0
    assert {name: (run_folder / name).read_bytes() for name in first} == first
    assert units(tmp_path / "cache", "features") | units(tmp_path / "cache", "matches") == stored
    assert [path.name for path in run_folder.parent.iterdir()] == ["rootsift"]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_fresh_cache_gives_the_same_numbers(command, data, finished, run_folder, workers):
    run_folder = run_folder.with_name("rootsift-seed4")
    code, out, err = command("--data", data, "--seed", 4, "--workers", workers)
    assert (code, err) == (0, "")
    assert "extracted 12 of 12 images" in out
    for name in ("pairs.csv", "summary.csv"):
        assert numbers(run_folder / name) == numbers(finished.folder / name)


@pytest.mark.slow
def test_damaged_units_are_made_again(command, data, finished, run_folder, tmp_path):
    shutil.copytree(finished.cache, tmp_path / "cache")
    run_folder = run_folder.with_name("rootsift-seed4")
    expected = numbers(finished.folder / "pairs.csv")
    features = sorted(units(tmp_path / "cache", "features"))[3]
    matches = min(units(tmp_path / "cache", "matches"))
    for path in (features, matches):
        path.write_bytes(path.read_bytes()[:-100])
    code, out, err = command("--data", data, "--seed", 4)
    assert code == 0
    assert "extracted 1 of 12 images" in out
    assert Counter(line.partition(" damaged ")[0] for line in err.splitlines()) == {
        f"note: {features}:": 1,
        f"note: {matches}:": 1,
    }
    assert numbers(run_folder / "pairs.csv") == expected
    assert command("--data", data, "--seed", 4)[2] == ""


# Failing well


def without_image(data: Path) -> str:
    (data / "v_tiny" / "4.ppm").unlink()
    return f"{data / 'v_tiny'}: image 4 is missing"


def bad_homography(data: Path) -> str:
    (data / "v_tiny" / "H_1_4").write_text("1 0 0\n0 nan 0\n0 0 1\n")
    return f"{data / 'v_tiny' / 'H_1_4'}: the homography holds NaN"


def empty_homography(data: Path) -> str:
    (data / "v_tiny" / "H_1_4").write_text("")
    return f"{data / 'v_tiny' / 'H_1_4'}: "


def truncated_image(data: Path) -> str:
    path = data / "i_tiny" / "3.png"
    path.write_bytes(path.read_bytes()[:-900])
    return f"{path}: broken image"


def empty_image(data: Path) -> str:
    (data / "v_tiny" / "4.ppm").write_bytes(b"")
    return f"{data / 'v_tiny' / '4.ppm'}: is empty"


def text_image(data: Path) -> str:
    (data / "v_tiny" / "4.ppm").write_text("nothing to see\n")
    return f"{data / 'v_tiny' / '4.ppm'}: is not an image"


def folder_for_an_image(data: Path) -> str:
    (data / "v_tiny" / "4.ppm").unlink()
    (data / "v_tiny" / "4.ppm").mkdir()
    return f"{data / 'v_tiny' / '4.ppm'}: is a folder"


def no_folder(data: Path) -> str:
    shutil.rmtree(data)
    return f"{data}: no such folder"


def wrong_folder(data: Path) -> str:
    shutil.rmtree(data)
    (data / "hpatches-sequences-release" / "v_tiny").mkdir(parents=True)
    return f"{data}: no sequence"


@pytest.mark.parametrize(
    "spoil",
    [
        without_image, bad_homography, empty_homography, truncated_image, empty_image, text_image,
        folder_for_an_image, no_folder, wrong_folder,
    ],
)  # fmt: skip
def test_broken_data_is_one_line(command, data, run_folder, spoil):
    says = spoil(data)
    code, _, err = command("--data", data)
    assert code == 2
    one_line(err, says)
    assert not (run_folder / "pairs.csv").exists()


def test_no_sequence_of_that_name(command, data):
    code, _, err = command("--data", data, "--sequences", "v_boat")
    assert code == 2
    one_line(err, f"{data}: no sequence 'v_boat'", "--sequences")


def test_an_unknown_method(command, data):
    code, _, err = command("--data", data, method="rootsfit")
    assert code == 2
    one_line(err, "unknown method 'rootsfit'; did you mean rootsift")


def test_an_unknown_device(command, data):
    code, _, err = command("--data", data, "--device", "abacus")
    assert code == 2
    one_line(err, "--device abacus: not available here")


def described(data: Path, folder: Path, lengths: dict[str, int]) -> None:
    """Random features of every image; ``lengths`` of descriptors that aren't 8, -1: no features."""
    rng = np.random.default_rng(5)
    for image in sorted(path for path in data.rglob("*.p[np][gm]")):
        path = folder / f"{image.relative_to(data)}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        length = lengths.get(image.relative_to(data).as_posix(), 8)
        values = rng.normal(size=(20, max(length, 0)))
        np.savez(
            path,
            keypoints=np.array([]) if length < 0 else rng.uniform(0, 79, (20, 2)),
            scores=np.array([]) if length < 0 else rng.random(20),
            descriptors=np.array([]) if length < 0
            else values / np.linalg.norm(values, axis=1, keepdims=True),
        )  # fmt: skip


def test_an_image_without_features_is_evaluated_with_the_rest(command, data, tmp_path):
    described(data, tmp_path / "features", {"i_tiny/3.png": -1, "v_tiny/1.ppm": -1})
    code, _, err = command("--data", data, method=f"precomputed:{tmp_path / 'features'}")
    assert code == 0
    for name in ("i_tiny/3.png", "v_tiny/1.ppm"):
        assert f"note: {data / name}: no features\n" in err
    (path,) = (tmp_path / "runs").rglob("pairs.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 10
    for row in rows:
        empty = row["sequence"] == "v_tiny" or row["image"] == "3"
        assert (row["matches"] == "0") == empty
        assert float(row["mma_15px"]) == 0 or not empty


def test_descriptors_of_two_lengths_are_one_line_that_names_both(command, data, tmp_path):
    folder = tmp_path / "features"
    described(data, folder, {"i_tiny/1.png": -1, "v_tiny/2.ppm": 16})
    code, _, err = command("--data", data, method=f"precomputed:{folder}")
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith(f"d2eval: {folder / 'v_tiny/2.ppm.npz'}: descriptors have 16 numbers")
    assert f"those of {folder / 'i_tiny/2.png.npz'} have 8" in last


def test_no_precomputed_features(command, data, tmp_path):
    code, _, err = command("--data", data, method=f"precomputed:{tmp_path / 'none'}")
    assert code == 2
    one_line(err, f"{tmp_path / 'none'}: no such folder")


def test_weights_of_another_architecture(command, data, tmp_path):
    path = tmp_path / "resnet.safetensors"
    save_file({"layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3)}, path)
    code, _, err = command("--data", data, "--weights", path, method="d2_ss")
    assert code == 2
    one_line(err, f"{path}: ")


def test_weights_of_another_shape(command, data, tmp_path):
    path = tmp_path / "slim.pth"
    bundled = next(Path(str(files("methods.d2net") / "weights")).glob("*.safetensors"))
    from safetensors.torch import load_file

    slim = {name: tensor[:2].clone() for name, tensor in load_file(bundled).items()}
    torch.save({"model": slim}, path)
    code, _, err = command("--data", data, "--weights", path, method="d2_ss")
    assert code == 2
    one_line(err, f"{path}: ")


class Runs:
    """Pickled, this would run code when it is loaded."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_that_would_run_code(command, data, tmp_path, zipped):
    path, trap = tmp_path / "trap.pth", tmp_path / "made-by-a-pickle"
    if zipped:
        torch.save({"model": Runs(trap)}, path)
    else:
        path.write_bytes(pickle.dumps(Runs(trap)))
    code, _, err = command("--data", data, "--weights", path, method="d2_ss")
    assert code == 2
    one_line(err, f"{path}: refused")
    assert not trap.exists()


@pytest.mark.parametrize("content", [None, b"", b"no weights", b"PK\x03\x04 cut short"])
def test_weights_that_are_none(command, data, tmp_path, content):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    code, _, err = command("--data", data, "--weights", path, method="d2_ss")
    assert code == 2
    one_line(err, f"{path}: ")


@pytest.mark.parametrize("k", ["0", "-3", "many"])
def test_a_k_that_is_none_is_a_wrong_use(command, data, capfd, k):
    code, _, err = command("--data", data, "--top-k", k)
    assert code == 2
    assert "--top-k" in err


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_broken_image_costs_nothing_that_was_done(command, data, run_folder, tmp_path, workers):
    path = data / "v_tiny" / "3.ppm"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    code, _, err = command("--data", data, "--workers", workers)
    assert code == 2
    one_line(err, f"{path}: broken image", "replace the file")
    features, matches = (units(tmp_path / "cache", kind) for kind in ("features", "matches"))
    assert len(features) == 6 + 2  # i_tiny and the first two of v_tiny
    assert packed(tmp_path / "cache/matches") == 5 + 1
    path.write_bytes(whole)
    code, out, _ = command("--data", data)
    assert code == 0
    assert "extracted 4 of 12 images" in out
    assert manifest_of(run_folder)["extracted_now"] == 4
    assert units(tmp_path / "cache", "features").items() >= features.items()
    assert units(tmp_path / "cache", "matches").items() >= matches.items()


@pytest.mark.parametrize("method", ["rootsift", pytest.param("d2_ss", marks=pytest.mark.slow)])
def test_images_too_small_for_any_feature_score_0(command, tmp_path, method):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "v_small"
    folder.mkdir(parents=True)
    for k in range(1, 7):  # 7 // 4 - 1: D2-Net's map of a 7x7 image is empty
        Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).save(folder / f"{k}.png")
        (folder / f"H_1_{k}").write_text("1 0 0\n0 1 0\n0 0 1\n")
    (folder / "H_1_1").unlink()
    code, _, err = command("--data", tmp_path / "data", method=method)
    assert code == 0
    assert err == "".join(f"note: {folder / name}.png: no features\n" for name in "123456")
    run = tmp_path / "runs" / "hpatches" / method
    overall = read_csv(run / "summary.csv")[0]
    zeros = ["mean_features", "mean_matches", *MMA, "matching_score", "repeatability"]
    assert [float(overall[name]) for name in zeros] == [0.0] * len(zeros)
    assert {row["corner_error_px"] for row in read_csv(run / "pairs.csv")} == {"inf"}
    assert (overall["h_accuracy_5px"], overall["h_auc_5px"]) == ("0", "0")


def test_help_imports_nothing_heavy():
    heavy = ("torch", "numpy", "cv2", "pycolmap", "poselib", "h5py", "scipy", "matplotlib", "PIL")
    program = (
        "import sys\n"
        "from d2eval.cli import main\n"
        "main(sys.argv[1:])\n"
        f"print('imported:', [name for name in {heavy} if name in sys.modules])\n"
    )
    for arguments in (["--help"], ["hpatches", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.endswith("imported: []\n")
        assert len(done.stdout) > len("imported: []\n")


# Real processes: two at once, killed, interrupted, out of space


@pytest.fixture(scope="module")
def three_sequences(tmp_path_factory) -> Path:
    """Eighteen images of 200x160: large enough to be caught at work, small enough to be quick."""
    root = tmp_path_factory.mktemp("three_sequences")
    for name, photo in (("i_a", "coffee"), ("v_b", "astronaut"), ("v_c", "brick")):
        (root / name).mkdir()
        with Image.open(bundled("benchmarks") / "sample" / "photos" / f"{photo}.jpg") as image:
            scene = np.asarray(image.convert("RGB"))
        for k in range(1, 7):
            moved = np.array([[1, 0.01 * k, -60 - 3 * k], [-0.01 * k, 1, -40], [1e-5 * k, 0, 1]])
            view = cv2.warpPerspective(scene, moved, (200, 160))
            Image.fromarray(view).save(root / name / f"{k}.ppm")
            if k == 1:
                first = moved
            else:
                np.savetxt(root / name / f"H_1_{k}", moved @ np.linalg.inv(first), fmt="%.17g")
    return root


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, three_sequences) -> Finished:
    return finish(tmp_path_factory.mktemp("uninterrupted"), three_sequences)


@pytest.fixture
def start(tmp_path, commands):
    """Starts ``d2eval hpatches`` as a process of its own."""
    started = []

    def begin(
        data: Path, cache: str = "cache", output: str = "runs", limit: int | None = None
    ) -> Command:
        process = commands.start(
            "hpatches", "--method", "rootsift", "--data", data, "--cache", tmp_path / cache,
            "--output", tmp_path / output, limit=limit,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], process: Command) -> bool:
    """Waits until the condition holds; False if the process ends before."""
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None:
            return condition()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return True


def test_two_runs_into_one_folder(command, data, start, run_folder):
    lock = run_folder / ".lock"
    first = start(data)
    assert wait_until(lambda: lock.is_file() and lock.read_text() != "", first)
    first.send_signal(signal.SIGSTOP)  # held, as long as it takes
    try:
        code, _, err = command("--data", data)
    finally:
        first.send_signal(signal.SIGCONT)
    assert code == 2
    one_line(err, f"{run_folder}: another run (process {first.pid} on ")
    assert ") is writing here" in err
    first.communicate()
    assert first.returncode == 0
    assert len(read_csv(run_folder / "pairs.csv")) == 10
    assert command("--data", data)[0] == 0  # the folder is free again


@pytest.mark.slow
def test_two_runs_at_once_through_one_cache(three_sequences, uninterrupted, start, tmp_path):
    both = [start(three_sequences, output=name) for name in ("one", "two")]
    for process in both:
        _, err = process.communicate()
        assert (process.returncode, without_progress(err)) == (0, "")
    for name in ("pairs.csv", "summary.csv"):
        alone = numbers(uninterrupted.folder / name)
        for output in ("one", "two"):
            assert numbers(tmp_path / output / "hpatches" / "rootsift" / name) == alone
    assert not list((tmp_path / "cache").rglob("*.tmp"))


@pytest.mark.parametrize("times", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_still_ends_with_the_same_rows(
    command, three_sequences, uninterrupted, start, tmp_path, times
):
    cache = tmp_path / "cache"

    def stored() -> dict[Path, tuple[int, int]]:
        return units(cache, "features") | units(cache, "matches")

    rng = np.random.default_rng(20)
    total = 18
    # Killed in the middle of the work: when so many units are there, and a little later.
    moments = sorted(rng.choice(total - 3, size=times, replace=False))
    killed, known = 0, {}
    for count in moments:
        process = start(three_sequences)
        wait_until(
            lambda count=count: len(units(cache, "features")) >= count and cache.exists(), process
        )
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        now = stored()
        assert now.items() >= known.items()  # nothing is lost and nothing is made again
        known = now
    assert killed >= 0.7 * times
    assert 0 < len(units(cache, "features")) < total
    assert not (tmp_path / "runs" / "hpatches" / "rootsift" / "pairs.csv").exists()

    left = 18 - len(units(cache, "features"))
    code, out, err = command("--data", three_sequences)
    assert (code, err) == (0, "")
    assert f"extracted {left} of 18 images" in out
    folder = tmp_path / "runs" / "hpatches" / "rootsift"
    assert manifest_of(folder)["extracted_now"] == left
    assert len(units(cache, "features")) == total
    assert packed(cache / "matches") == 15  # none twice
    assert stored().items() >= known.items()
    for name in ("pairs.csv", "summary.csv"):
        assert numbers(folder / name) == numbers(uninterrupted.folder / name)


def test_ctrl_c_is_one_line_and_keeps_what_was_done(command, three_sequences, start, tmp_path):
    process = start(three_sequences)
    assert wait_until(lambda: len(units(tmp_path / "cache", "features")) > 0, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    one_line(err, "interrupted", "the same command goes on")
    done = len(units(tmp_path / "cache", "features"))
    assert 0 < done < 18
    code, out, err = command("--data", three_sequences)
    assert (code, err) == (0, "")
    assert f"extracted {18 - done} of 18 images" in out


def test_a_full_disk_is_one_line_and_keeps_what_was_done(command, data, start, tmp_path):
    process = start(data, limit=45000)  # the system refuses the rest of larger files
    _, err = process.communicate()
    assert process.returncode == 2
    one_line(err, tmp_path / "cache" / "features", "can't be written", "free space")
    stored = units(tmp_path / "cache", "features")
    assert 0 < len(stored) < 12
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    code, out, err = command("--data", data)  # there is space now
    assert (code, err) == (0, "")
    assert f"extracted {12 - len(stored)} of 12 images" in out
