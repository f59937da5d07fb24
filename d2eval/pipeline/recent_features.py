"""Features of a dataset's images by name, of which the last used are kept in memory."""

from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

from cachetools import cachedmethod

from d2eval.foundation.arrays.held import last_used
from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.store import StoredFeatures

CACHE_BYTES = 2 * 2**30  # of descriptors in memory; the last two images always are


class FeatureCache:
    """Reads features when they are asked for; not for several threads at once."""

    def __init__(self, source: FeatureSource, find: Callable[[str], Path]) -> None:
        """Takes where features are from.

        ``find`` gives the image file of a name.
        """
        self._source, self._find = source, find
        self._held = last_used(CACHE_BYTES, attrgetter("features.descriptors.nbytes"))

    @cachedmethod(attrgetter("_held"))
    def get(self, name: str) -> StoredFeatures:
        """Features of the image called ``name``.

        Raises:
            D2EvalError: as `features_of_images`.
        """
        ((_, unit),) = features_of_images(self._source, [(self._find(name), name)], workers=0)
        return unit
