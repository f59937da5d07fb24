"""Stages of features and of small units: what is stored of them, and what the rest would take."""

import contextlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

from d2eval.contracts.features import Origin
from d2eval.contracts.identity import Identity
from d2eval.foundation.errors import D2EvalError, reason_of
from d2eval.foundation.images.decoding import read_image_size
from d2eval.foundation.terminal.console import note
from d2eval.foundation.terminal.progress import progress
from d2eval.pipeline.external import ExternalFeatures
from d2eval.pipeline.extraction import FeatureSource, MethodSource, features_of_images
from d2eval.pipeline.hashes import images_unread, may_read_images, planned_hash
from d2eval.pipeline.image_pairs import pair_keys
from d2eval.pipeline.packs import arrays_of
from d2eval.pipeline.store import Store
from d2eval.scheduling.plan import Planned
from d2eval.scheduling.work import Parts

LOOKED_AT = 8  # files of features, for their costs


@dataclass(frozen=True)
class Keyed:
    """What an image's features are called, whether they are there or not."""

    key: str
    stored: bool
    origin: Origin = "center"


def expected(name: str, parts: Parts, dataset: Any) -> Sequence[Planned]:
    """The plan of a run that begins, by what is known without reading images.

    Where there is none, what is wrong is said by the run itself, if that is wrong for it, too.
    ``name`` is the benchmark's.
    """
    try:
        with images_unread():
            return parts.plan(dataset)
    except D2EvalError:
        return ()
    except Exception as error:  # noqa: BLE001 - a benchmark's of others; the run goes on
        note(f"{name}: can't be planned ({reason_of(error)}); no time left in all")
        return ()


def is_sent(source: FeatureSource) -> TypeGuard[MethodSource]:
    """Whether workers can extract: a method does it, and each of them gets the same keys."""
    return isinstance(source, MethodSource) and source.identity.source.known


def plan_features(
    stage: str, source: FeatureSource, files: Mapping[str, Path]
) -> tuple[Planned, dict[str, Keyed]]:
    """The features of images by name; those from files of the user's are there.

    Raises:
        D2EvalError: a file is missing or broken; those of the user's would have to be read, in
            `images_unread`.
    """
    if not isinstance(source, MethodSource | ExternalFeatures):
        if not may_read_images():
            raise D2EvalError(f"{source.label}: not known before its files are read")
        items = [(path, name) for name, path in files.items()]
        found = features_of_images(source, items, workers=0)
        keyed = {
            name: Keyed(unit.key, True, unit.features.origin)
            for name, (_, unit) in zip(files, found, strict=True)
        }
        return Planned(stage, len(keyed), len(keyed)), keyed
    store, identity = source.store, source.identity
    recorded = _features_recorded(store, identity)
    keyed = {}
    for name, path in progress(files.items(), _looking(), len(files)):
        sha256 = planned_hash(store, path)
        stored = store.has_features(identity, sha256)
        keyed[name] = Keyed(store.features_key(identity, sha256), stored, recorded.origin)
    lacking = [files[name] for name, own in keyed.items() if not own.stored]
    seconds, size = recorded.of(lacking)
    planned = Planned(
        stage, len(keyed), len(keyed) - len(lacking), seconds, size, is_shared=is_sent(source)
    )
    return planned, keyed


def plan_image_pairs(
    stage: str, source: MethodSource, pairs: Sequence[tuple[Path, Path]]
) -> Planned:
    """The points of a matcher of images; raises as `plan_features`."""
    store, identity, lacking = source.store, source.identity, []
    for pair in progress(pairs, _looking(), len(pairs)):
        keys = pair_keys(*(planned_hash(store, path) for path in pair))
        if not all(store.has_features(identity, key) for key in keys):
            lacking.append(pair)
    recorded = _features_recorded(store, identity)
    seconds, _ = recorded.of([pair[0] for pair in lacking])  # each of the two has the pair's
    _, size = recorded.of([path for pair in lacking for path in pair])
    return Planned(stage, len(pairs), len(pairs) - len(lacking), seconds, size)


def _looking() -> str:
    return "hashing images" if may_read_images() else "looking for what is stored"


@dataclass(frozen=True)
class _Recorded:
    """What stored features of a method took; NaN: it isn't known."""

    seconds: float  # for a pixel
    size: float  # bytes for a pixel
    origin: Origin = "center"

    def of(self, paths: Sequence[Path]) -> tuple[float | None, float | None]:
        """What those of other images would take, by their sizes."""
        if math.isnan(self.size):
            return None, None
        pixels = sum(math.prod(read_image_size(path)) for path in paths)
        return None if math.isnan(self.seconds) else self.seconds * pixels, self.size * pixels


def _features_recorded(store: Store, identity: Identity) -> _Recorded:
    store = Store(store.root)  # what is made anew costs what it did
    pixels, seconds, size = 0, 0.0, 0
    origin: Origin = "center"
    for path in islice(store.features_folder(identity).glob("*.h5"), LOOKED_AT):
        with contextlib.redirect_stderr(io.StringIO()):  # what is damaged, who uses it says
            unit = store.read_features(identity, path.stem)
        if unit is not None:
            pixels += math.prod(unit.features.image_size)
            seconds += unit.cost.seconds
            size += path.stat().st_size
            origin = unit.features.origin
    if not pixels:
        return _Recorded(math.nan, math.nan)
    return _Recorded(seconds / pixels, size / pixels, origin)


def plan_units(
    stage: str, store: Store, paths: Iterable[Path | None], group: Path | None, parts: int = 1
) -> Planned:
    """Units by where they lie, or would; None: that follows from what is still to be made.

    ``group`` is the place of a unit that has their costs or those of others like them (None: there
    are no units). Each consists of so many ``parts``, of which the costs are.
    """
    count, there = 0, 0
    for path in paths:
        count += 1
        there += path is not None and store.has(path)
    seconds, size = (None, None) if group is None else _units_recorded(store, group)
    lacking = (count - there) * parts
    return Planned(
        stage, count, there,
        None if seconds is None else lacking * seconds, None if size is None else lacking * size,
    )  # fmt: skip


def _units_recorded(store: Store, path: Path) -> tuple[float | None, float | None]:
    """Mean seconds and bytes of units of a kind, method and settings.

    Of one that says a ``size``, what it says.
    """
    contents = store.made_like(path)
    took, sizes = [], []
    for content in contents:
        own = arrays_of(content)
        took += [float(own["seconds"])] if "seconds" in own else []
        sizes.append(float(own.get("size", len(content))))
    seconds = sum(took) / len(took) if took else None
    return seconds, sum(sizes) / len(sizes) if sizes else None
