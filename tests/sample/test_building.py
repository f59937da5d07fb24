import numpy as np
import pytest

from d2eval.sample.building import FLOORS
from d2eval.sample.photos import load_photo
from d2eval.sample.scene import Camera, Scene, look_at, render
from d2eval.sample.walls import name_photos, paint_walls

AROUND = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]
WIDE = Camera(90, 110, 44.0, 45.0, 55.0)  # a little more than 90 degrees
NAMES = [floor.name for floor in FLOORS]


@pytest.fixture(scope="module")
def scenes():
    photos = {
        name: load_photo(name).decode()
        for name in name_photos(wall for floor in FLOORS for wall in floor.all_walls())
    }
    return {floor.name: Scene(paint_walls(floor.all_walls(), photos)) for floor in FLOORS}


def test_two_floors_of_three_scans_and_four_queries():
    assert NAMES == ["DUC1", "DUC2"]
    for floor in FLOORS:
        assert len(floor.stations) == 3
        assert len(floor.queries) == 4
        assert floor.panes
        for station in floor.stations:
            assert 4 <= len(set(station.cutouts)) == len(station.cutouts) <= 6
            assert {pitch for _, pitch in station.cutouts} <= {-30, 0, 30}
            assert all(yaw % 30 == 0 and 0 <= yaw < 360 for yaw, _ in station.cutouts)
    names = [query.name for floor in FLOORS for query in floor.queries]
    assert len(set(names)) == 8
    assert names == sorted(names)
    pitches = {pitch for f in FLOORS for s in f.stations for _, pitch in s.cutouts}
    assert pitches == {-30, 0, 30}


def test_queries_have_the_cameras_of_the_benchmarks_rule():
    sizes = set()
    for floor in FLOORS:
        for query in floor.queries:
            camera = query.camera
            sizes.add((camera.width, camera.height))
            assert camera.focal == pytest.approx(480 * 3136 / 4032)
            assert camera.radial == 0
            # (W/2, H/2) from the first pixel's centre, which COLMAP has at (0.5, 0.5)
            principal = (camera.cx - 0.5, camera.cy - 0.5)
            assert principal == (camera.width / 2, camera.height / 2)
    assert sizes == {(480, 360), (360, 480)}


@pytest.mark.parametrize("name", [NAMES[0], pytest.param(NAMES[1], marks=pytest.mark.slow)])
def test_a_floor_is_closed_and_nobody_stands_in_its_furniture(name, scenes):
    floor = FLOORS[NAMES.index(name)]
    for place in (*floor.stations, *floor.queries):
        x, y, z = place.center
        for dx, dy in AROUND:
            depth = render(scenes[name], WIDE, look_at((x, y, z), (x + dx, y + dy, z))).depth
            # where panels meet, float32 may lose a ray between them
            assert np.isfinite(depth).mean() > 0.999
            assert np.nanmin(depth) > 0.3
            assert np.nanmax(depth) < 10
        for box in floor.boxes:
            inside = np.all((np.array(box.low) < (x, y, z)) & ((x, y, z) < np.array(box.high)))
            assert not inside or (box.high[2] == 2.8 and box.bottom)  # rooms have a floor


@pytest.mark.parametrize("name", [NAMES[0], pytest.param(NAMES[1], marks=pytest.mark.slow)])
def test_no_two_walls_of_a_floor_wear_the_same(name):
    floor = FLOORS[NAMES.index(name)]
    worn = [(wall.paint.photo, wall.paint.crop, wall.paint.mirrored) for wall in floor.all_walls()]
    whole = (0, 0, 512, 512)
    assert len({wall.paint for wall in floor.all_walls()}) == len(worn) > 20
    pictures = [w for w in worn if w[1] != whole]
    assert len(set(pictures)) == len(pictures)
    for wall in floor.all_walls():
        for photo, crop in (
            (wall.paint.photo, wall.paint.crop),
            (wall.paint.grain, wall.paint.grain_crop),
        ):
            height, width = load_photo(photo).decode().shape[:2]
            left, top, right, bottom = crop
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
        assert np.dot(wall.edge_u, wall.edge_v) == 0
