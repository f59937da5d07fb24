"""Features that a program of the user's makes, in whatever language, for several images at a time.

With ``--method "external:COMMAND"`` the command is started with a file that lists images, a path in
each line, and a folder. It writes ``0.npz`` there for the first line, ``1.npz`` for the second, and
so on, in the authors' layout (see `d2eval.pipeline.featurefiles`). Each is checked and put into the
store as soon as it is whole, in the order of the list, while the program goes on: what ends it
loses nothing that is stored, and the next one is given only what is missing.
"""

import math
import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from d2eval.contracts.identity import Identity
from d2eval.contracts.options import Runtime, option
from d2eval.contracts.weights import NONE_NEEDED, NOT_STATED
from d2eval.foundation.errors import D2EvalError, writing
from d2eval.foundation.files.leftovers import temporary_path
from d2eval.foundation.images.decoding import ImageFile, read_image_size
from d2eval.foundation.machine.resources import Cost
from d2eval.foundation.terminal.console import note
from d2eval.foundation.text.labels import make_label
from d2eval.pipeline.ahead import Found, Items
from d2eval.pipeline.external_run import Command, Run
from d2eval.pipeline.featurefiles import read_feature_file
from d2eval.pipeline.hashes import image_hash
from d2eval.pipeline.store import Store, StoredFeatures

VERSION = 1  # of how its files are read
LOG = "failed.log"  # what a program printed that failed last
UNKNOWN_COST = Cost(math.nan, math.nan)


@dataclass(frozen=True)
class ExternalConfig:
    """The options of ``--method external:COMMAND``."""

    version_string: str = option("", "of the program, where no file named in COMMAND shows it")
    weights_needed: bool = option(
        True, "whether it has weights, which it then doesn't state", keyed=False, named=False
    )
    time_limit: float = option(
        600.0,
        "seconds without a new or changed file after which it is stopped",
        keyed=False,
        named=False,
    )
    batch: int = option(
        100,
        "images that it is given at a time; it is started anew for the next",
        keyed=False,
        named=False,
    )

    def __post_init__(self) -> None:
        if not 0 < self.time_limit < math.inf or self.batch < 1:
            raise D2EvalError("--time-limit must be a number above 0, --batch 1 or more")


def label_of_command(text: str) -> str:
    """How rows call what a command makes: by its program and the first file that it names."""
    command = Command.of(text)
    others = [path for path in command.files if path != Path(command.words[0])]
    return make_label("-".join(path.stem for path in (Path(command.words[0]), *others[:1])))


class ExternalFeatures:
    """The features that a command makes, kept in the store."""

    def __init__(
        self, text: str, config: ExternalConfig, runtime: Runtime, label: str | None = None
    ) -> None:
        """Takes a command, and hashes the files that it names.

        Raises:
            D2EvalError: as `Command.of`, or a file can't be read.
        """
        self._command, self._config = Command.of(text), config
        self.label = label or label_of_command(text)
        self.extracted = 0
        self._times = self._command.times()
        keyed = {"command": text, "version_string": config.version_string}
        source = self._command.source()
        weights = NOT_STATED if config.weights_needed else NONE_NEEDED
        self.identity = Identity("external", VERSION, keyed, weights, source)
        self.store = Store(runtime.cache, runtime.fresh)
        self._described: tuple[Path, int] | None = None  # an image and its descriptors' length
        if not source.files and not config.version_string:
            note(
                f"{self.label}: the command names no file, so that a changed program looks like "
                "this one; say --version-string"
            )

    def describe(self) -> dict[str, Any]:
        """The command's identity and its key."""
        return {**asdict(self.identity), "key": self.identity.key}

    def headline(self) -> str:
        """The command."""
        return f"{self.label}: features by the program {self._command.text}"

    def features(self, items: Items, workers: int) -> Found:
        """Features of image files in their order; ``workers`` are the program's own matter.

        Raises:
            D2EvalError: a broken image; a program that can't be started, fails, writes nothing for
                too long, or writes what isn't features.
        """
        waiting = iter(items)
        while chunk := [*islice(waiting, self._config.batch)]:
            images = [ImageFile(path, b"", image_hash(self.store, path)) for path, _ in chunk]
            missing = {
                image.sha256: image
                for image in reversed(images)
                if not self.store.has_features(self.identity, image.sha256)
            }
            with closing(self._made([i for i in images if missing.get(i.sha256) is i])) as made:
                for image in images:
                    new = missing.get(image.sha256) is image
                    yield image, next(made) if new else self._stored(image)

    def _stored(self, image: ImageFile) -> StoredFeatures:
        unit = self.store.read_features(self.identity, image.sha256)
        if unit is None:  # it was damaged
            (unit,) = self._made([image])
        self._check_length(image, unit)
        return unit

    def _made(self, images: list[ImageFile]) -> Generator[StoredFeatures, None, None]:
        """Features that one run of the program makes, each stored before it is given."""
        if not images:
            return
        if self._command.times() != self._times:
            raise D2EvalError(f"{self.label}: its files were changed meanwhile; start again")
        folder = self.store.features_folder(self.identity)
        with temporary_path(folder / "work") as work:
            listing, output = work / "images.txt", work / "output"
            with writing(work):
                output.mkdir(parents=True)
                listing.write_bytes(b"".join(_line(image) for image in images))
            words, limit = self._command.filled(listing, output), self._config.time_limit
            log = folder / LOG
            with closing(Run(self.label, words, output, len(images), limit, log)) as run:
                for number, image in enumerate(images):
                    unit = self._taken(run.wait_for(number, image), image, run)
                    if number == len(images) - 1:
                        run.finish()
                    yield unit

    def _taken(self, path: Path, image: ImageFile, run: "Run") -> StoredFeatures:
        """The features in a file, stored; the file is removed."""
        size = read_image_size(image.path)
        try:
            features, _ = read_feature_file(path, size)
            unit = StoredFeatures(features, "", UNKNOWN_COST)
            self._check_length(image, unit)
        except D2EvalError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise run.failure(f"wrote {path.name} for {image.path}: {reason}") from error
        path.unlink(missing_ok=True)
        self.extracted += 1
        return self.store.write_features(self.identity, image.sha256, features, UNKNOWN_COST)

    def _check_length(self, image: ImageFile, unit: StoredFeatures) -> None:
        length = unit.features.descriptors.shape[1]
        if not len(unit.features):
            return
        other, expected = self._described = self._described or (image.path, length)
        if length != expected:
            raise D2EvalError(f"descriptors of {length} numbers, but {expected} for {other}")


def _line(image: ImageFile) -> bytes:
    path = os.fsencode(image.path.absolute())
    if b"\n" in path or b"\r" in path:
        raise D2EvalError(f"{image.path}: a line break in its name can't be listed; rename it")
    return path + b"\n"
