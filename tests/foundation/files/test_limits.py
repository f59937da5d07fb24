from pathlib import Path

import pytest

from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.limits import Budget, Limits


def test_the_environment_sets_limits():
    limits = Limits()
    limits.read({"D2EVAL_MAX_IMAGE_PIXELS": "7", "D2EVAL_MAX_UNPACKED_MIB": ""})
    assert limits == Limits(7, 256)
    limits.read({"D2EVAL_MAX_UNPACKED_MIB": "1024"})
    assert limits == Limits(7, 1024)


@pytest.mark.parametrize("text", ["0", "-1", "1e9", "4GB", "\u0664", "9" * 5000])
def test_limits_that_are_none(text, monkeypatch, capsys):
    with pytest.raises(D2EvalError, match="D2EVAL_MAX_IMAGE_PIXELS"):
        Limits().read({"D2EVAL_MAX_IMAGE_PIXELS": text})
    monkeypatch.setenv("D2EVAL_MAX_IMAGE_PIXELS", text)
    assert main(["methods"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("d2eval: D2EVAL_MAX_IMAGE_PIXELS=")
    assert said.count("\n") == 1
    assert len(said) < 200


def test_a_budget_grows_with_the_file():
    small, large = Budget(Path("a"), 10), Budget(Path("a"), 2**25)
    small.take(2**28)
    large.take(20 * 2**25)
    for budget in (small, large):
        with pytest.raises(D2EvalError, match=r"^a: holds more than 256 MiB and 20 times"):
            budget.take(1)
