"""The source of a method or matcher, which decides what it gives as options and weights do.

The rule: methods as they are shipped count by their version number, so that features stay valid
where a commit changes nothing in them; ``methods/shipped.json`` records the SHA-256 of their files.
Everything else, a shipped method that was edited too, counts by a hash of its files: the module and
all of its package, those of its base classes, and what these import that isn't installed.
"""

import ast
import contextlib
import hashlib
import importlib.util
import json
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

from d2eval.foundation.files.paths import listed
from d2eval.foundation.files.reading import read_bytes, read_text

RECORD = "shipped.json"  # in the folder of the methods: file -> SHA-256 of its content
METHODS = "methods"
CORE = "d2eval"  # the program itself, whose parts have versions of their own
# Code, and the settings that it may read; weights have a hash of their own.
CODE = (".py", ".pyx", ".pxd", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".so", ".pyd")
SUFFIXES = (*CODE, ".toml", ".json", ".yaml", ".yml", ".cfg", ".ini")
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # of statements, in their syntax
_STARTED = time.time()
_loaded: dict[str, float] = {}  # module -> when this program asked for it


@dataclass(frozen=True)
class Source:
    """Where a method's code is from."""

    origin: str = "shipped"  # "shipped", "files", or else why its files can't tell what runs
    # of the files; empty for what is shipped; another each time if they can't tell
    sha256: str = ""
    files: tuple[str, ...] = ()  # what was hashed, a package as one

    @property
    def known(self) -> bool:
        """Whether another run of the same source would be seen to be the same."""
        return self.origin in ("shipped", "files")


SHIPPED = Source()


@dataclass(frozen=True)
class _Component:
    """A module that is no package, or a package with all that is in it."""

    folder: Path  # that it is imported from
    name: str  # without suffix
    prefix: str = ""  # of its module's name, "methods." for those of the methods' folder

    def files(self) -> Iterator[Path]:
        """Its files: of a package's folders all, of other folders in them those right there."""
        package = self.folder / self.name
        if package.is_dir():
            yield from _package_files(package)
        else:
            yield from (p for p in self.folder.glob(f"{self.name}.*") if p.suffix in SUFFIXES)

    def label(self, path: Path) -> str:
        """What a file of it is called, wherever it lies."""
        return f"{self.prefix.replace('.', '/')}{path.relative_to(self.folder).as_posix()}"


def loading(module: str) -> None:
    """Notes that a module is about to be imported, so that a later change of its files is seen."""
    if module not in sys.modules:
        _loaded[module] = time.time()


def _package_files(folder: Path, inner: bool = False) -> Iterator[Path]:
    for path in listed(folder):
        if path.name.startswith((".", "__pycache__")):
            continue
        if path.is_file():
            if path.suffix in SUFFIXES:
                yield path
        elif (path / "__init__.py").is_file():
            yield from _package_files(path)
        elif path.is_dir() and not inner:
            yield from _package_files(path, inner=True)


def methods_folder() -> Path:
    """Where the methods lie that are shipped."""
    return Path(str(files(METHODS))).resolve()


def digest_of(path: Path) -> str:
    """SHA-256 of a source file; line ends, which Git may change, don't count."""
    return hashlib.sha256(read_bytes(path).replace(b"\r\n", b"\n")).hexdigest()


@cache
def _installed(folder: Path) -> bool:
    """Whether what lies in ``folder`` was put there by an installer, and has a version."""
    return folder.name in ("site-packages", "dist-packages") or any(folder.glob("*.dist-info"))


def _found(module: str) -> _Component | None:
    """The component of an imported module by its name; None for what isn't looked at."""
    top, _, rest = module.partition(".")
    if top == METHODS:
        component = _Component(methods_folder(), rest.partition(".")[0], f"{METHODS}.")
        return component if component.name.isidentifier() and any(component.files()) else None
    if top == CORE or top in sys.stdlib_module_names:
        return None
    spec = None
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    places = [*(spec.submodule_search_locations or ())] or [spec.origin or ""]
    place = Path(places[0]).resolve()
    return _Component(place.parent, top) if place.exists() and place.suffix != ".zip" else None


def _component_of(module: str) -> _Component | None:
    """The component of a module that is loaded; None if it has no file."""
    if module.partition(".")[0] == METHODS:
        return _found(module)
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not Path(file).is_file():
        return None
    path = Path(file).resolve()
    parts = module.split(".")
    depth = len(parts) - 1 + (path.stem == "__init__")
    folder = path.parents[depth] if depth < len(path.parents) else path.parent
    top = _Component(folder, parts[0])
    fits = (folder / parts[0]).is_dir() or path.stem == parts[0]
    return top if fits else _Component(path.parent, path.stem)


