"""Image pairs with homographies of any number and names, as a package of somebody else's has them.

A folder holds ``pairs.txt``: lines ``first second h11 h12 h13 h21 h22 h23 h31 h32 h33``, and the
images that it names.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from d2eval import (
    Checked,
    Curves,
    D2EvalError,
    Features,
    ImagePair,
    Matches,
    PairDataset,
    PairsBenchmark,
    option,
)

THRESHOLDS_PX = (1, 2, 4, 8)
LIST = "pairs.txt"


@dataclass(frozen=True)
class PlanarOptions:
    """What is chosen beside the method."""

    first_pairs: int | None = option(None, "only so many pairs", metavar="N")


def read_list(root: Path) -> list[tuple[Path, Path, np.ndarray]]:
    """Paths of both images and the homography of each line."""
    try:
        lines = (root / LIST).read_text().splitlines()
    except OSError as error:
        raise D2EvalError(f"{root / LIST}: can't be read ({error.strerror}); add it") from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            homography = np.array([float(word) for word in words[2:]]).reshape(3, 3)
        except ValueError:
            raise D2EvalError(f"{root / LIST}: line {number}: no pair") from None
        found.append((root / words[0], root / words[1], homography))
    return found


class Planar(PairsBenchmark):
    """Planar scenes: the share of matches that a homography explains."""

    name = "planar"
    Options = PlanarOptions
    curves = Curves("mean_correct_{}px", THRESHOLDS_PX, "correct matches")
    error_bins = THRESHOLDS_PX

    def load(self, root: Path, *, sample: bool = False) -> PairDataset:
        """The listed pairs."""
        listed = read_list(root)[: self.options.first_pairs]
        pairs = [
            ImagePair(first, second, first.name.split("_")[0], {"pair": second.stem}, homography)
            for first, second, homography in listed
        ]
        completeness = "sample" if sample else "complete"
        return PairDataset(root, pairs, completeness, {"listed": len(pairs)})

    def check(self, root: Path) -> Checked:
        """Whether every image is there."""
        listed = read_list(root)
        missing = [path for pair in listed for path in pair[:2] if not path.is_file()]
        problems = [f"{path}: is missing; add it" for path in missing]
        return Checked([f"{root}: {len(listed)} pairs"], problems, "every image is there")

    def sample(self, cache: Path) -> Path:
        """Two drawn scenes, each seen three times."""
        root = cache / "planar-sample"
        root.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        lines = []
        for scene in ("wall", "floor"):
            small = rng.integers(0, 256, (24, 32, 3), np.uint8)
            image = cv2.resize(small, (160, 120), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(root / f"{scene}_a.png"), image)
            for k, shift in enumerate((4.0, 9.0)):
                moved = np.array([[1.0, 0.05 * k, shift], [0.0, 1.0, -shift], [0.0, 0.0, 1.0]])
                view = cv2.warpPerspective(image, moved, (160, 120))
                cv2.imwrite(str(root / f"{scene}_{k}.png"), view)
                numbers = " ".join(map(str, moved.ravel()))
                lines.append(f"{scene}_a.png {scene}_{k}.png {numbers}")
        (root / LIST).write_text("\n".join(lines))
        return root

    def score(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches, seed: int
    ) -> dict[str, float]:
        """Counts, and the share of matches within each threshold."""
        errors = self.errors(pair, first, second, matches)
        shares = {
            f"correct_{t}px": float((errors <= t).mean()) if len(errors) else 0.0
            for t in THRESHOLDS_PX
        }
        return {"features": len(first), "matches": len(matches), **shares}

    def errors(
        self, pair: ImagePair, first: Features, second: Features, matches: Matches
    ) -> np.ndarray:
        """Distances in the second image."""
        points = np.c_[first.keypoints[matches[:, 0]], np.ones(len(matches))] @ pair.truth.T
        apart = points[:, :2] / points[:, 2:] - second.keypoints[matches[:, 1]]
        return np.hypot(*apart.T)
