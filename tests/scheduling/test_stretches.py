"""Which units a worker gets: a stretch of its own, then half of another's."""

from hypothesis import given
from hypothesis import strategies as st

from d2eval.scheduling.stretches import Stretches


def test_each_worker_goes_through_a_stretch_of_its_own():
    left = Stretches(range(10), 2)
    assert left.take("a", 2) == (0, 1)
    assert left.take("b", 2) == (5, 6)
    assert left.take("a", 2) == (2, 3)
    assert len(left) == 4
    # its end, and then the second half of the longest, 7, 8, 9
    assert left.take("a", 2) == (4,)
    assert left.take("a", 2) == (8, 9)
    assert left.take("c", 2) == (7,)  # one that came later
    assert len(left) == 0


def test_what_was_not_done_comes_next():
    left = Stretches(range(6), 1)
    assert left.take("a", 4) == (0, 1, 2, 3)
    left.put_back("a", (2, 3))
    assert len(left) == 4
    assert left.take("a", 3) == (2, 3, 4)
    left.put_back("gone", (3, 4))  # by one that asks for no more
    assert left.take("a", 9) == (5,)
    assert left.take("a", 9) == (4,)
    assert left.take("a", 9) == (3,)
    assert len(left) == 0


@given(
    st.integers(1, 60),
    st.integers(0, 70),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 9), st.integers(0, 9)), max_size=90),
)
def test_each_unit_is_given_once(units, count, turns):
    left = Stretches(range(units), count)
    done = []
    for worker, size, back in turns:
        if not len(left):
            break
        found = left.take(worker, size)
        assert 0 < len(found) <= size
        kept = max(len(found) - back, 0)
        done += found[:kept]
        left.put_back(worker, found[kept:])
        assert len(left) == units - len(done)
    while len(left):
        done += left.take("e", 7)
    assert sorted(done) == list(range(units))
