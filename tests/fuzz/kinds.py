"""What a parser is to tests and fuzzing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Parser:
    """A reader.

    Attributes:
        name: of it.
        file: the path that an input has in its folder; the name may tell its format.
        seeds: valid inputs.
        read: reads the file at a path; raises nothing but D2EvalError.
        is_text: whether inputs are text, of which byte order marks and line ends don't matter.
        beside: other files of the folder, by name.
        is_anew: whether what is damaged counts as absent, None, without an error.
        tries: damaged inputs of a test, fewer where reading takes long.
    """

    name: str
    file: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], object]
    is_text: bool = True
    beside: Callable[[], dict[str, bytes]] = dict
    is_anew: bool = False
    tries: int = 25


def texts(*contents: str) -> Callable[[], list[bytes]]:
    return lambda: [content.encode() for content in contents]


def write_input(parser: Parser, data: bytes, folder: Path) -> Path:
    """The file with ``data`` and those beside it, in an empty folder."""
    for name, content in parser.beside().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    path = folder / parser.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
