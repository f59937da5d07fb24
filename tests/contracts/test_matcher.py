"""The choice of a matcher, by a protocol's file or by name."""

import pytest

from d2eval.contracts.matcher import Matcher, MatcherChoice, matcher_class
from d2eval.contracts.registry import registered
from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.protocol import load_benchmark

SHIPPED = {"mnn", "ratio", "mnn_ratio", "dual_softmax"}


def test_registered_names_lead_to_matchers():
    assert set(registered("matchers")) >= SHIPPED
    for name in registered("matchers"):
        assert issubclass(matcher_class(name), Matcher)
    assert matcher_class("methods.matchers.mnn:MutualNearest") is matcher_class("mnn")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mutual-nn", "unknown matcher 'mutual-nn'; did you mean "),
        ("ratio-0.8", "unknown matcher 'ratio-0.8'; did you mean ratio"),
        ("rootsift", "has it in the table [methods], not in [matchers]"),
        ("methods.rootsift:RootSIFT", "RootSIFT is not a d2eval.Matcher"),
        ("nowhere:Matcher", "can't be imported (ModuleNotFoundError"),
    ],
)
def test_what_is_no_matcher(name, says):
    with pytest.raises(D2EvalError) as caught:
        MatcherChoice(name).config()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, '[matcher] names none; write name = "mnn"'),
        ({"name": 3}, '[matcher] names none; write name = "mnn"'),
        ({"name": "mutual-nn"}, "[matcher] unknown matcher 'mutual-nn'; did you mean"),
        ({"name": "ratio", "ration": 0.8}, "[matcher] matcher 'ratio': no option 'ration'; did"),
        ({"name": "ratio", "xyz": 0.8}, "[matcher] matcher 'ratio': no option 'xyz'; known: ratio"),
        ({"name": "ratio", "ratio": "0.8"}, "[matcher] matcher 'ratio': ratio = '0.8' must be a"),
        ({"name": "ratio", "ratio": True}, "[matcher] matcher 'ratio': ratio = True must be a"),
        ({"name": "ratio", "ratio": 1.5}, "[matcher] matcher 'ratio': ratio must be above 0 and"),
        ({"name": "mnn", "max_distance": 0}, "[matcher] matcher 'mnn': max-distance must be above"),
        ({"name": "dual_softmax", "temperature": float("nan")}, "temperature must be 0.0001 or"),
        ({"name": "dual_softmax", "threshold": 1}, "threshold must be 0 or more, and below 1"),
    ],
)
def test_a_broken_table_is_one_line_with_the_file(table, says):
    with pytest.raises(D2EvalError) as caught:
        MatcherChoice.of_table(table, "mine.toml").config()
    assert str(caught.value).startswith("mine.toml: [matcher] ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_with_options():
    choice = MatcherChoice.of_table({"name": "ratio", "ratio": 1}, "mine.toml")
    assert choice.config() == matcher_class("ratio").Config(ratio=1.0)
    assert choice.same_as(MatcherChoice("ratio", {"ratio": 1.0}))
    assert not choice.same_as(MatcherChoice("ratio"))
    assert not choice.same_as(MatcherChoice("mnn_ratio", {"ratio": 1.0}))


def test_a_protocol_names_its_matcher():
    assert load_benchmark().matcher.same_as(MatcherChoice("mnn"))
