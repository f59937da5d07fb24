import dataclasses

import numpy as np
import pytest
from dense_maps import random_maps

from d2eval.contracts.maps import Maps
from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.poses.dense import DenseSettings, homography_groups, match_dense
from d2eval.metrics.homography import project

SETTINGS = DenseSettings(2, 400, 10.0, 0.999, 100, 10000, "center", "poselib")


def with_(**changes) -> DenseSettings:
    return dataclasses.replace(SETTINGS, **changes)


# Homographies


TILTED = np.array([[0.9, 0.05, 4.0], [-0.04, 1.05, 2.0], [5e-4, -3e-4, 1.0]])
OTHER = np.array([[0.3, -0.9, 150.0], [0.8, 0.4, -9.0], [1e-4, 2e-4, 1.0]])


def planes(counts: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Matches of two planes, then wrong ones."""
    rng = np.random.default_rng(seed)
    n = sum(counts)
    first = rng.uniform(0, [200, 150], (n, 2))
    end = counts[0] + counts[1]
    second = np.concatenate(
        [
            project(TILTED, first[: counts[0]]),
            project(OTHER, first[counts[0] : end]),
            rng.uniform(1000, 4000, (counts[2], 2)),
        ]
    )
    return first, second


def test_two_planes_are_told_apart():
    first, second = planes((900, 600, 500))
    groups = homography_groups(first, second, SETTINGS, seed=1)
    assert len(groups) == 2
    for group, low, high in ((groups[0], 0, 900), (groups[1], 900, 1500)):
        planted = set(range(low, high))
        # Some matches of one plane agree with the other within ten cells.
        assert len(planted & set(group.tolist())) > 0.9 * len(planted)
        assert np.mean(np.isin(group, list(planted))) > 0.9
        assert (np.diff(group) > 0).all()
    assert not set(groups[0]) & set(groups[1])
    assert max(map(max, groups)) < 1500


def test_no_more_homographies_than_asked():
    first, second = planes((900, 600, 0))
    assert len(homography_groups(first, second, with_(max_homographies=1), seed=1)) == 1


def test_more_inliers_than_the_limit():
    for count, homographies in ((400, 0), (401, 1)):
        first, second = planes((count, 0, 100))
        groups = homography_groups(first, second, SETTINGS, seed=1)
        assert len(groups) == homographies
        assert sum(map(len, groups)) == count * homographies


def test_the_second_needs_as_many():
    first, second = planes((900, 350, 0))
    groups = homography_groups(first, second, SETTINGS, seed=1)
    assert len(groups) == 1


def test_the_error_is_measured_in_cells_of_the_cutout():
    # 1000 exact matches pin the identity; others are off by so many cells.
    rng = np.random.default_rng(2)
    exact = rng.uniform(0, 200, (1000, 2))
    off = np.array([[9.5, 0], [0, -9.5], [7.5, 7.5], [10.5, 0]])
    points = np.full((4, 2), 100.0)
    groups = homography_groups(
        np.concatenate([exact, points]), np.concatenate([exact, points + off]), SETTINGS, 0
    )
    assert groups[0].tolist() == [*range(1000), 1000, 1001]


def test_the_demos_ransac_keeps_less():
    # What the wrong minimal homographies cost: of two planes a share is lost that right ones find.
    demo = with_(ransac="inloc_demo")
    first, second = planes((900, 600, 500))
    kept = [sum(map(len, homography_groups(first, second, s, seed=1))) for s in (SETTINGS, demo)]
    assert kept[0] > 1450 > 1300 > kept[1] > 400
    once, again = (homography_groups(first, second, demo, seed=1) for _ in range(2))
    assert [group.tolist() for group in once] == [group.tolist() for group in again]


def test_the_seed_decides():
    first, second = planes((500, 450, 3000), seed=5)
    once = homography_groups(first, second, SETTINGS, seed=4)
    again = homography_groups(first, second, SETTINGS, seed=4)
    assert [group.tolist() for group in once] == [group.tolist() for group in again]


# Both together


def cropped(maps: Maps, rows: int, columns: int) -> Maps:
    """The image without its first coarse rows and columns."""
    size = (maps.network_size[0] - 16 * columns, maps.network_size[1] - 16 * rows)
    return dataclasses.replace(
        maps,
        coarse=maps.coarse[rows:, columns:],
        fine=maps.fine[2 * rows :, 2 * columns :],
        network_size=size,
        image_size=size,
    )


@pytest.mark.parametrize("cell_point", ["center", "inloc_demo"])
def test_an_image_and_its_crop(cell_point):
    query = random_maps(np.random.default_rng(1), (20, 25), (40, 50), scale=2)
    cutout = cropped(query, 2, 3)
    found = match_dense(query, cutout, with_(cell_point=cell_point), seed=0)
    assert found.coarse == 18 * 22
    assert found.fine == len(found) == 36 * 44
    assert found.inliers == (36 * 44,)
    # The cutout is as the network saw it, the query twice as large.
    # The demo's camera takes indices that count from 1 as they are, which is a pixel too much, and
    # half a pixel again for a query that is twice as large.
    more = 0.0 if cell_point == "center" else 0.75
    assert np.abs((found.query + 0.5) / 2 - 0.5 - more - found.cutout - [48, 32]).max() < 1e-9
    first = np.lexsort((found.cutout[:, 0], found.cutout[:, 1]))[0]
    # Cell 0 is pixel 0 to 7. The demo takes 8 * 1, counted from 1; of the query 16 * (6 + 1).
    expected = {"center": [[3.5, 3.5], [103.5, 71.5]], "inloc_demo": [[7, 7], [112, 80]]}
    assert [found.cutout[first].tolist(), found.query[first].tolist()] == expected[cell_point]


@pytest.mark.parametrize(("size", "cell"), [((4032, 3024), 20.16), ((3024, 4032), 20.16)])
def test_the_demos_points_of_a_query_by_hand(size, cell):
    # parfor_densePE of an iPhone's photo: 200x150 fine cells of 1600x1200, so that a cell has 20.16
    # pixels, and cell (u, v), counted from 1, goes to the camera as 20.16 (u, v).
    small = (size[0] * 1600 // 4032, size[1] * 1600 // 4032)
    columns, rows = small[0] // 8, small[1] // 8
    rng = np.random.default_rng(1)
    maps = random_maps(rng, (rows // 2, columns // 2), (rows, columns))
    query = dataclasses.replace(maps, network_size=small, image_size=size)
    cutout = dataclasses.replace(maps, network_size=small, image_size=small)
    found = match_dense(query, cutout, with_(cell_point="inloc_demo", tolerance_cells=0.5), seed=0)
    assert len(found) > 0.9 * rows * columns
    indices = (found.cutout + 1) / 8  # sub2ind takes 8 (u, v)
    np.testing.assert_array_equal(indices, np.rint(indices))
    assert indices.min() == 1
    np.testing.assert_allclose(found.query, cell * indices, rtol=1e-12)


def test_images_of_different_places():
    rng = np.random.default_rng(4)
    sides = [random_maps(rng, (20, 25), (40, 50)) for _ in range(2)]
    # Within ten cells of so small maps, hundreds of wrong matches agree by chance.
    found = match_dense(*sides, with_(tolerance_cells=1.0), seed=0)
    assert (found.inliers, found.query.shape, found.cutout.shape) == ((), (0, 2), (0, 2))
    assert found.coarse > 20
    assert found.fine > found.coarse


def test_an_image_without_cells():
    rng = np.random.default_rng(4)
    whole = random_maps(rng, (3, 4), (6, 8))
    empty = Maps(np.zeros((0, 0, 6)), np.zeros((0, 0, 4)), 16, 8, 3.5, (9, 9), (9, 9))
    for sides in ((whole, empty), (empty, whole), (empty, empty)):
        found = match_dense(*sides, SETTINGS, 0)
        assert (found.coarse, found.fine, len(found)) == (0, 0, 0)


def test_settings_that_are_not_known():
    with pytest.raises(D2EvalError, match="cell_point 'corner' is not known"):
        with_(cell_point="corner")
    with pytest.raises(D2EvalError, match="ransac 'opencv' is not known; use poselib or inloc_d"):
        with_(ransac="opencv")
