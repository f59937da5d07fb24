"""Runs that go from one person to another, and files that are none."""

import hashlib
import io
import json
import random
import shutil
import stat
import struct
import warnings
import zipfile

import pytest

from d2eval.cli import main
from d2eval.runs.archive import INDEX, PROTOCOL
from d2eval.runs.measured import SHIPPED_RUNS

RUNS = {"hpatches": "d2_ms", "aachen": "d2_ms", "inloc": "d2_ms_direct"}


def exported(path, benchmark="hpatches", runs="shipped"):
    words = ["export", RUNS[benchmark], "--benchmark", benchmark, "--runs", str(runs)]
    assert main([*words, "-o", str(path)]) == 0
    return path


def table(benchmark, runs, output):
    assert main(["tables", benchmark, "--runs", str(runs), "--output", str(output)]) == 0
    return [(output / f"{benchmark}.{ending}").read_bytes() for ending in ("csv", "md")]


@pytest.mark.parametrize("benchmark", list(RUNS))
def test_the_tables_of_what_was_imported_are_the_same_to_the_byte(benchmark, tmp_path):
    mine = tmp_path / "mine"
    source = SHIPPED_RUNS / benchmark / RUNS[benchmark]
    shutil.copytree(source, mine / benchmark / source.name)
    (mine / benchmark / source.name / f"{benchmark}.csv").write_text("a table of its own")
    (mine / benchmark / source.name / "recall.png").write_bytes(b"picture")
    path = exported(tmp_path / "run.zip", benchmark, mine)
    theirs = tmp_path / "theirs"
    assert main(["import", str(path), "--output", str(theirs)]) == 0
    assert table(benchmark, theirs, tmp_path / "a") == table(benchmark, mine, tmp_path / "b")
    again = tmp_path / "again.zip"
    assert exported(again, benchmark, theirs).read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    assert names - {PROTOCOL} == {INDEX, *(own.name for own in source.iterdir())}
    assert (PROTOCOL in names) == (PROTOCOL in {p.name for p in theirs.rglob("*")})


def test_runs_of_several_people_are_each_named(tmp_path, capsys):
    path, runs = exported(tmp_path / "run.zip"), tmp_path / "runs"
    for words in ([], ["--by", "ann"], ["--by", "bob"]):
        assert main(["import", str(path), "--output", str(runs), *words]) == 0
    _, markdown = table("hpatches", runs, tmp_path / "tables")
    for label in (b"| d2_ms ", b"| ann-d2_ms ", b"| bob-d2_ms "):
        assert label in markdown
    capsys.readouterr()
    assert main(["import", str(path), "--output", str(runs)]) == 0
    assert "is there already" in capsys.readouterr().err
    (runs / "hpatches/d2_ms/summary.csv").write_text("other")
    assert main(["import", str(path), "--output", str(runs)]) == 2
    assert "holds another run; give --by" in capsys.readouterr().err
    assert (runs / "hpatches/d2_ms/summary.csv").read_text() == "other"


def test_a_protocol_goes_along_where_it_is_the_run_s(tmp_path, capsys):
    """And a note says where the numbers are not those of today."""
    path = exported(tmp_path / "run.zip", "inloc")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if PROTOCOL in files:
        assert json.loads(files[PROTOCOL])["numbers"]["thresholds"][0]["position_m"] == 0.25
    else:
        assert "its protocol has other numbers" in capsys.readouterr().err
    files[PROTOCOL] = json.dumps({"name": "inloc", "sha256": "0", "numbers": {}}).encode()
    assert main(["import", str(packed(tmp_path, files)), "--output", str(tmp_path / "r")]) == 0
    assert "its protocol 'inloc' has other numbers" in capsys.readouterr().err


