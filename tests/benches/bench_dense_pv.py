"""Times dense pose verification at the size of InLoc's queries, stage by stage.

Run by hand: ``python tests/benches/bench_dense_pv.py [--points 2000000] [--device cuda]``. Quote
the shares: absolute times depend on the machine and on what else it does.
"""

import argparse
import time

import numpy as np
import pycolmap

from d2eval.inloc.data.dataset import ScanPoints
from d2eval.inloc.verification import dense_pv
from d2eval.inloc.verification.dense_pv import DensePVSettings, pv_score, verify_pose
from d2eval.inloc.verification.dense_sift import dense_sift, root_sift
from d2eval.inloc.verification.imresize import shrink
from d2eval.inloc.verification.render import render, scaled_intrinsics

PROTOCOL = DensePVSettings(
    bin_size=8, step=4, magnification=6.0, window_size=1.5, contrast_threshold=0.005, scale=8
)
CAMERA = pycolmap.Camera(model="PINHOLE", width=4032, height=3024, params=[3136, 3136, 2016, 1512])


def shell(count: int) -> ScanPoints:
    """A scanner's view all round, column by column: points 3 to 5 m away."""
    rows = int((count / 2) ** 0.5)
    around, down = np.meshgrid(
        np.linspace(0, 2 * np.pi, count // rows), np.linspace(0, np.pi, rows), indexing="ij"
    )
    sine = np.sin(down)
    directions = np.stack([sine * np.cos(around), np.cos(down), sine * np.sin(around)], axis=2)
    rng = np.random.default_rng(0)
    xyz = directions * rng.uniform(3, 5, (*down.shape, 1))
    rgb = rng.integers(0, 256, xyz.shape, dtype=np.uint8)
    return ScanPoints(xyz.reshape(-1, 3).astype(np.float32), rgb.reshape(-1, 3))


def milliseconds(work, repeats: int) -> float:
    """The best of some runs, after one that compiles."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def time_stages(scan: ScanPoints, query: np.ndarray, repeats: int, device: str) -> None:
    K, pose = scaled_intrinsics(CAMERA, PROTOCOL.scale), pycolmap.Rigid3d()
    size = (query.shape[1], query.shape[0])
    view = render(scan.xyz, scan.rgb, K, pose, size, device)
    grey = dense_pv._normalize(dense_pv._grey(query), view.valid)
    descriptors = dense_sift(grey, PROTOCOL).descriptors
    roots = root_sift(descriptors)
    stages = {
        "render": lambda: render(scan.xyz, scan.rgb, K, pose, size, device),
        "normalise (both)": lambda: dense_pv._normalize(dense_pv._grey(query), view.valid),
        "dense SIFT (both)": lambda: dense_sift(grey, PROTOCOL),
        "RootSIFT (both)": lambda: root_sift(descriptors),
        "distances": lambda: np.median(np.sqrt(np.square(roots - roots[::-1]).sum(axis=1))),
        "score, all but render": lambda: pv_score(query, view, PROTOCOL),
    }
    whole = milliseconds(lambda: verify_pose(query, scan, K, pose, PROTOCOL, device), repeats)
    print(f"{len(scan.xyz)} points, {size[0]}x{size[1]}, {view.valid.mean():.0%} of the pixels:")
    print(f"  a candidate: {whole:.1f} ms, {1000 / whole:.1f} a second")
    for name, work in stages.items():
        spent = milliseconds(work, repeats) * (2 if "both" in name else 1)
        print(f"  {name}: {spent:.1f} ms, {spent / whole:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[2_000_000, 5_000_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    photo = np.random.default_rng(1).integers(0, 256, (3024, 4032, 3), dtype=np.uint8)
    query = shrink(photo, PROTOCOL.scale)
    once = milliseconds(lambda: shrink(photo, PROTOCOL.scale), options.repeats)
    print(f"resize, once a query: {once:.0f} ms")
    for count in options.points:
        time_stages(shell(count), query, options.repeats, options.device)


if __name__ == "__main__":
    main()
