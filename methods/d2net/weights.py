"""Which weights D2-Net runs with: the authors' if they were fetched, else a bundled stand-in."""

from importlib.resources import files
from pathlib import Path

from d2eval.download import verified_path
from d2eval.errors import D2EvalError
from d2eval.weights import WeightsInfo, sha256_of

GROUP = "d2net"  # in methods/downloads.toml
BUNDLED_FILE = "d2_vgg16_hed_fp16.safetensors"
BUNDLED_DESCRIPTION = (
    "a stand-in for the authors' off-the-shelf weights: VGG16 tuned for edges, half precision; "
    "its numbers are not the paper's"
)
OFF_THE_SHELF = "d2_ots.pth"
TRAINED = "d2_tf.pth"


def _official(folder: Path, file: str) -> tuple[Path, WeightsInfo] | None:
    path = verified_path(folder, file)
    if path is None:
        return None
    description = f"the authors' {file}"
    return path, WeightsInfo(f"official {file}", description, sha256_of(path))


def choose_weights(
    choice: str, official_file: str, bundled: bool, cache: Path
) -> tuple[Path, WeightsInfo]:
    """The weights file that ``--weights`` means.

    Args:
        choice: "auto" (official if fetched, else bundled), "official", "bundled", or a path.
        official_file: the authors' file of this method.
        bundled: whether the bundled stand-in stands in for it.
        cache: the cache folder, where fetched weights lie.

    Raises:
        D2EvalError: the weights are not there, or fetched ones were changed.
    """
    if choice in ("auto", "official"):
        found = _official(cache / "weights" / GROUP, official_file)
        if found is not None:
            return found
        if choice == "official" or not bundled:
            others = "bundled or a path" if bundled else "a path; none are bundled for this method"
            raise D2EvalError(
                f"the authors' {official_file} has not been fetched into {cache}; run "
                f"'d2eval fetch {GROUP}', or use --weights {others}"
            )
    if choice in ("auto", "bundled"):
        if not bundled:
            raise D2EvalError(
                "no weights are bundled for this trained method; run "
                f"'d2eval fetch {GROUP}' for the authors', or give --weights a path"
            )
        path = Path(str(files("methods.d2net") / "weights" / BUNDLED_FILE))
        info = WeightsInfo("bundled stand-in", BUNDLED_DESCRIPTION, sha256_of(path), stand_in=True)
        return path, info
    path = Path(choice).expanduser()
    if not path.is_file():
        raise D2EvalError(
            f"{path}: no such weights file; --weights takes bundled, official or a path"
        )
    return path, WeightsInfo(f"file {path.name}", f"given by path: {path}", sha256_of(path))


def state_of_weights(choice: str, official_file: str, bundled: bool, cache: Path) -> str:
    """For ``d2eval methods``: which weights would be used, or that they are missing."""
    try:
        _, info = choose_weights(choice, official_file, bundled, cache)
    except D2EvalError as error:
        return f"missing: {error}"
    return info.name