def packed(folder, contents, /, **changes):
    """An archive of ``contents`` whose index fits them, but for ``changes``."""
    sums = {n: hashlib.sha256(data).hexdigest() for n, data in contents.items() if n != INDEX}
    index = {**json.loads(contents[INDEX]), "files": sums, **changes}
    path = folder / "changed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**contents, INDEX: json.dumps(index).encode()}.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def files(tmp_path):
    with zipfile.ZipFile(exported(tmp_path / "sound.zip")) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def refused(tmp_path, capsys):
    """Sees to it that a file is refused in one line, and that nothing is left of it."""

    def check(path, said):
        runs = tmp_path / "runs"
        before = {own for own in tmp_path.rglob("*") if own.is_file()}
        capsys.readouterr()
        assert main(["import", str(path), "--output", str(runs)]) == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1 and str(path) in err
        assert said in err
        assert {own for own in tmp_path.rglob("*") if own.is_file()} == before

    return check


@pytest.mark.parametrize(
    "name",
    ["../evil.csv", "/evil.csv", "a/b.csv", "..\\evil.csv", "C:evil.csv", ".hidden.csv",
     "evil.py", "=evil.csv", "x\x07.csv", "folder/"],
)  # fmt: skip
def test_no_path_climbs_out(name, files, refused, tmp_path):
    refused(packed(tmp_path, {**files, name: b"evil"}), "is no name of a run's file")


