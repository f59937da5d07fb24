import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.text.words import check_name, is_image_size, name_problem, real, reals, whole


@pytest.mark.parametrize(
    "name", ["a", "db/1 2.jpg", "query/\u6771\u4eac\u3000.png", "a..b/...c", "-", "x" * 255]
)
def test_names_below_a_folder(name):
    assert name_problem(name) is None
    assert check_name(name, "here") == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is no file's"),
        (".", "is no file's"),
        ("..", "is no file's"),
        ("./", "is no file's"),
        ("../a", "leads out of the dataset's folder"),
        ("a/../b", "leads out of the dataset's folder"),
        ("/a", "is an absolute path"),
        ("//a", "is an absolute path"),
        ("a\0", "holds control characters or isn't UTF-8"),
        ("a\nb", "holds control characters or isn't UTF-8"),
        ("a\u2028b", "holds control characters or isn't UTF-8"),
        ("a\x1b[2J", "holds control characters or isn't UTF-8"),
        ("a\x85", "holds control characters or isn't UTF-8"),
        ("a\udcff", "holds control characters or isn't UTF-8"),
        ("x" * 256, "is too long"),
        ("\u6771" * 86, "is too long"),
        ("x/" * 501 + "y", "is too long"),
    ],
)
def test_names_that_no_image_below_a_folder_has(name, problem):
    assert name_problem(name) == problem
    with pytest.raises(D2EvalError) as error:
        check_name(name, "line 3")
    assert str(error.value) == f"line 3: the image name {name[:100]!r} {problem}; mend it"


@given(st.text())
def test_a_name_without_a_problem_stays_below(tmp_path_factory, name):
    if name_problem(name) is None:
        folder = tmp_path_factory.getbasetemp()
        assert (folder / name).resolve().is_relative_to(folder.resolve())
        assert not (folder / name).is_file()


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_whole_numbers(value):
    assert whole(str(value)) == value
    assert real(str(value)) == float(value)


@pytest.mark.parametrize(
    "word",
    ["", "-", "1.0", "1e3", "1_0", "0x1", "\u0663", "\u00b2", "+-1", str(10**18), "9" * 4301],
)
def test_what_is_no_whole_number(word):
    with pytest.raises(ValueError, match="is no whole number"):
        whole(word)


@pytest.mark.parametrize("word", ["", "1_0", "\u0663", "1,5", "0x1", "one"])
def test_what_is_no_number(word):
    with pytest.raises(ValueError, match=r"is no number|could not convert"):
        real(word)
    assert reals([word, "1"], 2) is None


def test_so_many_numbers():
    assert reals(["1", "-2.5e-3", ".5"], 3) == [1, -0.0025, 0.5]
    assert reals(["1", "2"], 3) is None


def test_sizes_of_images():
    assert is_image_size(1, 1_000_000)
    for size in ((0, 1), (-1, 1), (1, 1_000_001), (1.5, 1), ("1", 1), (None, 1)):
        assert not is_image_size(*size)
