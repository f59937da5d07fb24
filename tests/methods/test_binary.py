"""Binary descriptors as vectors: their order is that of Hamming distances."""

import numpy as np
import pytest

from methods.modern.binary import AKAZE_BITS, ORB_BITS, signed_bits


@pytest.mark.parametrize("bits", [ORB_BITS, AKAZE_BITS])
def test_dot_products_fall_with_the_hamming_distance(bits):
    random = np.random.default_rng(0)
    packed = random.integers(0, 256, (80, -(-bits // 8)), dtype=np.uint8)
    packed[0], packed[1] = 0, 255  # no ones, and nothing else
    packed[40:] = packed[:40] ^ (random.random((40, packed.shape[1])) < 0.2).astype(np.uint8)
    ones = np.unpackbits(packed, axis=1)[:, :bits].astype(int)
    distance = (ones[:, None] != ones).sum(axis=2)
    vectors = signed_bits(packed, bits)
    dot = vectors @ vectors.T
    steps = np.unique(np.stack([distance.ravel(), dot.ravel()], axis=1), axis=0)
    assert len(np.unique(steps[:, 0])) == len(steps)  # equal distances, equal to the bit
    assert (np.diff(steps[:, 1]) < 0).all()
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-3
