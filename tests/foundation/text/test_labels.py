"""One rule for what runs and files are called."""

from hypothesis import given
from hypothesis import strategies as st

from d2eval.foundation.text.labels import MOST_BYTES, check_label, label_problem, make_label


def test_labels_of_today_are_labels():
    for label in ("d2_ms", "d2_ms-top2000", "rootsift-v_bird", "mine 4k", "größer", "a.b-c,d"):
        assert check_label(label) == make_label(label) == label


def test_the_nearest_label():
    assert make_label("v_*") == "v_all"
    assert make_label("i_leuven,v_bird") == "i_leuven,v_bird"
    assert make_label("methods/x:Y") == "methods_x_Y"
    assert make_label("..") == make_label("") == "unnamed"
    assert make_label("\x1b[31mred\n") == "_[31mred_"


def test_long_texts_stay_apart():
    names = {make_label("v_bird," * 40 + end) for end in "abc"}
    assert len(names) == 3


@given(st.text() | st.text(alphabet="./\\-=+@ *?ab\n\x1b\u202e\ud800", max_size=400))
def test_whatever_it_is_made_of_is_a_label(text):
    label = make_label(text)
    assert label_problem(label) is None
    assert len(label.encode()) <= MOST_BYTES
    assert make_label(label) == label
    if label_problem(text) is None:
        assert label == text
