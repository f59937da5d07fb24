"""D2-Net within limits of memory, and in other precisions."""

import functools

import numpy as np
import pytest
import torch

from d2eval.contracts.method import Runtime, method_class
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.machine.resources import memory_to_use
from methods.d2net import memory, method
from methods.d2net.pyramid import LevelImage
from methods.vgg16.memory import ACTIVATIONS, MIN_STRIP_BYTES
from methods.vgg16.network import PRECISIONS
from methods.vgg16.preprocessing import preprocess

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@functools.cache
def build(limit=None, **options):
    """The method, built once for all tests of this module."""
    cls = method_class("d2_ss")
    return cls(cls.Config(weights="bundled", **options), Runtime(memory_limit=limit))


@pytest.fixture(scope="module", autouse=True)
def forget():
    yield
    build.cache_clear()


def test_fixed_bytes_by_hand():
    # 80x64 at 0.5, 1, 2: maps of 7x9, 15x19 and 31x39 cells; while the second fills, the first is
    # still read; the last is never kept. The image counts twice in float32, flags take 3 bytes for
    # each pixel of the largest level.
    cells = 7 * 9 + 15 * 19
    image = 2 * 12 * 64 * 80
    assert memory.fixed_bytes((64, 80), (0.5, 1, 2)) == image + 3 * 128 * 160 + 4 * 512 * cells
    assert memory.fixed_bytes((64, 80), (1,)) == image + 3 * 64 * 80


def test_a_limit_makes_strips_smaller(monkeypatch):
    monkeypatch.setattr(memory, "memory_to_use", lambda limit, device: limit)
    device = torch.device("cpu")
    free = memory.choose_strips((640, 800), (1,), device, 10 * 2**30)
    tight = memory.choose_strips((640, 800), (1,), device, 80 * 2**20)
    assert MIN_STRIP_BYTES <= tight < free
    assert tight * ACTIVATIONS + memory.fixed_bytes((640, 800), (1,)) <= 80 * 2**20


def test_a_limit_that_nothing_fits_is_one_clear_error():
    with pytest.raises(D2EvalError, match=r"160x120 .*--memory-limit"):
        build(limit=2**20).extract(IMAGE)


def test_memory_to_use_counts_what_is_held():
    limit = 64 * 2**30
    assert 0 < limit - memory_to_use(limit, "cpu") < 16 * 2**30
    assert memory_to_use(None, "cpu") > 0


def test_running_out_of_memory_goes_on_in_smaller_strips(monkeypatch):
    built, image = build(precision="fp32"), IMAGE[:72, :96]
    whole = built.extract(image)
    sizes = []

    def scarce(network, pixels, scales, strip_bytes):
        sizes.append(strip_bytes)
        if len(sizes) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return extract_pyramid(network, pixels, scales, strip_bytes)

    extract_pyramid = method.extract_pyramid
    monkeypatch.setattr(method, "extract_pyramid", scarce)
    found = built.extract(image)
    assert sizes[1] < sizes[0]
    np.testing.assert_array_equal(found.keypoints, whole.keypoints)
    np.testing.assert_array_equal(found.descriptors, whole.descriptors)


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(method, "extract_pyramid", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        build(precision="fp32").extract(IMAGE)


def test_precision_is_part_of_the_identity_and_of_the_numbers():
    keys = set()
    for precision in PRECISIONS:
        built = build(precision=precision)
        keys.add(built.identity("d2_ss", built.config).key)
    assert len(keys) == 3
    image = IMAGE[:60, :80]
    reference, rough = (build(precision=name).extract(image) for name in ("fp32", "bf16"))
    assert rough.descriptors.dtype == np.float32
    # bfloat16 keeps 8 bits: most keypoints remain within a pixel, none to the last digit
    distances = np.linalg.norm(reference.keypoints[:, None] - rough.keypoints[None], axis=2).min(
        axis=1
    )
    assert len(distances) > 20
    assert (distances < 1).mean() > 0.8
    assert distances.max() > 1e-4


@pytest.mark.parametrize("precision", PRECISIONS)
def test_detection_gets_single_precision_whatever_the_convolutions_are(precision):
    network = build(precision=precision).network
    level = LevelImage(torch.from_numpy(preprocess(IMAGE[:48, :64], "caffe")), 1)
    parts = list(network.feature_rows(level, MIN_STRIP_BYTES))
    assert {rows.dtype for rows in parts} == {torch.float32}
    whole = torch.cat(parts)
    # what the convolutions keep is seen in the last bits: whole in float32 alone
    assert torch.equal(whole.to(PRECISIONS[precision]).float(), whole)
    if precision != "fp32":
        exact = build(precision="fp32").network.feature_rows(level, 2**20)
        assert not torch.equal(whole, torch.cat(list(exact)))