def _imports(component: _Component) -> Iterator[str]:
    """Full names of what the Python files of a component import, wherever they do."""
    for path in component.files():
        if path.suffix != ".py":
            continue
        folders = path.relative_to(component.folder).parts[:-1]
        inside = [*component.prefix.split(".")[:-1], *folders]
        for level, name in _imported(read_bytes(path)):
            base = inside[: len(inside) - level + 1] if level else []
            yield ".".join([*base, name])


@lru_cache(maxsize=1024)
def _imported(code: bytes) -> tuple[tuple[int, str], ...]:
    """What a Python file imports: how many dots are before the name, and the name."""
    try:
        waiting: list[ast.AST] = [ast.parse(code)]
    except (SyntaxError, ValueError, RecursionError):
        return ()  # a file that can't be run imports nothing
    found = []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(0, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = f"{node.module}." if node.module else ""
            found += [(node.level, f"{base}{name.name}") for name in node.names]
        else:
            for block in _BLOCKS:  # statements alone: most of a tree are expressions
                waiting += getattr(node, block, ())
    return tuple(found)


def _is_installed(component: _Component) -> bool:
    return not component.prefix and _installed(component.folder)


def _closure(components: Iterable[_Component]) -> list[_Component]:
    """Components, and those that they import and that aren't installed."""
    waiting = [*components]
    found: dict[_Component, None] = {}
    while waiting:
        component = waiting.pop()
        if component in found:
            continue
        found[component] = None
        if not _is_installed(component):
            others = (_found(name) for name in dict.fromkeys(_imports(component)))
            waiting += [other for other in others if other and not _is_installed(other)]
    return [*found]


def _record() -> dict[str, str]:
    path = methods_folder() / RECORD
    return {str(k): str(v) for k, v in json.loads(read_text(path)).items()} if path.exists() else {}


def _on_record(component: _Component, record: dict[str, str]) -> dict[str, str]:
    """What the record says of a component's files; nothing of one that isn't shipped."""
    own = (component.name, f"{component.name}.py")
    return {n: sha for n, sha in record.items() if component.prefix and n.split("/")[0] in own}


def _is_recorded(module: str, record: dict[str, str]) -> bool:
    """Whether a module's own file is on record: what others add to a package of ours isn't."""
    path = Path(getattr(sys.modules.get(module), "__file__", None) or "").resolve()
    folder = methods_folder()
    return path.is_relative_to(folder) and path.relative_to(folder).as_posix() in record


def _unchanged(record: dict[str, str]) -> bool:
    """Whether there are files on record, and all are as they were shipped."""
    folder = methods_folder()
    present = all((folder / name).is_file() for name in record)
    return bool(record) and present and all(digest_of(folder / n) == d for n, d in record.items())


def source_of(cls: type, target: str | None = None) -> Source:
    """The source of a class that was imported.

    Args:
        cls: the class; the classes that it is derived from count, too, unless they are installed.
        target: module that it was looked for in, if that is another.

    Raises:
        D2EvalError: its files can't be read.
    """
    own = dict.fromkeys([target or cls.__module__, cls.__module__])
    for module in own:
        if _component_of(module) is None:
            return unknown_source(f"{module} has no file")
    bases = {base.__module__ for base in cls.__mro__}
    bases -= {name for name in bases if name.partition(".")[0] in (CORE, *sys.stdlib_module_names)}
    roots = [_component_of(module) for module in (*own, *sorted(bases - {*own}))]
    counted = [c for k, c in enumerate(roots) if c and (k < len(own) or not _is_installed(c))]
    record = _record()
    # Where no file was edited, what imports what needn't be known.
    whole = _unchanged(record) and all(_on_record(c, record) for c in counted)
    ours = all(_is_recorded(module, record) for module in own)
    found = counted if whole and ours else _closure(counted)
    if ours and (whole or all(_unchanged(_on_record(part, record)) for part in found)):
        return SHIPPED
    paths = [(component.label(path), path) for component in found for path in component.files()]
    if max(path.stat().st_mtime for _, path in paths) > _loaded.get(next(iter(own)), _STARTED):
        return unknown_source("its files have been changed since this program was started")
    digests = sorted(f"{label} {digest_of(path)}\n" for label, path in paths)
    names = sorted(component.prefix.replace(".", "/") + component.name for component in found)
    return Source("files", hashlib.sha256("".join(digests).encode()).hexdigest(), tuple(names))


def unknown_source(why: str) -> Source:
    """A source that no other equals, so that nothing stored of it is ever read again."""
    return Source(why, uuid.uuid4().hex)
