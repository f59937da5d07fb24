"""The order in which pairs are matched."""

from collections import OrderedDict

from places import DATA, needs

from d2eval.aachen.data.parsing import read_pairs
from d2eval.aachen.order import near_each_other

LIST = DATA / "aachen-meta/image_pairs_to_match.txt"


def read_again(pairs, held):
    """How many images are read if so many that were used last are held."""
    memory, count = OrderedDict(), 0
    for name in (name for pair in pairs for name in pair):
        count += name not in memory
        memory[name] = None
        memory.move_to_end(name)
        if len(memory) > held:
            memory.popitem(last=False)
    return count


def test_pairs_of_an_image_come_together():
    # Two groups whose names alternate: by name, all images would be held until the end
    pairs = [(f"{k}{a}", f"{k}{b}") for a in "wxyz" for b in "wxyz" if a < b for k in range(2)]
    ordered = near_each_other([(b, a) for a, b in pairs])
    assert sorted(ordered) == sorted((b, a) for a, b in pairs)
    assert [pair[0][0] for pair in ordered] in (["0"] * 6 + ["1"] * 6, ["1"] * 6 + ["0"] * 6)


def test_without_pairs_there_is_no_order():
    assert near_each_other([]) == []


@needs(LIST)
def test_few_images_of_the_challenge_s_list_are_read_twice():
    pairs = read_pairs(LIST).pairs
    ordered = near_each_other(pairs)
    assert sorted(ordered) == sorted(pairs)
    assert len({name for pair in pairs for name in pair}) == 1182
    assert read_again(sorted(pairs), held=45) == 6677
    assert read_again(ordered, held=45) == 1287
