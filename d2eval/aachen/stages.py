"""What the stages of a run leave, and what they cost."""

from collections.abc import Callable
from typing import Any, TypeVar

from d2eval.aachen.columns import STAGES
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import measure
from d2eval.runs.columns import names
from d2eval.runs.folder import Row
from d2eval.scheduling.executor import Executor

MATCHING, VERIFICATION = "matching", "verification"  # features before, as everywhere
TRIANGULATION, REGISTRATION = "triangulation", "registration"

Result = TypeVar("Result")


class Stages:
    """Counts and costs of the stages, as they are done."""

    def __init__(self, executor: Executor) -> None:
        """``executor`` knows the plan that they are of."""
        self._executor = executor
        self.rows: list[Row] = []

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Does the work of a stage; a failure says what the stages before have left."""
        with self._executor.stage(name), measure() as cost:
            try:
                result = work()
            except D2EvalError as error:
                if not self.rows:
                    raise
                raise D2EvalError(f"{error} [{self.counts()}]") from error
        row: Row = dict.fromkeys(names(STAGES))
        row |= {"stage": name, "seconds": cost.seconds, "peak_memory_mib": cost.peak_memory_mib}
        self.rows.append(row)
        return result

    def note(self, **counts: Any) -> None:
        """Adds counts to the stage that was done last."""
        self.rows[-1] |= counts

    def counts(self) -> str:
        """One line of what each stage has left."""
        parts = []
        for row in self.rows:
            costs = ("stage", "seconds", "peak_memory_mib")
            counts = [f"{k} {v}" for k, v in row.items() if v is not None and k not in costs]
            parts.append(f"{row['stage']}: {', '.join(counts)}")
        return "; ".join(parts)
