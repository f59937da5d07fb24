"""What D2-Net needs, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_MIB = 2048

# VmHWM is the peak of this program alone; the peak that getrusage gives for a child begins with
# that of the process that started it.
PROGRAM = """
import json, pathlib, time
import numpy as np
from PIL import Image
from d2eval.method import Runtime
from methods.d2net import D2MultiScale
from methods.d2net.method import D2Config

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) / 1024 for x in status.splitlines() if x.startswith("VmHWM"))

photo = Image.open("benchmarks/sample/photos/coffee.jpg").convert("RGB").resize((800, 640))
method = D2MultiScale(D2Config(weights="bundled"), Runtime())
before, start = peak(), time.perf_counter()
features = method.extract(np.asarray(photo))
print(json.dumps([len(features), before, peak(), time.perf_counter() - start]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_memory_of_multi_scale_extraction():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    features, before, peak, seconds = json.loads(done.stdout)
    print(
        f"{features} features, {seconds:.1f} s; peak of the process {peak:.0f} MiB, "
        f"{before:.0f} MiB of it before the first image"
    )
    assert features > 500
    assert peak < LIMIT_MIB
