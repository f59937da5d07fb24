"""How fast a method and the matcher are on this machine, beside its matrix-product peak."""

import functools
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from d2eval.contracts.features import OPTIONAL, Features
from d2eval.contracts.matcher import MatcherChoice, matcher_class
from d2eval.contracts.method import Runtime, method_class
from d2eval.foundation.arrays.gemm import multiply_transposed
from d2eval.foundation.images.decoding import RgbImage
from d2eval.foundation.machine.processes import end_with_parent
from d2eval.foundation.machine.resources import measure
from d2eval.foundation.terminal.interrupts import for_children
from d2eval.pipeline.extraction import config_class

PEAK_SIZES = (512, 1024, 2048, 3072)  # of square float32 matrices; the best of them counts
LONG_S = 0.1  # of a product: larger ones would only take longer
MEGA = 1e6
GIGA = 1e9


@dataclass(frozen=True)
class Speed:
    """One line of the report."""

    what: str  # the method, or "matching" and the matcher
    size: str  # of the image, "WxH", or of the descriptors, "N1xN2xD"
    features: int  # found, or matches
    seconds: float  # median of the repeats
    features_per_second: float  # features over seconds; descriptors of both sides for matching
    network_seconds: float | None  # median of the network alone; None without one
    outside_share: float | None  # share of ``seconds`` that is not the network
    gflop: float | None  # operations of the direct algorithm, in 1e9
    # those over the network's (or the matcher's) seconds. Winograd's algorithm needs fewer, so this
    # may pass the peak
    gflop_per_s: float | None
    # peak of float32 matrix products, measured right before; None where there is nothing to compare
    gemm_gflop_per_s: float | None
    ratio_to_gemm: float | None  # gflop_per_s over that peak
    peak_memory_mib: float  # of a process that does nothing else, in MiB
    # keypoints, scores, descriptors, scales and orientations in float32, in 1e6 bytes
    stored_mb: float | None
    device: str  # what it ran on
    threads: int  # of PyTorch on the CPU


def _seconds(work: Callable[[], Any], repeats: int, device: str) -> float:
    """Median wall time of ``work``, which has run before."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gemm_peak(device: str) -> float:
    """Floating-point operations a second of float32 matrix products, at their best size.

    On the CPU the faster of `torch.mm` and `multiply_transposed` counts: a peak below what the
    program itself reaches would flatter every ratio to it.
    """
    best = 0.0
    for size in PEAK_SIZES:
        shortest = math.inf
        a, b = torch.ones(size, size, device=device), torch.ones(size, size, device=device)
        out = torch.empty(size, size, device=device)
        products: list[Callable[[], Any]] = [functools.partial(torch.mm, a, b, out=out)]
        if torch.device(device).type == "cpu":
            products.append(functools.partial(multiply_transposed, a, b))
        for product in products:
            product()
            shortest = min(shortest, *(_seconds(product, 1, device) for _ in range(5)))
        best = max(best, 2 * size**3 / shortest)
        if shortest > LONG_S:
            break
    return best


def stored_bytes(features: Features) -> int:
    """Bytes of an image's features as they are stored."""
    arrays = [features.keypoints, features.scores, features.descriptors]
    arrays += [a for a in (getattr(features, name) for name in OPTIONAL) if a is not None]
    return sum(array.nbytes for array in arrays)


def _method_speed(
    name: str, options: dict[str, Any], runtime: Runtime, image: RgbImage, repeats: int
) -> Speed:
    cls = method_class(name)
    method = cls(cls.Config(**options), runtime)
    method.extract(image[:64, :64])  # what is compiled or loaded at first use
    with measure() as cost:
        features = method.extract(image)
    device = runtime.device
    seconds = _seconds(lambda: method.extract(image), repeats, device)
    operations = method.run_network(image)
    network = peak = rate = None
    if operations is not None:
        peak = gemm_peak(device)
        network = _seconds(lambda: method.run_network(image), repeats, device)
        rate = operations / network
    return Speed(
        what=name,
        size=f"{image.shape[1]}x{image.shape[0]}",
        features=len(features),
        seconds=seconds,
        features_per_second=len(features) / seconds,
        network_seconds=network,
        outside_share=None if network is None else max(0.0, 1 - network / seconds),
        gflop=None if operations is None else operations / GIGA,
        gflop_per_s=None if rate is None else rate / GIGA,
        gemm_gflop_per_s=None if peak is None else peak / GIGA,
        ratio_to_gemm=None if rate is None or peak is None else rate / peak,
        peak_memory_mib=cost.peak_memory_mib,
        stored_mb=stored_bytes(features) / MEGA,
        device=device,
        threads=torch.get_num_threads(),
    )


def _random_features(n: int, dimension: int, random: np.random.Generator) -> Features:
    """All over an image of 1000 x 1000 pixels, with every array that a matcher may look at."""
    descriptors = random.standard_normal((n, dimension), dtype=np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    ones = np.ones(n, np.float32)
    keypoints = random.uniform(0, 999, (n, 2)).astype(np.float32)
    return Features(keypoints, ones, descriptors, (1000, 1000), ones, 0 * ones)


def _matching_speed(
    size: tuple[int, int, int], choice: MatcherChoice, runtime: Runtime, repeats: int
) -> Speed:
    n1, n2, dimension = size
    random = np.random.default_rng(runtime.seed)
    first, second = (_random_features(n, dimension, random) for n in (n1, n2))
    matcher = matcher_class(choice.name)(choice.config(), runtime)
    matcher.match(first.top_k(64), second.top_k(64))
    with measure() as cost:
        matches = matcher.match(first, second)
    peak = gemm_peak(runtime.device)
    seconds = _seconds(lambda: matcher.match(first, second), repeats, runtime.device)
    operations = 2.0 * n1 * n2 * dimension
    return Speed(
        what="matching",
        size="x".join(map(str, size)),
        features=len(matches),
        seconds=seconds,
        features_per_second=(n1 + n2) / seconds,
        network_seconds=None,
        outside_share=None,
        gflop=operations / GIGA,
        gflop_per_s=operations / seconds / GIGA,
        gemm_gflop_per_s=peak / GIGA,
        ratio_to_gemm=operations / seconds / peak,
        peak_memory_mib=cost.peak_memory_mib,
        stored_mb=None,
        device=runtime.device,
        threads=torch.get_num_threads(),
    )


def _alone(work: Callable[..., Speed], *arguments: Any) -> Speed:
    """Runs in a new process, so that nothing from before counts in its peak memory."""
    with for_children():
        pool = multiprocessing.get_context("spawn").Pool(1, end_with_parent)
    with pool:
        result = pool.apply(work, arguments)
        pool.close()
        pool.join()  # it ends by itself: COLMAP prints a trace when it is ended by a signal
    return result


def method_speed(
    name: str, options: dict[str, Any], runtime: Runtime, image: RgbImage, repeats: int
) -> Speed:
    """Measures a method on one image.

    Raises:
        D2EvalError: an unknown method or option, or weights that are missing.
    """
    config_class(name)(**options)  # a mistake is told here, not from another process
    return _alone(_method_speed, name, options, runtime, image, repeats)


def matching_speed(
    size: tuple[int, int, int], matcher: MatcherChoice, runtime: Runtime, repeats: int
) -> Speed:
    """Measures a matcher on random descriptors (N1, N2, D).

    Raises:
        D2EvalError: an unknown matcher or option.
    """
    matcher.config()  # a mistake is told here, not from another process
    return _alone(_matching_speed, size, matcher, runtime, repeats)
