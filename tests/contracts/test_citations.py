"""BibTeX entries that classes name."""

import sys

import pytest

from d2eval.contracts.citations import papers_of
from d2eval.contracts.maps import maps_class
from d2eval.contracts.matcher import matcher_class
from d2eval.contracts.method import Method, method_class
from d2eval.contracts.registry import BENCHMARKS, MAPS, registered
from d2eval.evaluation.benchmark import benchmark_class
from d2eval.foundation.errors import D2EvalError

ENTRY = """@article{mine2025,
  title = {A {T}itle, with @ and, commas},
  author = {M\\"uller, Jo\\~ao and {van der} Berg, A. and Third, B.},
  journal = {Some Journal (SJ)},
  year = {2025},
}
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """The class of a module of another author, with a file of entries beside it."""

    def outside(bib: str | None, papers: object = ("mine2025",)) -> type[Method]:
        (tmp_path / "outside_cited.py").write_text(
            f"from d2eval import Method\nclass Mine(Method):\n    papers = {papers!r}\n"
        )
        if bib is not None:
            (tmp_path / "citations.bib").write_text(bib)
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop("outside_cited", None)
        return method_class("outside_cited:Mine")

    yield outside
    sys.modules.pop("outside_cited", None)


def test_every_paper_that_something_shipped_names_is_there():
    kinds = {"methods": method_class, MAPS: maps_class, "matchers": matcher_class}
    classes = [find(name) for kind, find in kinds.items() for name in registered(kind)]
    classes += [benchmark_class(name) for name in registered(BENCHMARKS)]
    papers = [paper for cls in classes for paper in papers_of(cls)]
    assert len({paper.key for paper in papers}) > 20
    for paper in papers:
        assert paper.entry.count("{") == paper.entry.count("}")
        assert not set("\\{}$") & set(paper.short)
        assert len(paper.short) <= 40


def test_an_entry_beside_the_module_of_others(outside):
    (paper,) = papers_of(outside(f"% a comment\n{ENTRY}\n"))
    assert paper.entry + "\n" == ENTRY
    assert paper.short == "Muller et al., SJ 2025"


def test_a_subclass_elsewhere_keeps_the_papers_of_its_base(outside):
    class Derived(outside(ENTRY)):
        pass

    assert [paper.key for paper in papers_of(Derived)] == ["mine2025"]


def test_d2evals_own_entries_serve_all(outside):
    assert papers_of(outside(None, ("dusmanu2019d2net",)))[0].short == "Dusmanu et al., CVPR 2019"


def test_nothing_stated_is_no_paper(outside):
    assert papers_of(outside(None, None)) == papers_of(outside(None, ())) == []


@pytest.mark.parametrize(
    ("bib", "message"),
    [
        (None, r"citations\.bib: has no entry mine2025, which Mine names; add it"),
        (ENTRY.replace("year", "yaer"), r"citations\.bib: mine2025 has no year = "),
    ],
)
def test_a_missing_entry_is_one_line(outside, bib, message):
    with pytest.raises(D2EvalError, match=message):
        papers_of(outside(bib))
