"""Features of image files one by one, while others are read and written in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Protocol

from d2eval.foundation.images.decoding import ImageFile, load_image_file
from d2eval.pipeline.store import StoredFeatures

Items = Iterable[tuple[Path, str]]  # path and name in the dataset of each image
Found = Iterator[tuple[ImageFile, StoredFeatures]]


class Pending(Protocol):
    """An image that is read but not extracted."""

    def run(self) -> StoredFeatures:
        """Extracts; one image at a time, in the caller's thread."""

    def save(self, unit: StoredFeatures) -> None:
        """Stores what was extracted. May run in several threads at once."""


def one_by_one(
    read: Callable[[ImageFile, str], StoredFeatures | Pending],
    items: Items,
    workers: int,
    known: Callable[[Path], tuple[ImageFile, StoredFeatures] | None] = lambda _: None,
) -> Found:
    """Features of image files in their order.

    When something fails, what was extracted before it is written. ``read`` gives the features of an
    image of that name, or what it takes to get them; ``known`` those of a file that needn't be
    read. Both may run in several threads at once.

    Raises:
        D2EvalError: as ``read``, `Pending` and `load_image_file`.
    """

    def load(item: tuple[Path, str]) -> tuple[ImageFile, StoredFeatures | Pending]:
        found = known(item[0])
        if found is not None:
            return found
        image = load_image_file(item[0])
        return image, read(image, item[1])

    if not workers:
        for image, found in map(load, items):
            if isinstance(found, StoredFeatures):
                yield image, found
            else:
                unit = found.run()
                found.save(unit)
                yield image, unit
        return

    waiting = iter(items)
    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:
        reading = deque(readers.submit(load, item) for item in islice(waiting, workers + 1))
        writing: deque[Future[None]] = deque()
        try:
            while reading:
                image, found = reading.popleft().result()
                reading.extend(readers.submit(load, item) for item in islice(waiting, 1))
                if isinstance(found, StoredFeatures):
                    yield image, found
                    continue
                unit = found.run()
                writing.append(writers.submit(found.save, unit))
                while len(writing) > workers:  # as many images at most wait in memory
                    writing.popleft().result()
                yield image, unit
        finally:
            for future in reading:
                future.cancel()
            for write in writing:
                write.result()
