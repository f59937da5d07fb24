"""Times D2-Net against a straight transcription of the dense algorithm, in turns, on one machine.

Run by hand: ``python tests/benches/bench_d2net.py [--size 800x640] [--repeats 3] [--dense]``.
Quote the ratios: absolute times depend on the machine and on what else it does.
"""

import argparse
import statistics
import time
from importlib.resources import files
from pathlib import Path

import cv2
import d2net_reference as reference
import torch

from d2eval.contracts.method import Runtime, method_class
from d2eval.contracts.weights import load_state_dict
from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.images.decoding import read_image

WEIGHTS = Path(str(files("methods.d2net") / "weights" / "d2_vgg16_hed_fp16.safetensors"))
PHOTO = bundled("benchmarks") / "sample" / "photos" / "astronaut.jpg"


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="800x640")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["d2_ss", "d2_ms"])
    args = parser.parse_args()
    size = tuple(int(part) for part in args.size.split("x"))
    image = cv2.resize(read_image(PHOTO), size, interpolation=cv2.INTER_CUBIC)
    state = {name: value.float() for name, value in load_state_dict(WEIGHTS).items()}
    for name in args.methods:
        cls = method_class(name)
        method = cls(cls.Config(weights="bundled"), Runtime())
        method.extract(image[:64, :64])
        times = {"d2eval": [], "network alone": [], "dense": []}
        for _ in range(args.repeats):
            times["d2eval"].append(seconds(lambda m=method: m.extract(image)))
            times["network alone"].append(seconds(lambda m=method: m.run_network(image)))
            times["dense"].append(
                seconds(lambda m=method: reference.extract(state, image, scales=m.scales))
            )
        median = {what: statistics.median(values) for what, values in times.items()}
        print(
            f"{name} {args.size}, {torch.get_num_threads()} threads: "
            + ", ".join(f"{what} {value:.2f} s" for what, value in median.items())
            + f"; total / network {median['d2eval'] / median['network alone']:.2f}, "
            f"dense / d2eval {median['dense'] / median['d2eval']:.2f}"
        )


if __name__ == "__main__":
    main()
