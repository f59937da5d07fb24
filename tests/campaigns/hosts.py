"""A run on two hosts of a cluster whose store knows no locks; one's clock is off, its disk full.

Run by hand, as root: ``python tests/campaigns/hosts.py --benchmark aachen --kills 4``. A host is a
network of its own (``ip netns``) with a name, and Dask's worker there. Nobody can lock a file; the
second host's clock is an hour ahead or behind, no second file of it finds room in the store, and
its TMPDIR has 64 KiB. The rows must be those of one process without faults, every unit be there,
and none twice but what was under way when a worker was killed.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from workers import REPOSITORY, WORDS, command, rows, units

HOSTS = ("d2evalA", "d2evalB")
DASK = str(Path(sys.executable).with_name("dask"))


def variables(faults: str) -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY / "tests/campaigns/faults"), str(REPOSITORY)])
    return {**os.environ, "PYTHONPATH": path, "FAULTS": faults}


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@contextlib.contextmanager
def networks() -> Iterator[None]:
    """A network for each host, joined with this one by a cable."""
    try:
        for k, host in enumerate(HOSTS):
            ip(f"netns add {host}")
            ip(f"link add {host} type veth peer name eth0 netns {host}")
            ip(f"addr add 10.77.{k}.1/24 dev {host}")
            ip(f"link set {host} up")
            ip(f"-n {host} addr add 10.77.{k}.2/24 dev eth0")
            ip(f"-n {host} link set eth0 up")
            ip(f"-n {host} link set lo up")
            ip(f"-n {host} route add default via 10.77.{k}.1")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False)


def start_worker(root: Path, k: int, faults: str, full: bool) -> subprocess.Popen[bytes]:
    """Dask's worker on a host, in a session of its own."""
    tmp = root / f"tmp-{HOSTS[k]}"
    tmp.mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp};" if full else ""
    worker = (
        f"{DASK} worker --scheduler-file {root}/scheduler.json --nthreads 1 --no-dashboard "
        f"--no-nanny --death-timeout 30 --host 10.77.{k}.2 --local-directory {root}/dask{k}"
    )
    script = f"hostname {HOSTS[k]}; {mount} exec {worker}"
    return subprocess.Popen(
        ["ip", "netns", "exec", HOSTS[k], "unshare", "--uts", "--mount", "sh", "-c", script],
        env={**variables(faults), "TMPDIR": str(tmp)}, cwd=root, start_new_session=True,
        stdout=(root / "dask.log").open("ab"), stderr=subprocess.STDOUT,
    )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def on_two_hosts(root: Path, benchmark: str, ahead: int, kills: int, rng: random.Random) -> int:
    """Such a run; how many workers were killed."""
    faults = ("noflock", f"noflock clock={ahead} full=.5")
    started = [
        subprocess.Popen(
            [DASK, "scheduler", "--scheduler-file", str(root / "scheduler.json"),
             "--no-dashboard", "--port", "8799", "--host", "10.77.0.1"],
            cwd=root, start_new_session=True, stdout=(root / "dask.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
    ]  # fmt: skip
    killed = before = 0
    try:
        while not (root / "scheduler.json").exists():
            assert started[0].poll() is None, (root / "dask.log").read_text()
            time.sleep(0.2)
        started += [start_worker(root, k, faults[k], full=k == 1) for k in (0, 1)]
        run = subprocess.Popen(
            command(root, benchmark, "--scheduler", str(root / "scheduler.json")), cwd=root,
            env=variables("noflock"), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        started.append(run)
        while run.poll() is None:
            time.sleep(rng.uniform(0.5, 3))
            if killed < kills and units(root)[0] > before:
                before, k = units(root)[0], rng.choice((0, 1))
                end(started[1 + k])
                started[1 + k] = start_worker(root, k, faults[k], full=k == 1)
                killed += 1
        assert run.returncode == 0, run.returncode
    finally:
        for process in started:
            end(process)
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmark", choices=WORDS, default="aachen")
    parser.add_argument("--kills", type=int, default=0, help="of workers, in each run")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder, networks():
        one = Path(folder) / "one"
        one.mkdir()
        subprocess.run(
            command(one, args.benchmark), cwd=one, check=True, stdout=subprocess.DEVNULL,
            env=variables(""),
        )  # fmt: skip
        expected, (count, _) = rows(one), units(one)
        assert expected
        for ahead in (3600, -3600):
            root = Path(folder) / "hosts"
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            killed = on_two_hosts(root, args.benchmark, ahead, args.kills, rng)
            found, twice = units(root)
            assert rows(root) == expected, "rows differ"
            assert found == count, (found, count)
            left = list((root / "cache").rglob(".*.tmp"))
            print(f"clock {ahead:+} s, {killed} killed: rows equal, {found} units, {twice} twice, "
                  f"{len(left)} temporary files left", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
