"""Features of a dataset's images by name, of which the last used are kept in memory."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from d2eval.pipeline.extraction import FeatureSource, features_of_images
from d2eval.pipeline.store import StoredFeatures

CACHE_BYTES = 2 * 2**30


class FeatureCache:
    """Reads features when they are asked for; not for several threads at once."""

    def __init__(
        self, source: FeatureSource, find: Callable[[str], Path], limit: int = CACHE_BYTES
    ) -> None:
        """Takes where features are from.

        Args:
            source: gives the features.
            find: the image file of a name.
            limit: bytes of descriptors that are held; the last two images always are.
        """
        self._source, self._find, self._limit = source, find, limit
        self._units: OrderedDict[str, StoredFeatures] = OrderedDict()
        self._bytes = 0

    def get(self, name: str) -> StoredFeatures:
        """Features of the image called ``name``.

        Raises:
            D2EvalError: as `features_of_images`.
        """
        if name in self._units:
            self._units.move_to_end(name)
            return self._units[name]
        ((_, unit),) = features_of_images(self._source, [(self._find(name), name)], workers=0)
        self._units[name] = unit
        self._bytes += unit.features.descriptors.nbytes
        while self._bytes > self._limit and len(self._units) > 2:
            _, dropped = self._units.popitem(last=False)
            self._bytes -= dropped.features.descriptors.nbytes
        return unit
