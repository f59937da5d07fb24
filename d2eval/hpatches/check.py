"""What a folder of HPatches sequences holds and lacks, with every image decoded."""

from pathlib import Path

from d2eval.evaluation.benchmark import Checked
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image
from d2eval.foundation.terminal.progress import progress
from d2eval.hpatches.dataset import SPLITS, describe_completeness, inspect
from d2eval.hpatches.protocol import Selection


def check(root: Path, benchmark: Selection, pattern: str) -> Checked:
    """Looks at every sequence whose name matches ``pattern`` and decodes its images.

    Counts are of sequences without any problem.

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
    splits = ", ".join(f"{count} {split}" for split, count in counts.items())
    shown = {
        "lacking": [
            f"{total - counts[split]} of {total} {split}"
            for split, total in benchmark.complete.items()
            if counts[split] < total
        ],
        "excluded by the protocol": found.excluded,
        "not sequences, ignored": found.ignored,
        "extra in sequences, ignored": found.extra,
    }
    lines = [
        f"HPatches in {root}: {describe_completeness(sound, benchmark)}",
        f"sequences: {len(sound)} ({splits}), {sum(len(s.images) for s in sound)} images, "
        f"{sum(len(s.homographies) for s in sound)} pairs",
        *(f"{what}: {', '.join(names)}" for what, names in shown.items() if names),
    ]
    return Checked(lines, problems, "every file was read")
