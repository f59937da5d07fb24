"""What README, CONTRIBUTING and docs/ say: links lead somewhere, commands exist."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
from places import REPOSITORY

from d2eval.cli import _for_each_method, _parser

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
COMMAND = re.compile(r"python -m d2eval [^`#\n]*")
PAGES = [
    REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]  # fmt: skip


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def broken_links(page: Path) -> list[str]:
    """Relative links that lead to no file, or to no heading of a page."""
    broken = []
    for link in LINK.findall(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)):
        if "://" in link:
            continue
        name, _, wanted = link.partition("#")
        target = page.parent / name if name else page
        found = target.exists()
        if found and wanted:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            found = wanted in map(anchor, headings)
        if not found:
            broken.append(link)
    return broken


def commands(page: Path) -> list[str]:
    """Command lines of d2eval, without what a shell does beside."""
    text = re.sub(r"\\\n\s*", "", page.read_text())
    return [re.split(r"&&|;|\|", found)[0].strip() for found in COMMAND.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_links_that_lead_nowhere_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One `x`\n[a](b.md) [c](#one-x) [d](#two) [e](page.md#one-x) [f](https://g.h)"
    )
    assert broken_links(page) == ["b.md", "#two"]


@pytest.fixture
def precomputed(tmp_path, monkeypatch):
    """Where words for files of the reader's own are files."""
    monkeypatch.chdir(tmp_path)
    for name in ("DIR", "FEATURES"):
        (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))


LINES = sorted({(page.name, line) for page in PAGES for line in commands(page)})


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{p} {c}" for p, c in LINES])
def test_commands_parse(page, line, precomputed, capsys):
    arguments = shlex.split(line)[3:]
    command = next(word for word in arguments if not word.startswith("-"))
    arguments = [MODULES.get(word, word) for word in arguments]
    for each in _for_each_method(command, arguments):
        try:
            parsed = _parser(command, each).parse_args(each)
        except SystemExit as ended:
            assert ended.code == 0, capsys.readouterr().err  # --help
        else:
            assert isinstance(parsed, argparse.Namespace)
            assert parsed.command == command


MODULES = {  # copies of the templates, as the pages call them
    "methods.mine:MyFeature": "methods.TEMPLATE:MyFeature",
    "methods.my_matcher:MyMatcher": "methods.TEMPLATE_MATCHER:MyMatcher",
}


def test_every_page_of_docs_is_linked():
    linked = {link.partition("#")[0] for link in LINK.findall(PAGES[0].read_text())}
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert f"docs/{page.name}" in linked


def test_the_readme_is_a_page():
    assert len(PAGES[0].read_text().splitlines()) <= 120
