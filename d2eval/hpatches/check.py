"""What a folder of HPatches sequences holds and lacks, with every image decoded."""

from dataclasses import dataclass
from pathlib import Path

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image
from d2eval.foundation.terminal.progress import progress
from d2eval.hpatches.dataset import SPLITS, inspect, is_complete
from d2eval.hpatches.protocol import HPatchesBenchmark


@dataclass(frozen=True)
class Check:
    """What was found; counts are of sequences without any problem."""

    root: Path  # the folder
    completeness: str  # "complete" or "partial (S of 108 sequences)"
    sequences: dict[str, int]  # by split
    lacking: dict[str, int]  # sequences that a complete set has beyond these, by split
    images: int  # in these sequences
    pairs: int  # in these sequences
    excluded: tuple[str, ...]  # names of excluded sequences that are there
    ignored: tuple[str, ...]  # things beside the sequences
    extra: tuple[str, ...]  # things in sequences that are not used
    problems: tuple[str, ...]  # a line for each thing that is missing, broken or unreadable

    def lines(self, benchmark: HPatchesBenchmark) -> list[str]:
        """What was found, for the user."""
        splits = ", ".join(f"{count} {split}" for split, count in self.sequences.items())
        shown = {
            "lacking": [
                f"{count} of {benchmark.complete[split]} {split}"
                for split, count in self.lacking.items()
                if count
            ],
            "excluded by the protocol": self.excluded,
            "not sequences, ignored": self.ignored,
            "extra in sequences, ignored": self.extra,
        }
        return [
            f"HPatches in {self.root}: {self.completeness}",
            f"sequences: {sum(self.sequences.values())} ({splits}), {self.images} images, "
            f"{self.pairs} pairs",
            *(f"{what}: {', '.join(names)}" for what, names in shown.items() if names),
        ]


def check(root: Path, benchmark: HPatchesBenchmark, pattern: str = "*") -> Check:
    """Looks at every sequence whose name matches ``pattern`` and decodes its images.

    Raises:
        D2EvalError: no such folder.
    """
    found = inspect(root, benchmark, pattern)
    problems = list(found.problems)
    if not found.sequences and not problems:
        problems.append(f"{root}: no sequence (folders i_* and v_*) matches {pattern!r}")
    unreadable = set()
    images = [path for sequence in found.sequences for path in sequence.images]
    for path in progress([*images, *found.remains], "checking the images"):
        try:
            read_image(path)
        except D2EvalError as error:
            problems.append(str(error))
            unreadable.add(path)
    sound = [s for s in found.sequences if not unreadable.intersection(s.images)]
    counts = {split: sum(s.split == split for s in sound) for split in SPLITS}
    partial = f"partial ({len(sound)} of {benchmark.complete_total} sequences)"
    return Check(
        root=root,
        completeness="complete" if is_complete(sound, benchmark) else partial,
        sequences=counts,
        lacking={s: max(0, benchmark.complete[s] - counts[s]) for s in SPLITS},
        images=sum(len(s.images) for s in sound),
        pairs=sum(len(s.homographies) for s in sound),
        excluded=tuple(found.excluded),
        ignored=tuple(found.ignored),
        extra=tuple(found.extra),
        problems=tuple(problems),
    )
