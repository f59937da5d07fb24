"""Views of photos: the homographies against a camera worked out by hand, crops against pixels."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.homography import project
from methods.d2net.training.data.homographies import (
    HomographyPairs,
    photos_in,
    read_photo,
    split_photos,
    take_picture,
    view_homography,
)
from methods.d2net.training.data.pairs import cell_centers
from methods.d2net.training.data.views import Views

WIDTH, HEIGHT = 240, 200  # of the ramp, whose red is x and whose green is y


@pytest.fixture
def ramp(tmp_path):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, :, 0] = np.arange(WIDTH)
    image[:, :, 1] = np.arange(HEIGHT)[:, None]
    path = tmp_path / "photos" / "ramp.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), image[:, :, ::-1])
    return path


def test_a_straight_view_shifts_and_scales():
    homography = view_homography((100.0, 50.0), 128.0, (256, 256))
    points = project(homography, np.array([[100.0, 50.0], [110.0, 50.0], [100.0, 45.0]]))
    assert points == pytest.approx(np.array([[127.5, 127.5], [147.5, 127.5], [127.5, 117.5]]))


@given(
    st.floats(0, 1.0), st.floats(0, 6.28), st.floats(-1, 1), st.floats(-40, 40), st.floats(-40, 40)
)
@settings(max_examples=50, deadline=None)
def test_a_tilted_view_is_a_cameras(tilt, azimuth, roll, x, y):
    found = project(
        view_homography((10.0, 20.0), 200.0, (300, 100), tilt, azimuth, roll),
        np.array([[10.0 + x, 20.0 + y]]),
    )[0]
    # The point of the plane, turned about an axis in the plane by Rodrigues' formula.
    axis, point = np.array([np.cos(azimuth), np.sin(azimuth), 0.0]), np.array([x, y, 0.0])
    turned = (
        point * np.cos(tilt)
        + np.cross(axis, point) * np.sin(tilt)
        + axis * axis.dot(point) * (1 - np.cos(tilt))
    )
    depth = turned[2] + 1.2 * 200.0
    right, down = 1.2 * 300 * turned[0] / depth, 1.2 * 300 * turned[1] / depth
    expected = (
        149.5 + np.cos(roll) * right - np.sin(roll) * down,
        49.5 + np.sin(roll) * right + np.cos(roll) * down,
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_picture_shows_the_photo_where_the_homography_says(ramp):
    photo = cv2.imread(str(ramp))[:, :, ::-1]
    homography = view_homography((120.0, 100.0), 90.0, (64, 48), 0.6, 1.0, 0.3)
    picture = take_picture(photo, homography, (64, 48)).astype(float)
    pixels = np.array([[31.0, 24.0], [5.0, 6.0], [60.0, 40.0]])
    seen = project(np.linalg.inv(homography), pixels)
    for (x, y), (u, v) in zip(pixels.astype(int), seen, strict=True):
        assert picture[y, x, :2] == pytest.approx([u, v], abs=1.0)


def test_correspondences_show_the_same_place(ramp):
    source = HomographyPairs([ramp], Views(light=0.0))
    for number in range(5):
        pair = source.draw(0, np.random.default_rng(number))
        assert pair is not None
        assert pair.image_1.shape == pair.image_2.shape == (256, 256, 3)
        assert len(pair.cells_1) == len(pair.cells_2) >= 128
        places = []
        for image, cells in ((pair.image_1, pair.cells_1), (pair.image_2, pair.cells_2)):
            x, y = cell_centers(cells).T
            # Four pixels meet at a cell's centre.
            corners = [
                image[(y + i).astype(int), (x + j).astype(int), :2].astype(float)
                for i in (-0.5, 0.5)
                for j in (-0.5, 0.5)
            ]
            places.append(np.mean(corners, axis=0))
        # Cells of image 2 are rounded: half of 8 pixels of a crop that shows at most 348 pixels
        # of the photo across at its centre, up to three times as many at its far side.
        # Beside the photo's border pixels are black.
        interior = ((places[0] > 20) & (places[0] < (WIDTH - 20, HEIGHT - 20))).all(axis=1)
        difference = np.abs(places[0] - places[1])[interior]
        assert len(difference) > 100
        assert difference.max() < 17
        assert difference.mean() < 3


def test_draws_depend_on_the_random_numbers_alone(ramp):
    source = HomographyPairs([ramp])
    first = source.draw(0, np.random.default_rng([1, 2]))
    again = source.draw(0, np.random.default_rng([1, 2]))
    other = source.draw(0, np.random.default_rng([1, 3]))
    assert (first.image_1 == again.image_1).all()
    assert (first.image_2 == again.image_2).all()
    assert (first.cells_2 == again.cells_2).all()
    assert (first.image_1 != other.image_1).any()


def test_light_changes_colours_but_no_places(ramp):
    plain = HomographyPairs([ramp], Views(light=0.0)).draw(0, np.random.default_rng(3))
    lit = HomographyPairs([ramp], Views(light=1.0)).draw(0, np.random.default_rng(3))
    assert (plain.cells_1 == lit.cells_1).all()
    assert (plain.cells_2 == lit.cells_2).all()
    assert np.abs(plain.image_1.astype(int) - lit.image_1).mean() > 5
    assert np.abs(plain.image_2.astype(int) - lit.image_2).mean() > 5


def test_views_without_common_ground_give_no_pair(ramp):
    views = Views(width=(0.2, 0.2), zoom=0.0, shift=5.0, visible=0.0)
    source = HomographyPairs([ramp], views)
    drawn = [source.draw(0, np.random.default_rng(n)) for n in range(20)]
    assert sum(pair is None for pair in drawn) > 10


def test_photos_held_out(tmp_path):
    for number in range(25):
        path = tmp_path / str(number % 3) / f"{number:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.zeros((70, 90, 3), np.uint8))
    photos = photos_in(tmp_path)
    training, validation = split_photos(photos, False), split_photos(photos, True)
    assert len(validation) == 3
    assert sorted(training + validation) == photos
    assert len(HomographyPairs(training, Views(per_photo=4))) == 88


@pytest.mark.parametrize("case", ["missing", "empty", "single"])
def test_folders_without_photos(tmp_path, case):
    folder = tmp_path / "photos"
    if case != "missing":
        folder.mkdir()
    if case == "single":
        (folder / "one.png").touch()
    with pytest.raises(D2EvalError, match=r"photos|only photo") as caught:
        split_photos(photos_in(folder), False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "read"), [((1200, 1000), (614, 512)), ((600, 512), (600, 512))])
def test_large_photos_are_averaged_down_to_what_a_crop_samples(tmp_path, size, read):
    # Every other column is white: sampled they would stay so, averaged they are grey.
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[:, ::2] = 255
    cv2.imwrite(str(tmp_path / "striped.png"), image)
    photo = read_photo(tmp_path / "striped.png")
    assert photo.shape[1::-1] == read
    assert (np.abs(photo.astype(int) - 127) < 80).all() == (size != read)


def test_broken_and_tiny_photos(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no image")
    with pytest.raises(D2EvalError, match=r"broken\.jpg"):
        HomographyPairs([broken]).draw(0, np.random.default_rng(0))
    tiny = tmp_path / "tiny.png"
    cv2.imwrite(str(tiny), np.zeros((20, 300, 3), np.uint8))
    with pytest.raises(D2EvalError, match=r"tiny\.png: is smaller than 64 pixels"):
        HomographyPairs([tiny])
