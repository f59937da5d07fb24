"""A small InLoc folder written from plain values, so that tests can say what goes wrong in it.

Two queries on two floors, three scans, four cutouts of 8x6 pixels.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

SIZE = (8, 6)
CUTOUTS = [
    "DUC1/000/DUC_cutout_000_0_-30.jpg",
    "DUC1/000/DUC_cutout_000_30_0.jpg",
    "DUC1/001/DUC_cutout_001_0_0.jpg",
    "DUC2/000/DUC_cutout_000_0_0.jpg",
]
SCANS = [("DUC1", "000"), ("DUC1", "001"), ("DUC2", "000")]
Q1, Q2 = "IMG_0001.JPG", "IMG_0002.JPG"
SCORES = np.array([[0.5, 0.5, 0.25, 0.0], [0.0, 0.125, 0.25, 0.75]])
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about z
POSES = {
    "DUC1": {Q1: np.hstack([np.eye(3), [[1.0], [2], [3]]])},
    "DUC2": {Q2: np.hstack([TURN, [[0.0], [0], [5]]])},
}


def alignment_of(scan: tuple[str, str]) -> np.ndarray:
    """(4, 4) a turn and a shift that no other scan has."""
    matrix = np.eye(4)
    matrix[:3, :3] = TURN
    matrix[:3, 3] = 10 * (1 + SCANS.index(scan)), 0.5, -2
    return matrix


def alignment_text(after: np.ndarray) -> str:
    """As in InLoc: the matrix before ICP, a blank line, the one after it, a blank line."""
    before = np.array([[1.0, 0, 0, 99], [0, 1, 0, 99], [0, 0, 1, 99], [0, 0, 0, 1]])
    blocks = []
    for title, matrix in (("Before general icp:", before), ("After general icp:", after)):
        rows = ["  ".join([" ", *(f"{value:.10g}" for value in row)]) for row in matrix]
        blocks += [title, *rows, ""]
    return "\n".join(blocks)


def depth_of(index: int, dtype: type = np.float64) -> np.ndarray:
    """(6, 8, 3) of a cutout in its scan's frame, without depth in the top-left pixel."""
    width, height = SIZE
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    xyz = np.stack([x / 8, y / 4, np.full(x.shape, 2.0 + index)], axis=2).astype(dtype)
    xyz[0, 0] = np.nan
    return xyz


def cells(*values: object) -> np.ndarray:
    array = np.empty((1, len(values)), object)
    for k, value in enumerate(values):
        array[0, k] = value
    return array


def reference_list(poses: dict[str, np.ndarray]) -> np.ndarray:
    kinds = [("queryname", object), ("label", object), ("P", object)]
    array = np.empty((1, len(poses)), kinds)
    for k, (name, pose) in enumerate(poses.items()):
        array[0, k] = (name, "Good", pose)
    return array


@dataclass
class InlocFolder:
    """Values of the files, to be changed before `write`."""

    root: Path
    poses: dict[str, dict[str, np.ndarray]] = field(
        default_factory=lambda: {floor: dict(poses) for floor, poses in POSES.items()}
    )
    intrinsics: list[str] = field(default_factory=list)
    scores: np.ndarray = field(default_factory=lambda: SCORES.copy())
    scored: tuple[list[str], list[str]] = field(default_factory=lambda: ([Q1, Q2], list(CUTOUTS)))
    pairs: dict[str, list[str]] = field(default_factory=dict)  # by file name
    depth_dtype: type = np.float64

    def cutout(self, index: int) -> Path:
        return self.root / "database/cutouts" / CUTOUTS[index]

    def depth(self, index: int) -> Path:
        return Path(f"{self.cutout(index)}.mat")

    def alignment(self, floor: str, scan: str) -> Path:
        folder = self.root / "database/alignments" / floor / "transformations"
        return folder / f"DUC_trans_{scan}.txt"

    def scan(self, floor: str, scan: str) -> Path:
        return self.root / "database/scans" / floor / f"DUC_scan_{scan}.ptx.mat"

    def query(self, name: str) -> Path:
        return self.root / "query/iphone7" / name

    @property
    def references(self) -> Path:
        return self.root / "DUC_refposes_all.mat"

    @property
    def score_matrix(self) -> Path:
        return self.root / "inputs/scores.mat"

    def write(self) -> Path:
        """Writes all files and returns the folder."""
        for name in (Q1, Q2):
            _image(self.query(name), 40)
        for k in range(len(CUTOUTS)):
            _image(self.cutout(k), 50 * k)
            depth = depth_of(k, self.depth_dtype)
            scipy.io.savemat(self.depth(k), {"XYZcut": depth}, do_compression=True)
        for scan in SCANS:
            path = self.alignment(*scan)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(alignment_text(alignment_of(scan)))
            self.write_scan(scan, np.array([[0.0, 0, 1], [np.nan, 0, 0], [1, 2, 3]]))
        if any(self.poses.values()):
            lists = {f"{floor}_RefList": reference_list(p) for floor, p in self.poses.items()}
            scipy.io.savemat(self.references, lists)
        self._write_lists()
        return self.root

    def write_scan(self, scan: tuple[str, str], xyz: np.ndarray) -> None:
        columns = [xyz[:, [k]] for k in range(3)]
        colors = [np.linspace(10 * k, 255, len(xyz))[:, None] for k in range(3)]
        path = self.scan(*scan)
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, {"A": cells(*columns, 0 * columns[0], *colors)})

    def _write_lists(self) -> None:
        if self.intrinsics:
            (self.root / "query/intrinsics.txt").write_text("\n".join([*self.intrinsics, ""]))
        for name, lines in self.pairs.items():
            (self.root / name).write_text("\n".join([*lines, ""]))
        if self.scores.size:
            self.score_matrix.parent.mkdir()
            scipy.io.savemat(self.score_matrix, {"score": self.scores})
            for kind, names in zip(("query", "cutout"), self.scored, strict=True):
                name = f"{kind}_imgnames_all"
                scipy.io.savemat(self.score_matrix.with_name(f"{name}.mat"), {name: cells(*names)})


def _image(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (grey, grey, grey)).save(path, format="JPEG")
