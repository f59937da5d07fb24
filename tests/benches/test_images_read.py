"""Workers whose reading is simulated do all pairs, and read what they don't hold."""

from images_read import Reading

from d2eval.scheduling.executor import Spread

PAIRS = [(first, first + 1 + k) for first in range(60) for k in range(3)]  # of 63 images


def read(count, held):
    workers = Reading(count, pair_s=0.05, image_s=0.1, held=held)
    spread = Spread(workers, b"", "pairs", [tuple(map(str, pair)) for pair in PAIRS], lambda _: 0)
    spread.run()
    assert spread.failures == []
    return workers


def test_images_that_are_held_are_read_once():
    workers = read(1, held=63)
    assert workers.images == 63
    assert round(workers.now, 6) == round(180 * 0.05 + 63 * 0.1, 6)
    assert read(1, held=1).images == 2 * 180  # no two in a row are of one image


def test_a_worker_reads_its_stretch():
    # Where a stretch begins and ends three images more are read, whoever holds how many
    found = read(2, held=4).images
    assert 63 < found < 2 * 40
