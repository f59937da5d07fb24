"""``d2eval aachen`` as a user runs it: on the sample, killed, out of space, with broken files."""

import csv
import json
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from blank_images import assert_told, make_blank
from forked_commands import Commands
from packed_units import packed
from PIL import Image

from d2eval.cli import main
from d2eval.sample.aachen import make_aachen_sample

STAGES = ["features", "matching", "verification", "triangulation", "registration"]
DATABASE = [f"db/{n}.png" for n in range(1, 6)]
NIGHT, DAY = "query/night/nexus5x/n.png", "query/day/nexus5x/d.png"
INTRINSICS = "SIMPLE_RADIAL 640 480 600 320 240 0"
FEW = ("--first-octave", "0")  # a fifth of the features, in a tenth of the time
NAME, FEW_NAME = "rootsift-first-octave0-sample", "rootsift-first-octave0-few-sample"
PAIRS, MODEL = "image_pairs_to_match.txt", "3D-models/aachen_cvpr2018_db.nvm"
LIST, NIGHT_LIST = (
    "3D-models/database_intrinsics.txt",
    "queries/night_time_queries_with_intrinsics.txt",
)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def arguments(root: Path, *more: object, method: str = "rootsift") -> list[str]:
    where = ["--cache", root / "cache", "--output", root / "runs"]
    return [str(word) for word in ("aachen", "--method", method, *where, *more)]


def one_line(error: str, *says: object) -> None:
    last = error.splitlines()[-1]
    assert last.startswith("d2eval: ")
    assert error.endswith("\n")
    assert "Traceback" not in error
    assert all(line.startswith("note: ") for line in error.splitlines()[:-1])
    for part in says:
        assert str(part) in last


