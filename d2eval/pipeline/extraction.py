"""Features of image files, from a method through the store, or from files made elsewhere."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from d2eval.contracts.features import InvalidFeaturesError
from d2eval.contracts.identity import Identity
from d2eval.contracts.image_matcher import ImageMatcher
from d2eval.contracts.method import Method, Runtime, method_class
from d2eval.contracts.options import checked_options
from d2eval.contracts.weights import NONE_NEEDED
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.images.decoding import ImageFile, RgbImage
from d2eval.foundation.machine.resources import measure
from d2eval.foundation.terminal.console import note, note_once
from d2eval.foundation.text.labels import make_label
from d2eval.pipeline.ahead import Found, Items, one_by_one
from d2eval.pipeline.external import ExternalConfig, ExternalFeatures, label_of_command
from d2eval.pipeline.hashes import keep_hash, known_hash
from d2eval.pipeline.precomputed import PrecomputedConfig, PrecomputedFeatures, label_of
from d2eval.pipeline.store import Store, StoredFeatures

PRECOMPUTED = "precomputed:"
EXTERNAL = "external:"


class FeatureSource(Protocol):
    """Anything that gives the features of image files."""

    label: str
    extracted: int  # images that this process extracted, rather than read

    def features(self, items: Items, workers: int) -> Found:
        """Features of image files, in their order; see `features_of_images`."""

    def describe(self) -> dict[str, Any]:
        """What decides the features, for the manifest."""

    def headline(self) -> str:
        """One line that says what the features are made with."""


@dataclass
class MethodSource:
    """A method whose features are kept in a store; what is there is not extracted again."""

    label: str
    method: Method
    identity: Identity
    store: Store
    device: str = "cpu"  # that the method computes on
    extracted: int = 0

    def features(self, items: Items, workers: int) -> Found:
        """Features one by one, see `one_by_one`."""
        return one_by_one(self.read, items, workers, self._known)

    def _known(self, path: Path) -> tuple[ImageFile, StoredFeatures] | None:
        """Stored features of a file whose hash is known."""
        sha256 = known_hash(self.store, path)
        if sha256 is None:
            return None
        stored = self.store.read_features(self.identity, sha256)
        return None if stored is None else (ImageFile(path, b"", sha256), stored)

    def read(self, image: ImageFile, name: str) -> "StoredFeatures | Extraction":
        """Stored features, or else the decoded image, to be extracted from.

        Raises:
            D2EvalError: the image is broken.
        """
        keep_hash(self.store, image)
        stored = self.store.read_features(self.identity, image.sha256)
        return Extraction(self, image, image.decode()) if stored is None else stored

    def describe(self) -> dict[str, Any]:
        """The method's identity and its key."""
        images = {"matches_images": True} if isinstance(self.method, ImageMatcher) else {}
        return {**asdict(self.identity), "key": self.identity.key, **images}

    def headline(self) -> str:
        """The method and its weights."""
        weights = self.identity.weights
        if weights == NONE_NEEDED:
            return f"{self.label}: no weights needed"
        sha256 = f", sha256 {weights.sha256[:12]}" if weights.sha256 else ""
        return f"{self.label}: weights {weights.name} ({weights.description}){sha256}"


@dataclass(frozen=True)
class Extraction:
    """An image that waits for its method."""

    source: MethodSource
    image: ImageFile
    pixels: RgbImage

    def run(self) -> StoredFeatures:
        """Runs the method and checks that it keeps its contract; one image at a time.

        Raises:
            D2EvalError: it doesn't.
        """
        label, method = self.source.label, self.source.method
        with measure(self.source.device) as cost:
            try:
                features = method.extract(self.pixels)
            except InvalidFeaturesError as error:
                raise D2EvalError(
                    f"{self.image.path}: {label} gave bad features: {error}"
                ) from error
        found = {
            "image_size": (features.image_size, (self.pixels.shape[1], self.pixels.shape[0])),
            "length of descriptors": (features.descriptors.shape[1], method.descriptor_dim),
        }
        for what, (given, expected) in found.items():
            if given != expected:
                raise D2EvalError(
                    f"{self.image.path}: {label} broke its contract: {what} is {given}, must be "
                    f"{expected}"
                )
        self.source.extracted += 1
        key = self.source.store.features_key(self.source.identity, self.image.sha256)
        return StoredFeatures(features, key, cost)

    def save(self, unit: StoredFeatures) -> None:
        """Puts what was extracted into the store. May run in several threads at once.

        Raises:
            D2EvalError: the disk is full or the cache can't be written.
        """
        source = self.source
        source.store.write_features(source.identity, self.image.sha256, unit.features, unit.cost)


