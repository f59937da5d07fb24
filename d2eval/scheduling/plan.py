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
    """

    stage: str
    units: int
    stored: int = 0
    seconds: float | None = None
    size: float | None = None

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


def _time(stages: Sequence[Planned]) -> str:
    return _sum(stages, [own.seconds for own in stages], clock)


def _disk(stages: Sequence[Planned]) -> str:
    return _sum(stages, [own.size for own in stages], lambda size: f"{size / _MEGA:.1f} MB")


def _sum(
    stages: Sequence[Planned], costs: Sequence[float | None], text: Callable[[float], str]
) -> str:
    """Of what is to be made; where some of it isn't known, the least."""
    own = [cost for stage, cost in zip(stages, costs, strict=True) if stage.lacking]
    known = [cost for cost in own if cost is not None]
    if not known:
        return UNKNOWN if own else "-"
    return ("" if len(known) == len(own) else "over ") + text(sum(known))
