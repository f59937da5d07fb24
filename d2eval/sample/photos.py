"""The photos that every embedded data set is made of."""

from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.images.decoding import ImageFile, load_image_file


def load_photo(name: str) -> ImageFile:
    """Reads ``benchmarks/sample/photos/<name>.jpg``; its terms are in SOURCES.md beside it.

    Raises:
        D2EvalError: no such photo, or it can't be read.
    """
    folder = bundled("benchmarks") / "sample" / "photos"
    return load_image_file(folder / f"{name}.jpg")
