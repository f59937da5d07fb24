"""Configurations: the document's, and those of files."""

import pytest

from d2eval.cifar10.protocol import PAPER, chosen_configurations, load_benchmark
from d2eval.foundation.errors import D2EvalError

PROTOCOL = load_benchmark()


@pytest.fixture
def of(tmp_path):
    """The configurations of a file with some text."""

    def read(text: str):
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return chosen_configurations(str(path), PROTOCOL)

    return read


def test_the_documents_models():
    found = chosen_configurations(PAPER, PROTOCOL)
    assert [(c.weight_decay, c.nesterov, c.epochs) for c in found] == [
        (0.01, True, 13), (0.0, True, 6), (0.0, False, 10),
    ]  # fmt: skip
    for c in found:
        assert (c.optimizer, c.learning_rate, c.momentum, c.batch_size) == ("SGD", 0.016, 0.9, 64)
        assert c.scheduler_text == "StepLR(step_size=5, gamma=0.1)"
    assert found[0].optimizer_text == (
        "SGD(lr=0.016, momentum=0.9, weight_decay=0.01, nesterov=True)"
    )


def test_a_list_means_each_of_its_values(of):
    found = of("weight_decay = [0.0, 0.01]\nnesterov = [true, false]\nepochs = 3\n")
    assert [(c.weight_decay, c.nesterov, c.epochs) for c in found] == [
        (0.0, True, 3), (0.01, True, 3), (0.0, False, 3), (0.01, False, 3),
    ]  # fmt: skip
    assert of("") == (PROTOCOL.configuration({}),)


def test_tables_stand_over_what_is_above_them(of):
    found = of("epochs = 2\n[[configurations]]\n[[configurations]]\nepochs = [4, 5]\n")
    assert [c.epochs for c in found] == [2, 4, 5]


def test_those_that_are_the_same_are_trained_once(of):
    found = of('optimizer = ["SGD", "Adam"]\nnesterov = [true, false]\nlearning_rate = 0.001\n')
    assert [c.optimizer_text for c in found] == [
        "SGD(lr=0.001, momentum=0.9, weight_decay=0, nesterov=True)",
        "SGD(lr=0.001, momentum=0.9, weight_decay=0, nesterov=False)",
        "Adam(lr=0.001, weight_decay=0)",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nestrov = true", "no option 'nestrov'; did you mean nesterov"),
        ('epochs = "3"', "epochs = '3' must be a int"),
        ("epochs = 0", "epochs = 0: out of range"),
        ("learning_rate = inf", "learning_rate = inf: out of range"),
        ("learning_rate = nan", "learning_rate = nan: out of range"),
        ("momentum = 0.0", "nesterov = true: goes with a momentum"),
        ('optimizer = "sgd"', "optimizer = 'sgd'; choose from SGD, Adam"),
        ("patience = 2", "patience = 2: wants held_out images"),
        ("epochs = []", "has no configuration"),
        ("configurations = 3", "must be tables"),
        (f"epochs = {list(range(1, 40))}\nheld_out = {list(range(40))}", "more than 1000"),
        ("epochs = ", "not a TOML file"),
    ],
)
def test_mistakes_name_the_file(of, text, reason):
    with pytest.raises(D2EvalError, match=reason) as caught:
        of(text)
    assert str(caught.value).count("sweep.toml") == 1


def test_a_file_that_is_not_there():
    with pytest.raises(D2EvalError, match=r"paper\.toml: is missing"):
        chosen_configurations("paper.toml", PROTOCOL)
