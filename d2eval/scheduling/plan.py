"""What a run has still to make, stage by stage, and what that takes by the costs on record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from d2eval.foundation.terminal.progress import clock

HEADER = ("stage", "units", "stored", "to make", "time", "disk")
UNKNOWN = "unknown"
_MEGA = 1e6


@dataclass(frozen=True)
class Planned:
    """A stage of a run.

    Attributes:
        stage: its name.
        units: that it has.
        stored: of them.
        seconds: to make the others in one process; None: no cost is on record.
        size: of the others on the disk, in bytes; likewise.
        is_shared: whether workers make units of it; else the run itself does.
    """

    stage: str
    units: int
    stored: int = 0
    seconds: float | None = None
    size: float | None = None
    is_shared: bool = True

    @property
    def lacking(self) -> int:
        """Units that are to be made."""
        return self.units - self.stored


def plan_lines(stages: Sequence[Planned]) -> list[str]:
    """The plan as a table, with a line for all stages together."""
    rows = [
        HEADER,
        *(
            (own.stage, str(own.units), str(own.stored), str(own.lacking),
             _time([own]), _disk([own]))
            for own in stages
        ),
        ("all", "", "", "", _time(stages), _disk(stages)),
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        ).rstrip()
        for row in rows
    ]  # fmt: skip


def left_in_all(
    stages: Sequence[Planned], stage: str, seconds: float | None, workers: int, elapsed: float = 0
) -> str:
    """How far a run is, such as "stage 2 of 5, over 4:10 left in all".

    Args:
        stages: of the run, as they were planned before it.
        stage: that is under way; of one that wasn't planned nothing is said.
        seconds: that it still takes; None: as planned.
        workers: that share what stages take.
        elapsed: seconds of the stage.
    """
    names = [own.stage for own in stages]
    if stage not in names:
        return ""
    at = names.index(stage)
    costs = [
        None if own.seconds is None else own.seconds / (workers if own.is_shared else 1)
        for own in stages[at:]
    ]
    if seconds is None and costs[0] is not None and stages[at].lacking:
        seconds = max(costs[0] - elapsed, 0.0)  # how long reading takes isn't on record
    known, is_all = _known(stages[at + 1 :], costs[1:])
    if seconds is not None:
        known = seconds + (known or 0.0)
    place = f"stage {at + 1} of {len(stages)}"
    if known is None:
        return place
    is_all = is_all and seconds is not None
    return f"{place}, {'about' if is_all else 'over'} {clock(known)} left in all"


def _time(stages: Sequence[Planned]) -> str:
    return _sum(stages, [own.seconds for own in stages], clock)


def _disk(stages: Sequence[Planned]) -> str:
    return _sum(stages, [own.size for own in stages], lambda size: f"{size / _MEGA:.1f} MB")


def _sum(
    stages: Sequence[Planned], costs: Sequence[float | None], text: Callable[[float], str]
) -> str:
    """Of what is to be made; where some of it isn't known, the least."""
    known, is_all = _known(stages, costs)
    if known is None:
        return "-" if is_all else UNKNOWN
    return ("" if is_all else "over ") + text(known)


def _known(stages: Sequence[Planned], costs: Sequence[float | None]) -> tuple[float | None, bool]:
    """The sum of what is known of what is to be made (None: nothing), and whether that is all."""
    own = [cost for stage, cost in zip(stages, costs, strict=True) if stage.lacking]
    known = [cost for cost in own if cost is not None]
    return sum(known) if known else None, len(known) == len(own)
