"""Dense maps without a network."""

import numpy as np

from d2eval.contracts.maps import Maps


def random_maps(
    rng: np.random.Generator, coarse: tuple[int, int], fine: tuple[int, int], scale: float = 1
) -> Maps:
    def descriptors(*shape: int) -> np.ndarray:
        array = rng.normal(size=shape)
        return array / np.linalg.norm(array, axis=-1, keepdims=True)

    seen = (8 * fine[1], 8 * fine[0])
    original = (int(scale * seen[0]), int(scale * seen[1]))
    return Maps(descriptors(*coarse, 6), descriptors(*fine, 4), 16, 8, 3.5, seen, original)