@dataclass(frozen=True)
class Sample:
    """A run on the sample that was not interrupted; to be looked at only."""

    root: Path
    out: str
    err: str

    @property
    def folder(self) -> Path:
        return self.root / "runs/aachen" / NAME

    @property
    def database(self) -> Path:
        return next((self.root / "cache/sample").glob("aachen-*/database.db"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory, commands, rendered) -> Sample:
    root, made = tmp_path_factory.mktemp("sample"), rendered(make_aachen_sample)
    shutil.copytree(made, root / "cache/sample" / made.name)
    done = commands.start(*arguments(root, *FEW), draws=True)
    out, err = done.communicate()
    assert done.returncode == 0, err
    return Sample(root, out, err)


# On the sample


def test_without_data_it_runs_on_the_sample_and_says_so(sample):
    assert sample.err == ""
    assert "sample: 10 database images with a pose, 6 queries, 69 pairs" in sample.out
    assert {path.name for path in sample.folder.iterdir()} >= {
        "queries.csv", "summary.csv", "stages.csv", "manifest.json", "matches.h5", "model",
        f"Aachen_eval_{NAME}.txt", "aachen.csv", "aachen.md", "topview.png",
    }  # fmt: skip
    assert not (sample.folder / ".work").exists()
    for name in ("queries.csv", "summary.csv"):
        assert {row["dataset"] for row in read_csv(sample.folder / name)} == {"sample"}
    manifest = json.loads((sample.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["dataset"]["completeness"] == "sample"
    table = (sample.folder / "aachen.md").read_text(encoding="utf-8")
    assert any("rootsift" in line and "sample" in line for line in table.splitlines())
    for row in read_csv(sample.folder / "queries.csv"):
        assert row["registered"] == "1"
        assert float(row["position_m"]) < 0.01
        assert float(row["rotation_deg"]) < 0.1


def test_images_of_one_colour(sample, tmp_path, capfd, no_figures):
    """They have no features, so that such a query counts as a failure; the run goes on."""
    data, query = tmp_path / "data", "query/day/nexus5x/day_0000.jpg"
    shutil.copytree(sample.database.parent, data)
    for name in ("features", "matches", "verified"):
        shutil.copytree(sample.root / "cache" / name, tmp_path / "cache" / name)
    empty = [data / "images/images_upright" / name for name in (query, "db/0009.jpg")]
    make_blank(empty)
    assert main(arguments(tmp_path, "--data", data, *FEW)) == 0
    said = capfd.readouterr()
    assert_told(said.err, empty)
    assert f"no pose for {query}: too few features: 0, " in said.out
    assert "2/3 registered" in said.out
    for row in read_csv(tmp_path / "runs/aachen/rootsift-first-octave0/queries.csv"):
        assert row["registered"] == str(int(row["name"] != query))
        assert row["position_m"] == "" if row["name"] == query else float(row["position_m"]) < 0.01


def test_what_is_printed_is_what_is_written(sample):
    rows = read_csv(sample.folder / "stages.csv")
    assert [row["stage"] for row in rows] == STAGES
    (features, matching, verification, triangulation, _) = rows
    assert f"{features['images']} images, {features['features']} features" in sample.out
    assert f"{matching['pairs']} pairs, {matching['matches']} matches" in sample.out
    assert f"{verification['inlier_matches']} inlier matches" in sample.out
    assert f"{triangulation['points']} points" in sample.out
    assert "extracted 16 images" in sample.out
    assert sample.out.count("3/3 registered") == 4  # day and night, both epochs


# Killed, out of space


@dataclass(frozen=True)
class Few:
    """A run on some images of the sample that was not interrupted; to be looked at only."""

    folder: Path
    words: tuple[object, ...]  # of its command
    pairs: int
    err: str


@pytest.fixture(scope="module")
def few(sample, tmp_path_factory, commands) -> Few:
    root = tmp_path_factory.mktemp("few")
    kept = {f"db/000{k}.jpg" for k in range(3, 8)}
    kept |= {f"query/{time}/nexus5x/{time}_0001.jpg" for time in ("day", "night")}
    lines = (sample.database.parent / PAIRS).read_text().splitlines()
    pairs = [line for line in lines if set(line.split()) <= kept]
    (root / "few.txt").write_text("\n".join([*pairs, ""]))
    words = (*FEW, "--pairs", root / "few.txt")
    warm_up(sample, root)
    done = commands.start(*arguments(root, *words))
    _, err = done.communicate()
    assert done.returncode == 0, err
    return Few(root / "runs/aachen" / FEW_NAME, words, len(pairs), err)


def warm_up(sample: Sample, root: Path) -> None:
    for name in ("sample", "features"):
        shutil.copytree(sample.root / "cache" / name, root / "cache" / name)


@pytest.fixture
def warm(sample, tmp_path) -> Path:
    """A folder whose cache holds the sample and its features, and nothing of later stages."""
    warm_up(sample, tmp_path)
    return tmp_path


def done_in(cache: Path) -> int:
    """Finished units of the stages after features."""
    models = len(list((cache / "models").glob("*/*")))
    return packed(cache / "matches") + packed(cache / "verified") + models


def kill_at(commands: Commands, root: Path, few: Few, count: int, delay: float) -> bool:
    """Starts a run and kills it ``delay`` after ``count`` units are there; False if it ended."""
    process = commands.start(*arguments(root, *few.words))
    deadline = time.monotonic() + 120
    while process.poll() is None and done_in(root / "cache") < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


def test_killed_in_several_stages_it_still_ends_with_the_same_bytes(sample, few, warm, commands):
    users = next((warm / "cache/sample").glob("aachen-*/database.db"))
    rng = np.random.default_rng(7)
    moments = [
        int(rng.integers(1, few.pairs)),  # among the pairs that are matched
        few.pairs + int(rng.integers(1, few.pairs)),  # among those that are verified
        2 * few.pairs + 1,  # after the model
    ]
    killed = [kill_at(commands, warm, few, count, rng.uniform(0, 0.1)) for count in moments]
    assert sum(killed) >= 2
    again = commands.start(*arguments(warm, *few.words))
    out, err = again.communicate()
    assert (again.returncode, err) == (0, few.err)
    assert "extracted 0 images" in out
    folder = warm / "runs/aachen" / FEW_NAME
    for name in ("queries.csv", f"Aachen_eval_{FEW_NAME}.txt"):
        assert (folder / name).read_bytes() == (few.folder / name).read_bytes()
    assert not (folder / ".work").exists()
    assert not list((warm / "runs").rglob("*.tmp"))
    assert not list(warm.rglob("*.tmp"))
    assert users.read_bytes() == sample.database.read_bytes()
    assert [path.name for path in users.parent.glob("database.db*")] == ["database.db"]


@pytest.fixture
def out_of_space(commands, few, warm) -> Callable[[int], tuple[int, str]]:
    """A run whose files can't grow beyond so many bytes: its exit code and what it says."""

    def run(limit: int) -> tuple[int, str]:
        process = commands.start(*arguments(warm, *few.words), limit=limit)
        _, err = process.communicate()
        return process.returncode, err

    return run


def test_no_space_for_features_is_one_line(warm, out_of_space):
    shutil.rmtree(warm / "cache/features")
    code, err = out_of_space(200_000)
    assert code == 2
    one_line(err, warm / "cache/features", "can't be written", "free space")
    assert not list((warm / "cache").rglob("*.tmp"))
    assert not (warm / "runs/aachen" / FEW_NAME / ".work").exists()


@pytest.mark.parametrize("limit", [200_000, pytest.param(300_000, marks=pytest.mark.slow)])
def test_no_space_for_the_database_is_one_line(out_of_space, limit):  # COLMAP would end the process
    code, err = out_of_space(limit)
    assert code == 2
    one_line(err, "free space")


def test_after_colmap_ran_out_of_space_the_next_run_goes_on(few, warm, out_of_space, no_figures):
    assert out_of_space(300_000)[0] != 0
    folder = warm / "runs/aachen" / FEW_NAME
    assert not (folder / "queries.csv").exists()
    assert packed(warm / "cache/matches") == few.pairs  # kept
    assert main(arguments(warm, *few.words)) == 0
    assert (folder / "queries.csv").read_bytes() == (few.folder / "queries.csv").read_bytes()
    assert not (folder / ".work").exists()


# Failing well


def write_database(path: Path) -> None:
    """As COLMAP 3.5 writes it: a camera for each image, without features."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            "CREATE TABLE cameras (camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
            " model INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,"
            " params BLOB, prior_focal_length INTEGER NOT NULL);"
            "CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
            " name TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL, prior_qw REAL, prior_qx REAL,"
            " prior_qy REAL, prior_qz REAL, prior_tx REAL, prior_ty REAL, prior_tz REAL);"
            "CREATE TABLE keypoints (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,"
            " cols INTEGER NOT NULL, data BLOB);"
            "CREATE TABLE matches (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,"
            " cols INTEGER NOT NULL, data BLOB);"
            "PRAGMA user_version = 3400;"
        )
        params = np.array([768.0, 320, 240, 0], "<f8").tobytes()
        for k, name in enumerate([*DATABASE, NIGHT, DAY], 1):
            database.execute("INSERT INTO cameras VALUES (?, 2, 640, 480, ?, 0)", (k, params))
            database.execute(
                "INSERT INTO images (image_id, name, camera_id) VALUES (?, ?, ?)", (k, name, k)
            )


def write_features(folder: Path, rng: np.random.Generator) -> None:
    """Random features of every image: some match, but with no geometry."""
    for name in (*DATABASE, NIGHT, DAY):
        path = folder / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        described = rng.normal(size=(80, 16))
        described /= np.linalg.norm(described, axis=1, keepdims=True)
        np.savez(
            path, keypoints=rng.uniform(1, [638, 478], (80, 2)).astype(np.float32),
            scores=rng.random(80).astype(np.float32), descriptors=described.astype(np.float32),
        )  # fmt: skip


@pytest.fixture
def data(tmp_path) -> Path:
    """A small folder in the layout, whose features are beside it; both may be changed."""
    root, rng = tmp_path / "data", np.random.default_rng(3)
    for folder in ("3D-models", "queries"):
        (root / folder).mkdir(parents=True)
    write_database(root / "database.db")
    poses = [f"{name} 600 1 0 0 0 {k} 0 0 0 0" for k, name in enumerate(DATABASE)]
    night = [f"{NIGHT} {name}" for name in DATABASE[:3]]
    texts = {
        MODEL: ["NVM_V3", "", str(len(poses)), *poses, "", "0"],
        LIST: [f"{name} {INTRINSICS}" for name in DATABASE],
        NIGHT_LIST: [f"{NIGHT} {INTRINSICS}"],
        "queries/day_time_queries_with_intrinsics.txt": [f"{DAY} {INTRINSICS}"],
        PAIRS: ["db/1.png db/2.png", "db/1.png db/3.png", "db/2.png db/3.png", *night],
    }
    for name, lines in texts.items():
        (root / name).write_text("\n".join([*lines, ""]))
    for name in (*DATABASE, NIGHT, DAY):
        image = root / "images/images_upright" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (640, 480)).save(image)
    write_features(tmp_path / "features", rng)
    return root


@pytest.fixture
def fails(tmp_path, data, capfd) -> Callable[..., str]:
    """Runs precomputed features on ``data``, expects exit code 2, and gives standard error."""

    def run(*more: object, folder: Path = data) -> str:
        before = (data / "database.db").read_bytes() if data.is_dir() else b""
        method = f"precomputed:{tmp_path / 'features'}"
        code = main(arguments(tmp_path, "--data", folder, *more, method=method))
        if before:
            assert (data / "database.db").read_bytes() == before
        assert code == 2
        assert not list((tmp_path / "runs").rglob("queries.csv"))
        assert not list((tmp_path / "runs").rglob(".work"))
        return capfd.readouterr().err

    return run


def change(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_a_model_line_that_is_none(fails, data):
    path = change(data / MODEL, "db/3.png 600 1 0", "db/3.png 600 1 zero")
    one_line(fails(), f"{path}: line 6: ")


def test_an_intrinsics_line_that_is_none(fails, data):
    path = change(
        data / LIST, "db/2.png SIMPLE_RADIAL 640 480 600", "db/2.png SIMPLE_RADIAL 640 480"
    )
    one_line(fails(), f"{path}: line 2: ")


def test_a_pair_of_an_unknown_image(fails, data):
    path = change(data / PAIRS, "db/1.png db/3.png", "db/1.png db/9.png")
    one_line(fails(), path, "db/9.png")


def test_an_image_of_another_size(fails, data):
    path = data / "images/images_upright/db/2.png"
    Image.new("RGB", (800, 480)).save(path)
    one_line(fails(), f"{path}: is 800x480, but its intrinsics are for 640x480")


def test_queries_without_intrinsics(fails, data):
    path = change(data / NIGHT_LIST, f" {INTRINSICS}", "")
    one_line(fails(), f"{path}: line 1: ")


def test_a_missing_image(fails, data):
    (data / "images/images_upright/db/3.png").unlink()
    one_line(fails(), data / "images/images_upright", "db/3.png")


def test_a_reference_pose_twice(fails, tmp_path):
    path = tmp_path / "poses.txt"
    path.write_text(f"{NIGHT} 1 0 0 0 0 0 0\n" * 2)
    one_line(fails("--reference-poses", path), path, NIGHT)


def test_a_database_that_is_none(fails, data):
    (data / "database.db").write_bytes(b"no database, but long enough to be read as one" * 30)
    one_line(fails(), data / "database.db")


def test_a_database_without_colmap_s_tables(fails, data):
    with closing(sqlite3.connect(data / "database.db")) as database, database:
        database.executescript("DROP TABLE cameras; CREATE TABLE cameras (id INTEGER)")
    one_line(fails(), data / "database.db")


def test_a_keypoint_outside_of_its_image(fails, tmp_path):
    path = tmp_path / "features/db/2.png.npz"
    with np.load(path) as arrays:
        held = dict(arrays)
    held["keypoints"][5] = [700, 10]
    np.savez(path, **held)
    one_line(fails(), f"{path}: ", "outside")


def test_no_such_folder(fails, tmp_path):
    one_line(fails(folder=tmp_path / "none"), tmp_path / "none")


def test_no_precomputed_features_of_an_image(fails, tmp_path):
    (tmp_path / "features/db/3.png.npz").unlink()
    one_line(fails(), tmp_path / "features/db/3.png", "no features for this image")


def test_more_held_out_than_there_are(fails):
    one_line(fails("--holdout", 5), "--holdout 5: there are 5 database images", "hold out fewer")


def test_without_a_verified_pair_it_says_where_matches_were_lost(fails):
    counts = ("features: images 4, features 320", "matching: pairs 6, matches ")
    one_line(fails(), "no pair of 6 was verified", *counts)


def test_holding_out_two_of_a_triangle_leaves_too_little(fails):
    one_line(fails("--holdout", 2), "--holdout 2: only ", "hold out fewer")


def test_repeated_pairs_are_merged_and_noted(fails, data):
    path = data / PAIRS
    path.write_text(path.read_text() + f"db/2.png db/1.png\ndb/1.png db/3.png\n{NIGHT} db/1.png\n")
    err = fails()
    assert f"note: {path}: 3 lines repeat a pair; merged\n" in err
    assert "no pair of 6 was verified" in err


def test_a_quaternion_that_is_not_of_length_one(fails, data):
    change(data / MODEL, "db/3.png 600 1 0 0 0", "db/3.png 600 2 0 0 0")
    notes = [line for line in fails().splitlines() if line.startswith("note: ")]
    assert any("quaternion" in line for line in notes), notes


def test_nearest_poses_are_hlocs_alone(tmp_path, capsys):
    assert (
        main(["aachen", "--method", "rootsift", "--nearest-pose", "--output", str(tmp_path)]) == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--nearest-pose: aachen registers images" in error
