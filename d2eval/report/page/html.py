"""The page: one HTML file that opens from disk and asks no network."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from d2eval.foundation.version import program_version
from d2eval.report.page.results import Report, results_text

if TYPE_CHECKING:
    from markupsafe import Markup

# What would end a script's element, or begin a comment, within it
_ESCAPES = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"})


def page_html(reports: Sequence[Report]) -> str:
    """The page that shows ``reports``; whatever they hold is text there."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_file("template.html"))
    return template.render(
        names=[report["name"] for report in reports],
        version=program_version(),
        style=_own("style.css"),
        script=_own("script.js"),
        data=_trusted(results_text(reports).translate(_ESCAPES)),
    )


def _trusted(text: str) -> "Markup":
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - our own files, and JSON without what ends its element


def _own(name: str) -> "Markup":
    return _trusted(_file(name))


@cache
def _file(name: str) -> str:
    return (files("d2eval.report.page") / name).read_text("utf-8")
