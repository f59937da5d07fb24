"""Repeats a run by its manifest, and says whether its rows are the same, costs left out.

Everything is extracted and computed again. The exit code is 1 where rows differ; then it also says
what differs of data, weights, versions and device. Where the manifest's command runs code that is
not registered here (module:Class, external:COMMAND), it does so only with --trust.
"""

import argparse
import re
import tempfile
from pathlib import Path

from d2eval.cli.again import run_command
from d2eval.cli.common import add_cache_argument
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.terminal.console import say

EXAMPLES = """examples:
  python -m d2eval rerun results/runs/hpatches/rootsift/manifest.json
  python -m d2eval rerun results/shipped/runs/hpatches/rootsift --data hpatches-sequences-release
  python -m d2eval rerun results/runs/aachen/d2_ms --output again --stored
"""
# What may import or start something that isn't registered; a folder may begin with a drive
_FOREIGN = re.compile(r"(^|[=,])(?!precomputed:|[A-Za-z]:[\\/])[^=,]*:")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "manifest", type=expanded, metavar="MANIFEST", help="of the run, or the run's folder"
    )
    parser.add_argument(
        "--data", type=expanded, metavar="DIR",
        help="the dataset's folder (default: the manifest's command says it)",
    )  # fmt: skip
    parser.add_argument("--output", type=expanded, metavar="DIR", help="where the new run is kept")
    parser.add_argument(
        "--trust", action="store_true",
        help="run the code that the manifest names, if it isn't registered here",
    )  # fmt: skip
    parser.add_argument(
        "--stored", action="store_true", help="take features and other work that is stored"
    )
    add_cache_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Runs it and compares."""
    from d2eval.evaluation.reproduction import manifest_differences, row_differences
    from d2eval.foundation.errors import D2EvalError
    from d2eval.runs.manifest import FILE, read_manifest

    folder = args.manifest.parent if args.manifest.name == FILE else args.manifest
    old = read_manifest(folder)
    if old is None:
        raise D2EvalError(f"{folder / FILE}: is missing; name a run's folder or manifest")
    name = folder.resolve().name  # the folder may be called "."
    words = _command(old, folder, args.data)
    foreign = [word for word in words if _FOREIGN.search(word)]
    if foreign and not args.trust:
        raise D2EvalError(
            f"{folder}: its command runs code that isn't registered here ({', '.join(foreign)}); "
            "look at it, and add --trust if you trust it"
        )
    with tempfile.TemporaryDirectory() as temporary:
        output = args.output or Path(temporary)
        new = output / str(old["benchmark"]) / name
        if new.resolve() == folder.resolve():
            raise D2EvalError(f"--output {output}: holds the run itself; choose another folder")
        places = ["--output", str(output), "--name", name, "--cache", str(args.cache)]
        code = run_command([*words, *places, *([] if args.stored else ["--fresh"])])
        if code:
            raise D2EvalError(f"{folder}: its command failed; mend what it said above")
        said = row_differences(folder, new)
        reasons = manifest_differences(old, read_manifest(new) or {})
    if not said:
        say(f"{folder}: the rows are the same")
        return 0
    say(f"{folder}: rows differ", *said, *(f"differs, too: {reason}" for reason in reasons))
    return 1


def _command(manifest: dict, folder: Path, data: Path | None) -> list[str]:
    """The command of one run, without its places.

    Raises:
        D2EvalError: the manifest names none.
    """
    from dataclasses import fields

    from d2eval.cli.parsing import given
    from d2eval.cli.several import for_each_method
    from d2eval.contracts.registry import BENCHMARKS, registered
    from d2eval.evaluation.benchmark import benchmark_class
    from d2eval.foundation.errors import D2EvalError

    name, command = manifest.get("benchmark"), manifest.get("command")
    if name not in registered(BENCHMARKS):
        raise D2EvalError(f"{folder}: of {name!r}, which is no benchmark here; add it")
    if not isinstance(command, list) or command[:2] != ["d2eval", name]:
        raise D2EvalError(f"{folder}: was not made by a command of d2eval; its manifest names none")
    words = [str(word) for word in command[2:] if word != "--fresh"]
    lost = ["--output", "--name", "--cache", *(["--data"] if data else [])]
    seeds = any(own.name == "seeds" for own in fields(benchmark_class(str(name)).Options))
    if not seeds and manifest.get("seed") is not None:
        lost += ["--seed", "--seeds"]
        seed = ["--seed", str(manifest["seed"])]
    else:
        seed = []
    for option in lost:
        words = given(option, words)[1]
    each = for_each_method(words)
    if len(each) > 1:
        each = [own for own in each if given("--method", own)[0] == [manifest.get("method")]]
    if len(each) != 1:
        raise D2EvalError(f"{folder}: its command has several methods, and none is its own")
    return [str(name), *each[0], *(["--data", str(data)] if data else []), *seed]
