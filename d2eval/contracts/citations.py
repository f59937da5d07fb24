"""Papers of methods, matchers and benchmarks: BibTeX entries that a class names by their keys.

They stand in a file ``citations.bib``: beside the package, or the single file, of the class, or in
d2eval's own. Only what `d2eval cite` and lists need is understood of them: values in braces.
"""

import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.reading import is_there, read_text

FILE = "citations.bib"
_ENTRY = re.compile(r"^@\w+\{(?P<key>[^,\s]+),\n(?P<fields>.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+) = \{(.*)\},?$", re.MULTILINE)
_ACCENT = re.compile(r"\\['\"`^~vcl](?=[{\w}])|[{}]")  # of TeX, which a list does without


@dataclass(frozen=True)
class Paper:
    """An entry of a BibTeX file."""

    key: str
    entry: str  # the whole of it
    fields: dict[str, str]

    @property
    def short(self) -> str:
        """Such as "Dusmanu et al., CVPR 2019"."""
        authors = [name.partition(",")[0] for name in self.fields["author"].split(" and ")]
        who = " & ".join(authors) if len(authors) < 3 else f"{authors[0]} et al."
        venue = self.fields.get("booktitle") or self.fields.get("journal") or ""
        brief = re.search(r"\((\w+)\)$", venue)
        where = brief[1] if brief else venue
        return _ACCENT.sub("", f"{who}, {where} {self.fields['year']}".replace(",  ", ", "))


@cache
def _read(path: Path) -> dict[str, Paper]:
    found = {}
    for match in _ENTRY.finditer(read_text(path) if is_there(path) else ""):
        fields = dict(_FIELD.findall(match["fields"]))
        lacking = [name for name in ("author", "year") if name not in fields]
        if lacking:
            raise D2EvalError(f"{path}: {match['key']} has no {lacking[0]} = {{...}} in a line")
        found[match["key"]] = Paper(match["key"], match[0], fields)
    return found


def _own_file(cls: type) -> Path:
    """The file beside the package, or the single file, of the class that names the papers."""
    named = next(base for base in cls.__mro__ if "papers" in vars(base))
    top = sys.modules[named.__module__.partition(".")[0]]
    return Path(getattr(top, "__file__", None) or "").resolve().parent / FILE


def papers_of(cls: type) -> list[Paper]:
    """The papers that a class names in ``papers``, the main one first.

    Raises:
        D2EvalError: one is in none of the files.
    """
    keys = getattr(cls, "papers", None) or ()
    if not keys:
        return []
    own = _own_file(cls)
    known = {**_read(Path(str(files("d2eval") / FILE))), **_read(own)}
    for key in keys:
        if key not in known:
            raise D2EvalError(f"{own}: has no entry {key}, which {cls.__name__} names; add it")
    return [known[key] for key in keys]
