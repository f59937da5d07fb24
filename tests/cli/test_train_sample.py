"""`d2eval train` without data, over crops of the size that users train on."""

import pandas as pd
import pytest

from d2eval.cli import main


@pytest.mark.slow
def test_two_epochs_on_the_sample_teach_something(tmp_path, capsys):
    options = {"--output": tmp_path / "run", "--cache": tmp_path / "cache", "--workers": 0}
    options |= {"--epochs": 2, "--validation-photos": 1}
    assert main(["train", *(str(word) for option in options.items() for word in option)]) == 0
    assert capsys.readouterr().err == ""
    losses = pd.read_csv(tmp_path / "run" / "epochs.csv")["validation_loss"]
    assert losses.is_monotonic_decreasing
    assert losses.iloc[-1] < 0.8 * losses[0]
