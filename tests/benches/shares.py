"""Where a run's wall time goes, from py-spy's samples of its main thread.

    py-spy record -f raw -i -t -r 50 -o FILE -- python -m d2eval hpatches --method rootsift --fresh
    python tests/benches/shares.py FILE ...

What reads, hashes and writes in threads counts only while the main thread waits for it. Beside the
network is what D2-Net's ``extract`` does with its maps.
"""

import re
import sys
from collections import Counter
from pathlib import Path

KINDS = {  # the first that is found in a stack: calls of d2eval's, outermost first, or in imports
    "imports": r"_find_and_load",
    "beside the network": r"extract \(methods/.*\(methods/d2net/[^;]*$",
    "network or SIFT": r"extract \(methods/",
    "matching": r"matches_of \(|best_matches|nearest\.py",
    "COLMAP, poselib": r"_verify_two_view|triangulate \(|register_images|Estimator\.estimate \(",
}
SHOWN = 5  # of the rest


def own_calls(stack: str) -> list[str]:
    """Calls of d2eval's own, outermost first."""
    return [call for call in stack.split(";") if re.search(r"\((d2eval|methods)/", call)]


def kind_of(stack: str) -> str:
    """What the sample is of."""
    own = stack if "_find_and_load" in stack else ";".join(own_calls(stack))
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, own)), "other")


def place_of(stack: str) -> str:
    """The last call of d2eval's own, without its line."""
    own = own_calls(stack)
    return own[-1].rsplit(":", 1)[0] + ")" if own else "before and after d2eval's"


def main(path: Path) -> None:
    """Prints shares of all samples, and the largest of what is of no kind."""
    kinds, places = Counter[str](), Counter[str]()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if "MainThread" in stack.partition(";")[0]:
            kinds[kind_of(stack)] += int(count)
            if kind_of(stack) == "other":
                places[place_of(stack)] += int(count)
    cells = [f"{100 * kinds[kind] / kinds.total():.1f} %" for kind in (*KINDS, "other")]
    print(f"| {path.stem} | {' | '.join(cells)} |")
    for place, count in places.most_common(SHOWN):
        print(f"  {100 * count / kinds.total():.1f} % {place}")


if __name__ == "__main__":
    print(f"| run | {' | '.join((*KINDS, 'other'))} |")
    for name in sys.argv[1:]:
        main(Path(name))