def test_links_and_folders_are_no_files(files, refused, tmp_path):
    path = packed(tmp_path, files)
    for kind in (stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                info = zipfile.ZipInfo(name)
                if name == "pairs.csv":
                    info.external_attr = (kind | 0o777) << 16
                archive.writestr(info, data)
        refused(path, "pairs.csv is no regular file")


def test_a_name_that_stands_twice(files, refused, tmp_path):
    path = packed(tmp_path, files)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("pairs.csv", b"other")
    refused(path, "pairs.csv stands twice")


def test_bombs(files, refused, tmp_path, monkeypatch):
    monkeypatch.setattr("d2eval.runs.archive._MOST_BYTES", 2**20)
    monkeypatch.setattr("d2eval.runs.archive._MOST_PACKED", 2**18)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        with archive.open("big.csv", "w", force_zip64=True) as big:
            big.write(bytes(2**20))
    refused(path, "it would unpack to more than a run is")
    # One that lies about its size gives no more than it says.
    data = bytearray(path.read_bytes())
    at = data.rindex(b"big.csv") - 46
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    refused(path, "no sound archive of a run")
    many = packed(tmp_path, {**files, **{f"{i}.csv": b"" for i in range(100)}})
    refused(many, "it would unpack to more than a run is")
    path.write_bytes(bytes(2**18 + 1))
    refused(path, "larger than 0 MiB")


def test_contents_that_are_not_what_was_packed(files, refused, tmp_path):
    sums = {name: "0" * 64 for name in files if name != INDEX}
    refused(packed(tmp_path, files, files=sums), "is not what was packed")
    refused(packed(tmp_path, files, files={}), "its files are not those of d2eval-run.json")
    refused(packed(tmp_path, files, files=7), "its files are not those of d2eval-run.json")
    refused(packed(tmp_path, files, schema=2), "schema 2, which this d2eval doesn't know")
    refused(packed(tmp_path, files, label="../x"), "names no benchmark or run")
    refused(packed(tmp_path, files, benchmark="inloc"), "manifest.json is not of inloc")
    refused(packed(tmp_path, {n: d for n, d in files.items() if n != "summary.csv"}), "lacks")
    for name, data, said in (
        ("manifest.json", b"[]", "manifest.json is no JSON table"),
        ("manifest.json", b"[" * 10**5, "manifest.json is no JSON table"),
        (PROTOCOL, b"{", "no sound archive of a run"),
        (PROTOCOL, b"[]", "protocol.json is no JSON table"),
        ("summary.csv", b"method\n", "summary.csv"),
        ("pairs.csv", files["pairs.csv"].replace(b"0.", b"O."), "not a number"),
    ):
        refused(packed(tmp_path, {**files, name: data}), said)
    with zipfile.ZipFile(exported(tmp_path / "inloc.zip", "inloc")) as archive:
        located = {name: archive.read(name) for name in archive.namelist()}
    rows = located["queries.csv"].decode().splitlines()
    cells = rows[1].split(",")
    cells[rows[0].split(",").index("position_m")] = "O.01"
    broken = "\n".join([rows[0], ",".join(cells), *rows[2:]]).encode()
    refused(packed(tmp_path, {**located, "queries.csv": broken}), "position_m is 'O.01', not a num")
    index = {**json.loads(files[INDEX]), "benchmark": "planar"}
    manifest = {**json.loads(files["manifest.json"]), "benchmark": "planar"}
    other = {**files, "manifest.json": json.dumps(manifest).encode()}
    refused(packed(tmp_path, other, **{k: index[k] for k in ("benchmark",)}), "no benchmark here")


def test_files_that_are_cut_or_damaged(refused, tmp_path):
    sound = exported(tmp_path / "sound.zip").read_bytes()
    path, rng = tmp_path / "damaged.zip", random.Random(0)  # noqa: S311
    for length in (0, 1, 21, 22, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:length])
        refused(path, "no sound archive")
    bodies = [own.header_offset + 80 for own in zipfile.ZipFile(io.BytesIO(sound)).infolist()]
    for at in (*bodies, *rng.sample(range(100, len(sound) // 2), 10)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x55]) + sound[at + 1 :])
        refused(path, "no sound")
    path.write_bytes(b"no archive")
    refused(path, "no sound archive")


def test_folders_of_runs_may_be_of_different_benchmarks(tmp_path, capsys):
    source = SHIPPED_RUNS / "hpatches/rootsift"
    shutil.copytree(source, tmp_path / "mine/hpatches/here")
    shutil.copytree(SHIPPED_RUNS / "inloc/dense", tmp_path / "yours/inloc/dense")
    roots = [word for name in ("mine", "yours") for word in ("--runs", str(tmp_path / name))]
    path = str(tmp_path / "run.zip")
    assert main(["export", "here", "-o", path, *roots]) == 0
    assert main(["export", "yours/dense", "-o", path, *roots]) == 0
    shutil.copytree(source, tmp_path / "yours/hpatches/there")
    shutil.copytree(SHIPPED_RUNS / "inloc/dense", tmp_path / "yours/inloc/here")
    shutil.copytree(SHIPPED_RUNS / "inloc/dense", tmp_path / "yours/inloc/there")
    capsys.readouterr()
    assert main(["compare", "yours/here", "yours/there", "--output", str(tmp_path), *roots]) == 0
    assert "# inloc: yours/here and yours/there" in capsys.readouterr().out


def test_mistakes_of_names(tmp_path, capsys):
    assert main(["export", "d2_ms", "--runs", "shipped"]) == 2
    assert "runs of hpatches, aachen, inloc are called so; name --benchmark" in (
        capsys.readouterr().err
    )
    assert main(["export", "nothing", "--runs", "shipped"]) == 2
    assert "nothing: no such run or method" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "nothing.zip")]) == 2
    assert "nothing.zip: is missing" in capsys.readouterr().err


def test_what_no_archive_can_hold_is_not_left_out_in_silence(tmp_path, capsys):
    run = tmp_path / "runs/hpatches/d2_ms"
    shutil.copytree(SHIPPED_RUNS / "hpatches/d2_ms", run)
    words = ["export", "d2_ms", "--runs", str(tmp_path / "runs"), "-o", str(tmp_path / "run.zip")]
    for name in ("-notes.txt", "seen\n.csv"):
        (run / name).write_text("x")
        assert main(words) == 2
        assert "an archive can't hold it" in capsys.readouterr().err
        (run / name).unlink()
    (run / "summary.csv").rename(tmp_path / "elsewhere.csv")
    (run / "summary.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert main(words) == 2
    assert "summary.csv: is a link; put the file itself there" in capsys.readouterr().err
    assert not (tmp_path / "run.zip").exists()
