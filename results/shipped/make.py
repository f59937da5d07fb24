"""Measures everything that ships in this folder anew: runs, tables, plots, and the page of all.

    python results/shipped/make.py DATA [--work DIR] [--only [hpatches|aachen|inloc ...]]

DATA holds hpatches-sequences-release, aachen-fountain and inloc-hololens. Runs are made in DIR
(default: results/work), where features and finished work are kept: the same command goes on where
it was interrupted. Of each run, rows and manifest are copied here; the commands are relative to
DIR, so that no manifest names a folder of this machine. With --only, what ships of other benchmarks
stays; with --only alone nothing is measured, and the page is made of what ships, with pictures from
what DIR holds. R2D2's weights must have been fetched into DIR/cache (d2eval fetch r2d2 --cache
DIR/cache).
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DATA = {
    "hpatches": "hpatches-sequences-release",
    "aachen": "aachen-fountain",
    "inloc": "inloc-hololens",
}
FIGURES = {"hpatches": "mma", "aachen": "aachen", "inloc": "inloc"}
FIRST = ("d2_ms", "d2_ms_trained", "inloc_d2_ms", "rootsift")  # in a page that is kept small
PICTURES = ("matches.h5", "views.h5")  # of a run, what pictures of queries are drawn from
FILES = ("manifest.json", "summary.csv", "pairs.csv", "queries.csv", "stages.csv")
D2 = ("d2_ss", "d2_ms", "d2_ss_trained", "d2_ms_trained")
ROOTSIFT = ("rootsift", "upright_rootsift")
OTHERS = ("hesaff_rootsift", "orb", "disk", "aliked", "xfeat", "keynet_hardtfeat", "r2d2")


def commands(benchmark: str) -> Iterator[list[str]]:
    """The command lines, without the output."""
    start = [benchmark, "--data", DATA[benchmark]]
    if benchmark != "inloc":
        for method in (*ROOTSIFT, *D2, *(OTHERS if benchmark == "hpatches" else ())):
            yield [*start, "--method", method]
        if benchmark == "aachen":
            yield [*start, "--strategy", "dense"]
        return
    affine = [*start, "--method", "affine_rootsift"]
    yield from (affine, [*affine, "--strategy", "direct"], [*affine, "--dense-pv"])
    for method in ("rootsift", *D2):
        yield [*start, "--method", method, "--strategy", "direct"]
        yield [*start, "--method", method, "--protocol", "inloc_hloc"]
    for protocol in ("inloc", "inloc_demo"):
        own = [*start, "--protocol", protocol]
        for method in ("rootsift", *D2):
            yield [*own, "--method", method]
            yield [*own, "--method", method, "--dense-pv"]
        yield [*own, "--strategy", "dense"]
        yield [*own, "--strategy", "dense", "--dense-pv"]
        for method in ("d2_ss", "d2_ms", "d2_ms_trained"):
            yield [*own, "--method", method, "--strategy", "merge"]


def d2eval(words: list[str], work: Path) -> None:
    """Runs a command of d2eval in ``work``."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "D2EVAL_CACHE": "cache"}
    sys.stdout.write(f"$ d2eval {' '.join(words)}\n")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "d2eval", *words], cwd=work, env=environment, check=True)


def copy_rows(runs: Path, target: Path) -> None:
    """Copies what ships of all runs, in place of what shipped before."""
    shutil.rmtree(target, ignore_errors=True)
    for folder in sorted(path for path in runs.iterdir() if (path / FILES[0]).is_file()):
        (target / folder.name).mkdir(parents=True)
        for name in FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, target / folder.name / name)


def make_page(data: Path, work: Path) -> None:
    """Writes ``report.html`` of all that ships, with pictures made of what is left in ``work``."""
    shown = work / "page"
    shutil.rmtree(shown, ignore_errors=True)
    shutil.copytree(HERE / "runs", shown)
    for left in (path for name in PICTURES for path in (work / "runs").glob(f"*/*/{name}")):
        target = shown / left.relative_to(work / "runs").parent
        if target.is_dir():
            shutil.copyfile(left, target / left.name)
    there = [f"{name}={folder}" for name, folder in DATA.items() if link(data, work, name).exists()]
    page = HERE / "report.html"
    words = ["report", "--runs", "page", "--name", "d2eval, small development sets"]
    words += ["--largest-mb", "1.5", "--pictures-first", *FIRST]
    d2eval([*words, "--data", *there, "--output", str(page)], work)
    page.with_name("results.json").unlink()  # the page holds the same


def link(data: Path, work: Path, benchmark: str) -> Path:
    """The dataset below ``work``, where commands name no folder of this machine."""
    own = work / DATA[benchmark]
    own.unlink(missing_ok=True)
    own.symlink_to((data / DATA[benchmark]).resolve())
    return own


def main() -> None:
    """Runs everything that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=HERE.parent / "work")
    parser.add_argument("--only", nargs="*", choices=list(DATA), default=list(DATA))
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for benchmark in args.only:
        link(args.data, work, benchmark)
        for words in commands(benchmark):
            d2eval([*words, "--output", "runs"], work)
        copy_rows(work / "runs" / benchmark, HERE / "runs" / benchmark)
        tables, plots = str(HERE / "tables"), str(HERE / "plots")
        d2eval(["tables", benchmark, "--runs", "runs", "--output", tables], work)
        d2eval(["plot", FIGURES[benchmark], "--runs", "runs", "--output", plots], work)
    d2eval(["plot", "cost", "--runs", "shipped", "--output", str(HERE / "plots")], work)
    make_page(args.data, work)


if __name__ == "__main__":
    main()
