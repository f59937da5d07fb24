"""Features of image files, from a method through the store, or from files made elsewhere."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from d2eval.errors import D2EvalError
from d2eval.features import InvalidFeaturesError
from d2eval.images import ImageFile
from d2eval.method import Identity, Method, Runtime, method_class
from d2eval.precomputed import PrecomputedConfig, PrecomputedFeatures
from d2eval.resources import measure
from d2eval.store import Store, StoredFeatures

PRECOMPUTED = "precomputed:"


class FeatureSource(Protocol):
    """Anything that gives the features of an image file."""

    label: str
    extracted: int  # images that this process extracted, rather than read

    def features(self, image: ImageFile, name: str) -> StoredFeatures:
        """The features of ``image``, called ``name`` within its dataset."""

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
    extracted: int = 0

    def features(self, image: ImageFile, name: str) -> StoredFeatures:
        """Reads or extracts the features of ``image``.

        Raises:
            D2EvalError: the image is broken, the method broke its contract, or the disk is full.
        """
        stored = self.store.read_features(self.identity, image.sha256)
        if stored is not None:
            return stored
        pixels = image.decode()
        with measure() as cost:
            try:
                features = self.method.extract(pixels)
            except InvalidFeaturesError as error:
                raise D2EvalError(
                    f"{image.path}: {self.label} gave bad features: {error}"
                ) from error
        size = (pixels.shape[1], pixels.shape[0])
        if (
            features.image_size != size
            or features.descriptors.shape[1] != self.method.descriptor_dim
        ):
            raise D2EvalError(
                f"{image.path}: {self.label} broke its contract: image_size "
                f"{features.image_size} (image {size}), descriptors of "
                f"{features.descriptors.shape[1]} (declared {self.method.descriptor_dim})"
            )
        self.extracted += 1
        return self.store.write_features(self.identity, image.sha256, features, cost)

    def describe(self) -> dict[str, Any]:
        """The method's identity and its key."""
        return {**asdict(self.identity), "key": self.identity.key}

    def headline(self) -> str:
        """The method and its weights."""
        weights = self.identity.weights
        if weights is None:
            return f"{self.label}: no weights needed"
        return (
            f"{self.label}: weights {weights.name} ({weights.description}), "
            f"sha256 {weights.sha256[:12]}"
        )


def config_class(name: str) -> type:
    """The dataclass of options that ``--method name`` takes.

    Raises:
        D2EvalError: an unknown method.
    """
    return PrecomputedConfig if name.startswith(PRECOMPUTED) else method_class(name).Config


def open_source(
    name: str, options: dict[str, Any], runtime: Runtime, label: str | None = None
) -> FeatureSource:
    """The source that ``--method name`` means.

    Args:
        name: a registered method, "module:Class", or "precomputed:DIR".
        options: values for the method's ``Config``.
        runtime: device, seed and cache folder.
        label: how rows name it; default: its name, or DIR's last part.

    Raises:
        D2EvalError: an unknown method or option, or weights that are missing or don't fit.
    """
    if name.startswith(PRECOMPUTED):
        folder = Path(name.removeprefix(PRECOMPUTED)).expanduser()
        return PrecomputedFeatures(folder, PrecomputedConfig(**options), label)
    cls = method_class(name)
    config = cls.Config(**options)
    method = cls(config, runtime)
    identity = method.identity(name, config)
    return MethodSource(label or name.replace(":", "."), method, identity, Store(runtime.cache))