def features_of_images(source: FeatureSource, items: Items, workers: int) -> Found:
    """Features of image files, in their order; an image without any gets a note.

    Reading, hashing and decoding of the next images and writing of the last ones go on in threads
    while one image is extracted. When something fails, what was extracted before it is written.
    Items are (path, name in the dataset); ``workers`` are threads, 0 does one thing after the
    other.

    Raises:
        D2EvalError: a broken image, or features that are broken or can't be made.
    """
    for image, unit in source.features(items, workers):
        if not len(unit.features):
            note_once(f"{image.path}: no features")
        yield image, unit


@dataclass(frozen=True)
class MethodChoice:
    """A method that the user names."""

    name: str  # registered, "module:Class", "precomputed:DIR", or "external:COMMAND"
    # values for its ``Config``; what isn't named has its default
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How rows call its features."""
        return default_label(self.name)

    @property
    def config_class(self) -> type:
        """The dataclass of its options.

        Raises:
            D2EvalError: an unknown method.
        """
        return config_class(self.name)

    @property
    def matches_images(self) -> bool:
        """Whether it is a matcher of images, which has no features of one.

        Raises:
            D2EvalError: an unknown method.
        """
        made_elsewhere = self.name.startswith((PRECOMPUTED, EXTERNAL))
        return not made_elsewhere and issubclass(method_class(self.name), ImageMatcher)

    def open(self, runtime: Runtime, label: str | None = None) -> FeatureSource:
        """Its features; see `open_source`."""
        return open_source(self.name, dict(self.options), runtime, label)


def config_class(name: str) -> type:
    """The dataclass of options that ``--method name`` takes.

    Raises:
        D2EvalError: an unknown method.
    """
    if name.startswith(PRECOMPUTED):
        return PrecomputedConfig
    return ExternalConfig if name.startswith(EXTERNAL) else method_class(name).Config


def default_label(name: str) -> str:
    """How rows call what ``--method name`` gives: by its name, DIR's last part, or the command."""
    if name.startswith(PRECOMPUTED):
        return label_of(expanded(name.removeprefix(PRECOMPUTED)))
    if name.startswith(EXTERNAL):
        return label_of_command(name.removeprefix(EXTERNAL))
    return make_label(name.replace(":", "."))


def open_source(
    name: str, options: dict[str, Any], runtime: Runtime, label: str | None = None
) -> FeatureSource:
    """The source that ``--method name`` means.

    Raises:
        D2EvalError: an unknown method or option, or weights that are missing or don't fit.
    """
    try:
        config = checked_options(config_class(name), options)
    except D2EvalError as error:
        raise D2EvalError(f"method {name!r}: {error}") from error
    if name.startswith(PRECOMPUTED):
        return PrecomputedFeatures(expanded(name.removeprefix(PRECOMPUTED)), config, label)
    if name.startswith(EXTERNAL):
        return ExternalFeatures(name.removeprefix(EXTERNAL), config, runtime, label)
    method = method_class(name)(config, runtime)
    return source_of_method(method, method.identity(name, config), runtime, label)


def source_of_method(
    method: Method, identity: Identity, runtime: Runtime, label: str | None = None
) -> MethodSource:
    """The features of a method that was built, kept in the store."""
    label = label or default_label(identity.method)
    if not identity.source.known:
        note(f"{label}: {identity.source.origin}, so no later run will use its features again")
    store = Store(runtime.cache, runtime.fresh)
    return MethodSource(label, method, identity, store, runtime.device)
