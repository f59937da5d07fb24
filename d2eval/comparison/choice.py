"""Which runs a user means who names runs or methods, and their comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2eval.comparison.differences import Comparison, compare
from d2eval.contracts.registry import BENCHMARKS, registered
from d2eval.evaluation.benchmark import benchmark_class
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.words import some
from d2eval.report.tables import name_in_table
from d2eval.runs.folder import differences
from d2eval.runs.items import over_seeds
from d2eval.runs.manifest import load_manifest, work_of
from d2eval.runs.measured import (
    SHIPPED_RUNS,
    RunPlace,
    RunRoots,
    has_runs,
    run_folders,
    unfinished_note,
)

LISTED = 20  # runs in a message


@dataclass(frozen=True)
class Found:
    """A finished run."""

    place: RunPlace  # where it lies
    manifest: Mapping[str, Any]  # of it

    @property
    def seed(self) -> int:
        """Of what it drew."""
        return int(self.manifest.get("seed") or 0)

    def is_sibling(self, other: "Found") -> bool:
        """Whether two runs are of the same work, but for the seed."""
        return not differences(work_of(self.manifest), work_of(other.manifest))


def finished_runs(roots: RunRoots, benchmark: str, *, each: bool = True) -> list[Found]:
    """All finished runs of a benchmark; ``each`` as in `run_folders`.

    Raises:
        D2EvalError: a root was given and holds no runs' folder, or a manifest is broken.
    """
    places, _ = run_folders(roots, benchmark, each=each)
    finished = [place for place in places if unfinished_note(place.path) is None]
    return [Found(place, load_manifest(place.path, benchmark).content) for place in finished]


def runs_named(name: str, runs: Sequence[Found]) -> list[Found]:
    """The runs that ``name`` may mean: by label, by folder, or by method, whichever there is.

    A label may be shortened as in tables; of a folder, the name or a path will do.
    """
    for own in (
        [run for run in runs if run.place.label == name],
        [run for run in runs if "/" in name and run.place.path.resolve() == Path(name).resolve()],
        [run for run in runs if run.place.path.name == name],
        [run for run in runs if run.manifest.get("method") == name],
        [run for run in runs if name_in_table(run.place.label) == name],
    ):
        if own:
            return own
    return []


def of_users_own(names: Sequence[str], runs: list[Found]) -> list[Found]:
    """The runs that don't ship with d2eval, if all names mean some of them; else all runs."""
    own = [run for run in runs if SHIPPED_RUNS not in run.place.path.parents]
    return own if all(runs_named(name, own) for name in names) else runs


def choose(name: str, runs: Sequence[Found]) -> Found:
    """The one run that ``name`` means.

    Raises:
        D2EvalError: there is none, or there are several; of several seeds' it is the lowest's.
    """
    own = sorted(runs_named(name, runs), key=lambda run: run.seed)
    if not own:
        known = some(dict.fromkeys(run.place.label for run in runs), LISTED) or "none"
        raise D2EvalError(f"{name}: no such run or method; there are: {known}")
    if not all(run.is_sibling(own[0]) for run in own):
        known = ", ".join(run.place.label for run in own)
        raise D2EvalError(f"{name}: may be each of {known}; name one of them")
    return own[0]


def choose_anywhere(name: str, benchmark: str | None, roots: RunRoots) -> Found:
    """The one run that ``name`` means, of a benchmark or of the only one that has such a run.

    Raises:
        D2EvalError: there is none, or there are several.
    """
    searched = (
        [benchmark] if benchmark else [b for b in registered(BENCHMARKS) if has_runs(roots, b)]
    )
    runs = {own: finished_runs(roots, own, each=benchmark is not None) for own in searched}
    having = [own for own in searched if runs_named(name, runs[own])]
    if len(having) > 1:
        raise D2EvalError(f"{name}: runs of {', '.join(having)} are called so; name --benchmark")
    found = runs[having[0]] if having else [run for own in runs.values() for run in own]
    return choose(name, of_users_own([name], found))


def with_seeds(chosen: Sequence[Found], runs: Sequence[Found]) -> list[list[Found]]:
    """Each run with those of other seeds, for the seeds that all of them have.

    Raises:
        D2EvalError: these are fewer than two.
    """
    families = [
        {other.seed: other for other in runs if other.is_sibling(own)} | {own.seed: own}
        for own in chosen
    ]
    shared = sorted(set.intersection(*map(set, families)))
    if len(shared) < 2:
        said = "; ".join(
            f"{own.place.label} has {', '.join(map(str, sorted(family)))}"
            for own, family in zip(chosen, families, strict=True)
        )
        raise D2EvalError(
            f"--seeds: fewer than two seeds that all runs have ({said}); evaluate with --seeds N"
        )
    return [[family[seed] for seed in shared] for family in families]


def compare_runs(
    names: Sequence[str],
    benchmark: str | None,
    roots: RunRoots,
    *,
    seeds: bool = False,
    seed: int = 0,
) -> tuple[dict[str, list[Comparison]], list[str]]:
    """Compares each run with the first, in each benchmark that has all of them.

    Args:
        names: of runs' folders, or methods.
        benchmark: the only one, or None.
        roots: of runs; see `run_folders`.
        seeds: whether to take each run's other seeds, too.
        seed: of the bootstrap's draws.

    Returns:
        The comparisons by benchmark, and notes on benchmarks that were left out.

    Raises:
        D2EvalError: no benchmark has all these runs, or they don't compare.
    """
    if len(names) < 2:
        raise D2EvalError(f"{names[0]}: name the runs to compare it with")
    found: dict[str, list[Comparison]] = {}
    absent: list[str] = []
    left_out: list[str] = []
    searched = [name for name in registered(BENCHMARKS) if has_runs(roots, name)]
    for own in [benchmark] if benchmark else searched:
        chosen = benchmark_class(own)()
        try:
            runs = finished_runs(roots, own, each=benchmark is not None)
            if not benchmark and (unknown := [n for n in names if not runs_named(n, runs)]):
                absent.append(f"{own} has no run of {' or '.join(unknown)}")
                continue
            runs = of_users_own(names, runs)
            picked = [choose(name, runs) for name in names]
            families = with_seeds(picked, runs) if seeds else [[run] for run in picked]
            items = [
                over_seeds([chosen.items_of(run.place.path, run.place.label) for run in family])
                for family in families
            ]
            found[own] = [compare(items[0], other, seed) for other in items[1:]]
        except D2EvalError as error:
            if benchmark:
                raise
            left_out.append(f"{own}: {error}")
    if not found:
        said = "; ".join(left_out or absent) or "there are no runs"
        raise D2EvalError(f"nothing to compare: {said}")
    return found, left_out
