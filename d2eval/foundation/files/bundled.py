"""Where the data that come with d2eval lie: benchmark files, photos, published and shipped results.

In a checkout they are at its top, where one reads and edits them; in an installed wheel inside the
package, so that no folder named ``benchmarks`` or ``results`` gets among other packages.
"""

from importlib.resources import files
from pathlib import Path

INSTALLED = "bundled"  # the folder inside an installed package; pyproject.toml fills it


def bundled(name: str) -> Path:
    """The path of a folder that comes with d2eval.

    It is called as in a checkout, such as "benchmarks" or "results/published".
    """
    package = Path(str(files("d2eval")))
    inside = package / INSTALLED
    return (inside if inside.is_dir() else package.parent) / name
