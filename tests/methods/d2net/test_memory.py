"""What D2-Net needs, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

# VmHWM is the peak of this program alone; the peak that getrusage gives for a child begins with
# that of the process that started it.
PROGRAM = """
import json, pathlib, sys, time
import numpy as np
from PIL import Image
from d2eval.contracts.method import Runtime
from methods.d2net.method import D2MultiScale
from methods.d2net.method import D2Config

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) / 1024 for x in status.splitlines() if x.startswith("VmHWM"))

width, height, limit = map(int, sys.argv[1:])
photo = Image.open("benchmarks/sample/photos/coffee.jpg").convert("RGB").resize((width, height))
config = D2Config(weights="bundled", max_edge=width, max_sum_edges=width + height)
method = D2MultiScale(config, Runtime(memory_limit=limit or None))
before, start = peak(), time.perf_counter()
features = method.extract(np.asarray(photo))
print(json.dumps([len(features), before, peak(), time.perf_counter() - start]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("size", "memory_limit", "peak_mib"),
    [((800, 640), 0, 2048), ((4032, 3024), 4 * 2**30, 4096)],
    ids=["800x640", "4032x3024 within --memory-limit 4GiB"],
)
def test_peak_memory_of_multi_scale_extraction(size, memory_limit, peak_mib):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, size), str(memory_limit)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    features, before, peak, seconds = json.loads(done.stdout)
    print(
        f"{features} features, {seconds:.1f} s; peak of the process {peak:.0f} MiB, "
        f"{before:.0f} MiB of it before the first image"
    )
    assert features > 500
    assert peak < peak_mib
