"""Pairs from posed images with depth: which are chosen, what they show, and data that are wrong."""

import io
import json
import pickle
import shutil
from itertools import combinations

import numpy as np
import pytest
from megadepth_scene import depth_to_png
from PIL import Image

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image
from d2eval.sample.training import CAMERA, write_posed_scene
from methods.d2net.training.data.posed import (
    PosedPairs,
    choose_pairs,
    find_scenes,
    overlaps,
    photos_of_held_out_scenes,
    read_pairs,
    read_scene,
)

INTRINSICS = [[100.0, 0, 64], [0, 100, 64], [0, 0, 1]]
WALK = ["a0.jpg", "a1.jpg", "a2.jpg", "a3.jpg"]  # each shows half of each other


@pytest.fixture(scope="module")
def square(taken, tmp_path_factory):
    """A scene of six rendered images without pairs.txt; copy it to change it."""
    folder = tmp_path_factory.mktemp("posed") / "square"
    write_posed_scene(folder, taken)
    return folder


@pytest.fixture(scope="module")
def shares(square):
    """What `overlaps` gives for it."""
    return overlaps(list(read_scene(square).values()), "square")


def write_wall(folder, names=("a.png", "b.png"), cameras=None):
    """A scene of grey images of 128x128 pixels from one place, a wall at 4 m."""
    for name in ("images", "depth"):
        (folder / name).mkdir(parents=True)
    for name in names:
        Image.new("RGB", (128, 128), (90, 90, 90)).save(folder / "images" / name)
        wall = np.full((128, 128), 4.0, np.float32)
        np.save(folder / "depth" / f"{name.partition('.')[0]}.npy", wall)
    write_cameras(folder, names, cameras or {})
    return folder


def write_cameras(folder, names, changes):
    """cameras.json, all cameras at the origin but for what ``changes`` says of an image."""
    entry = {"intrinsics": INTRINSICS, "cam_from_world": np.eye(4).tolist()}
    content = {name: entry | changes.get(name, {}) for name in names}
    (folder / "cameras.json").write_text(json.dumps(content))


def names_of(source):
    """The pairs of a source, whichever image comes first."""
    drawn = [source.draw(k, np.random.default_rng(k)).name for k in range(len(source))]
    scenes, pairs = zip(*(name.split("/") for name in drawn), strict=True)
    return [(scene, *sorted(pair.split())) for scene, pair in zip(scenes, pairs, strict=True)]


def refused(folder, held_out=False):
    """The message that refuses a folder, a single line, when it is opened or its pairs drawn."""
    with pytest.raises(D2EvalError) as caught:
        source = PosedPairs(folder, held_out)
        for index in range(len(source)):
            source.draw(index, np.random.default_rng(0))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_scene_is_read_as_it_was_written(square, taken):
    images = read_scene(square)
    assert list(images) == sorted(taken)
    for name, image in images.items():
        view = image.read()
        np.testing.assert_array_equal(view.image, read_image(square / "images" / name))
        np.testing.assert_array_equal(view.depth, taken[name].depth)
        np.testing.assert_array_equal(view.cam_from_world, taken[name].cam_from_world)
        f, cx, cy = CAMERA.focal, CAMERA.cx, CAMERA.cy
        np.testing.assert_array_equal(view.intrinsics, [[f, 0, cx], [0, f, cy], [0, 0, 1]])


def test_images_are_sorted_and_those_without_a_camera_are_not_used(tmp_path):
    scene = write_wall(tmp_path, ("c.png", "a.png", "b.png"))
    write_cameras(scene, ("c.png", "a.png"), {})
    (scene / "depth" / "b.npy").unlink()
    assert list(read_scene(scene)) == ["a.png", "c.png"]


def slow_share(first, second):
    """The share of 16x16 points of a view that another one shows, point by point."""

    def depth_at(view, x, y):
        height, width = view.depth.shape
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            return None
        left, top = min(int(x), width - 2), min(int(y), height - 2)
        total = 0.0
        for j in (left, left + 1):
            for i in (top, top + 1):
                weight = (1 - abs(x - j)) * (1 - abs(y - i))
                if weight and view.depth[i, j] == 0:
                    return None
                total += weight * float(view.depth[i, j])
        return total

    height, width = first.depth.shape
    known = shown = 0
    for row in range(1, 17):
        for column in range(1, 17):
            x, y = round(column * (width - 1) / 17), round(row * (height - 1) / 17)
            z = float(first.depth[y, x])
            if z == 0:
                continue
            known += 1
            k = first.intrinsics
            local = [(x + 0.5 - k[0, 2]) / k[0, 0] * z, (y + 0.5 - k[1, 2]) / k[1, 1] * z, z, 1.0]
            world = np.linalg.solve(first.cam_from_world, local)
            u, v, depth, _ = second.cam_from_world @ world
            if depth <= 0:
                continue
            k = second.intrinsics
            u, v = k[0, 0] * u / depth + k[0, 2] - 0.5, k[1, 1] * v / depth + k[1, 2] - 0.5
            there = depth_at(second, u, v)
            shown += there is not None and abs(there - depth) < 0.05
    return shown / known if known else 0.0


@pytest.mark.usefixtures("read_once")
def test_overlaps_are_those_counted_point_by_point(square, shares):
    views = [image.read() for image in read_scene(square).values()]
    for i, first in enumerate(views):
        for j, second in enumerate(views):
            # In the image itself points are at pixels, where rounding decides beside a hole.
            exact = 1e-9 if i != j else 0.02
            assert shares[i, j] == pytest.approx(slow_share(first, second), abs=exact)
    assert np.abs(shares - shares.T).max() > 0.5  # what is counted in which image matters


def test_overlaps_are_about_the_shares_of_all_pixels(shares, taken):
    names = sorted(taken)
    for i, one in enumerate(names):
        places = taken[one].xyz[taken[one].depth > 0].astype(float)
        for j, other in enumerate(names):
            shot = taken[other]
            x, y, z = (places @ shot.cam_from_world[:3, :3].T + shot.cam_from_world[:3, 3]).T
            with np.errstate(divide="ignore", invalid="ignore"):
                column = np.floor(CAMERA.focal * x / z + CAMERA.cx)
                row = np.floor(CAMERA.focal * y / z + CAMERA.cy)
            inside = (z > 0) & (column >= 0) & (column < CAMERA.width)
            inside &= (row >= 0) & (row < CAMERA.height)
            depth = shot.depth[row[inside].astype(int), column[inside].astype(int)]
            share = np.count_nonzero(np.abs(depth - z[inside]) < 0.05) / len(places)
            assert shares[i, j] == pytest.approx(share, abs=0.08)


def test_pairs_are_chosen_where_each_image_shows_half_of_the_other(square, shares):
    images = read_scene(square)
    names = list(images)
    chosen = choose_pairs(square, images)
    mutual = [
        (names[i], names[j])
        for i, j in combinations(range(len(names)), 2)
        if shares[i, j] >= 0.5 and shares[j, i] >= 0.5
    ]
    assert chosen == mutual == list(combinations(WALK, 2))
    backwards = choose_pairs(square, dict(reversed(images.items())))
    assert sorted(tuple(sorted(pair)) for pair in backwards) == chosen
    # c0 shows little of what others show, though they show most of it.
    close, wide = names.index("c0.jpg"), names.index("a2.jpg")
    assert shares[close, wide] > 0.8
    assert shares[wide, close] < 0.4


@pytest.mark.parametrize(
    ("pixels", "hole", "shares"),
    [(66.5, False, (128, 128)), (66.5, True, (127, 128)), (67.5, False, (112, 112))],
)
def test_exactly_half_is_enough(tmp_path, pixels, hole, shares):
    # Of 16 columns of points, at 7, 15, 22 to 120, the eighth from the right is at 67.
    aside = np.eye(4)
    aside[0, 3] = -pixels / 100 * 4
    scene = write_wall(tmp_path, cameras={"b.png": {"cam_from_world": aside.tolist()}})
    if hole:  # where the point (67, 7) of the first image is in the second
        depth = np.full((128, 128), 4.0)
        depth[7, 0] = 0
        np.save(scene / "depth" / "b.npy", depth)
    images = read_scene(scene)
    found = overlaps(list(images.values()), "") * 256
    np.testing.assert_array_equal(found, [[256, shares[0]], [shares[1], 256]])
    if min(shares) == 128:
        assert choose_pairs(scene, images) == [("a.png", "b.png")]
    else:
        assert f"{scene}: no two images show half of each other" in refused(scene)


def test_listed_pairs_are_taken_once_and_in_order(tmp_path):
    images = read_scene(write_wall(tmp_path, ("a.png", "b.png", "c.png")))
    listed = tmp_path / "pairs.txt"
    listed.write_text("c.png a.png\n\n  a.png   b.png  \nb.png a.png\nc.png a.png\n")
    assert read_pairs(listed, images) == [("c.png", "a.png"), ("a.png", "b.png")]


def test_listed_pairs_stand_instead_of_chosen_ones(square, tmp_path):
    scene = shutil.copytree(square, tmp_path / "square")
    (scene / "pairs.txt").write_text("c0.jpg a2.jpg\na1.jpg c0.jpg\nc1.jpg c0.jpg\n")
    held_out, training = PosedPairs(scene, True), PosedPairs(scene, False)
    assert (len(held_out), len(training)) == (1, 2)
    assert names_of(held_out) == [("square", "a2.jpg", "c0.jpg")]
    assert training.draw(0, np.random.default_rng(0)).name in (
        "square/a1.jpg c0.jpg",
        "square/c0.jpg a1.jpg",
    )


def test_of_a_single_scene_every_tenth_pair_is_held_out(tmp_path):
    names = [f"{letter}.png" for letter in "abcdefg"]
    scene = write_wall(tmp_path / "wall", names)
    pairs = [("wall", *pair) for pair in combinations(names, 2)]
    for folder in (scene, tmp_path):  # the scene itself, or the folder that holds it
        assert names_of(PosedPairs(folder, True)) == [pairs[0], pairs[10], pairs[20]]
        assert names_of(PosedPairs(folder, False)) == pairs[1:10] + pairs[11:20]
        assert photos_of_held_out_scenes(folder) == []


def test_of_several_scenes_every_tenth_is_held_out(tmp_path):
    for number in range(12):
        names = ("b.png", "a.png", "c.png") if number == 10 else ("a.png", "b.png")
        write_wall(tmp_path / f"s{number:02}", names)
    (tmp_path / "notes").mkdir()  # not a scene
    assert [scene.name for scene in find_scenes(tmp_path)] == [f"s{n:02}" for n in range(12)]
    ten = [("s10", *pair) for pair in combinations(("a.png", "b.png", "c.png"), 2)]
    assert names_of(PosedPairs(tmp_path, True)) == [("s00", "a.png", "b.png"), *ten]
    others = [f"s{n:02}" for n in range(1, 12) if n != 10]
    assert names_of(PosedPairs(tmp_path, False)) == [(s, "a.png", "b.png") for s in others]
    photos = [str(path.relative_to(tmp_path)) for path in photos_of_held_out_scenes(tmp_path)]
    assert photos == ["s00/images/a.png", "s00/images/b.png"] + [
        f"s10/images/{letter}.png" for letter in "abc"
    ]


def test_of_two_scenes_the_first_is_held_out(tmp_path):
    for name, images in (("one", ("a.png", "b.png")), ("two", ("c.png", "d.png"))):
        write_wall(tmp_path / name, images)
    assert names_of(PosedPairs(tmp_path, True)) == [("one", "a.png", "b.png")]
    assert names_of(PosedPairs(tmp_path, False)) == [("two", "c.png", "d.png")]


@pytest.mark.usefixtures("read_once")
def test_cells_of_a_draw_show_the_same_places(square, taken, judge):
    source = PosedPairs(square, False)
    judged = [
        judge(source.draw(index, np.random.default_rng([index, seed])), square / "images", taken)
        for index in range(len(source))
        for seed in range(3)
    ]
    assert min(found.count for found in judged) > 300
    assert max(found.off for found in judged) < 4.05  # half a cell
    count = sum(found.count for found in judged)
    assert sum(found.wrong for found in judged) <= count / 1000
    assert sum(found.missing for found in judged) <= count / 1000


@pytest.mark.usefixtures("read_once")
def test_crops_lie_around_a_cell_that_both_images_show(square, taken, judge):
    source = PosedPairs(square, False)
    for seed in range(4):
        pair = source.draw(seed, np.random.default_rng(seed))
        first, second = (taken[name] for name in pair.name.partition("/")[2].split())
        expected = set()
        for y in range(3, CAMERA.height, 8):
            for x in range(3, CAMERA.width, 8):
                square_of_four = np.s_[y : y + 2, x : x + 2]
                if (first.depth[square_of_four] == 0).any():
                    continue
                world = first.xyz[square_of_four].reshape(4, 3).mean(axis=0)
                u, v, z = second.cam_from_world[:3] @ [*world, 1]
                u, v = CAMERA.focal * u / z + CAMERA.cx, CAMERA.focal * v / z + CAMERA.cy
                if not (0 <= u < CAMERA.width and 0 <= v < CAMERA.height):
                    continue
                if abs(second.depth[int(v), int(u)] - z) < 0.1:
                    expected.add((around(x + 1, y + 1), around(u, v)))
        assert judge(pair, square / "images", taken).origins in expected


def around(x, y):
    """(left, top) of a crop around a point, counted from the image's corner."""
    left, top = int(x) - 128, int(y) - 128
    return min(max(left, 0), CAMERA.width - 256), min(max(top, 0), CAMERA.height - 256)


@pytest.mark.usefixtures("read_once")
def test_draws_repeat_and_show_either_image_first(square):
    source, again = PosedPairs(square, False), PosedPairs(square, False)
    names, corners = set(), set()
    for seed in range(12):
        pair = source.draw(2, np.random.default_rng(seed))
        same = again.draw(2, np.random.default_rng(seed))
        assert pair.name == same.name
        for field in ("image_1", "image_2", "cells_1", "cells_2"):
            np.testing.assert_array_equal(getattr(pair, field), getattr(same, field))
        names.add(pair.name)
        corners.add((pair.name, pair.image_1[:4, :4].tobytes()))
    assert names == {"square/a1.jpg a2.jpg", "square/a2.jpg a1.jpg"}
    assert len(corners) > 5  # places differ, too


def test_depth_in_png_gives_about_the_same(square, taken, judge, tmp_path):
    scene = tmp_path / "square"
    write_posed_scene(scene, taken)
    depth_to_png(scene)
    ours, theirs = read_scene(scene), read_scene(square)
    for name, image in ours.items():
        assert image.depth.suffix == ".png"
        depth, exact = image.read().depth, theirs[name].read().depth
        assert np.abs(depth - exact).max() <= 0.000_501  # rounded to millimetres
        np.testing.assert_array_equal(depth == 0, exact == 0)
    assert choose_pairs(scene, ours) == choose_pairs(square, theirs)
    pair = PosedPairs(scene, False).draw(0, np.random.default_rng(0))
    found = judge(pair, scene / "images", taken)
    assert found.count > 300
    assert found.off < 4.1
    assert found.wrong + found.missing <= 2


def test_places_of_unknown_depth_have_no_correspondence(tmp_path):
    scene = write_wall(tmp_path, ("a.png", "b.png", "c.png"))
    depth = np.full((128, 128), 4.0)
    depth[:, :16], depth[:8, 16:], depth[8:, 112:] = 0, np.nan, np.inf
    np.save(scene / "depth" / "a.npy", depth)
    (scene / "pairs.txt").write_text("a.png b.png\na.png c.png\n")
    expected = [[i, j] for i in range(1, 16) for j in range(2, 14)]
    for seed in range(4):
        pair = PosedPairs(scene, True).draw(0, np.random.default_rng(seed))
        assert pair.cells_1.tolist() == pair.cells_2.tolist() == expected


@pytest.mark.parametrize(("rows", "columns"), [(16, 8), (15, 8), (0, 0)])
def test_fewer_than_128_correspondences_give_no_pair(tmp_path, rows, columns):
    scene = write_wall(tmp_path, ("a.png", "b.png", "c.png"))
    depth = np.full((128, 128), 4.0)
    depth[rows * 8 :], depth[:, columns * 8 :] = 0, 0
    np.save(scene / "depth" / "a.npy", depth)
    (scene / "pairs.txt").write_text("a.png b.png\na.png c.png\n")
    pair = PosedPairs(scene, True).draw(0, np.random.default_rng(0))
    assert (pair and len(pair.cells_1)) == (128 if rows == 16 else None)


def save_npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def save_png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


WALL = np.full((128, 128), 4.0, np.float32)
MILLIMETRES = np.full((128, 128), 4000, np.uint16)


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".npy", save_npy(WALL[:96, :100]), "is 100x96, but a.png is 128x128"),
        (".png", save_png(MILLIMETRES[:96, :100]), "is 100x96, but a.png is 128x128"),
        (".npy", save_npy(WALL.reshape(64, 256)), "is 256x64, but a.png is 128x128"),
        (".npy", save_npy(WALL)[:-1000], "broken depth map"),
        (".npy", save_npy(WALL)[:40], "broken depth map"),
        (".npy", b"", "broken depth map"),
        (".npy", b"4.0 4.0\n4.0 4.0\n", "broken depth map"),
        (".npy", save_npy(np.array([{"depth": 4}, None])), "broken depth map"),
        (".npy", pickle.dumps(WALL), "broken depth map"),
        (".npy", save_npy(WALL[:, :, None]), "holds 128x128x1 values of type float32"),
        (".npy", save_npy(np.stack([WALL] * 3)), "holds 3x128x128 values of type float32"),
        (".npy", save_npy(WALL.ravel()), "holds 16384 values of type float32"),
        (".npy", save_npy(WALL > 0), "holds 128x128 values of type bool"),
        (".npy", save_npy(WALL.astype(complex)), "holds 128x128 values of type complex128"),
        (".npy", save_npy(WALL.astype(str)), "holds 128x128 values of type <U"),
        (".npy", save_npy(np.where(np.eye(128), -4, WALL)), "holds negative depths"),
        (".png", save_png(np.zeros((128, 128, 3), np.uint8)), "is not a 16-bit grey image"),
        (".png", save_png(np.zeros((128, 128), np.uint8)), "is not a 16-bit grey image"),
        (".png", save_png(MILLIMETRES)[:60], "broken image (cut short)"),
        (".png", b"", "is empty"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_depth_map_that_is_wrong_is_named(tmp_path, suffix, content, message, listed):
    scene = write_wall(tmp_path, ("a.png", "b.png", "c.png"))
    (scene / "depth" / "a.npy").unlink()
    (scene / "depth" / f"a{suffix}").write_bytes(content)
    if listed:
        (scene / "pairs.txt").write_text("a.png b.png\na.png c.png\n")
    assert refused(scene).startswith(f"{scene}/depth/a{suffix}: {message}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"128)", b"128("),  # tokenize.TokenError
        (b"(128, 128)", b"(True, 12)"),  # TypeError
        (b"(128, 128), } " + b" " * 20, b"(9999999999999, 128), }".ljust(34)),  # MemoryError
    ],
)
def test_an_npy_whose_header_is_broken_is_named(tmp_path, old, new):
    scene = write_wall(tmp_path)
    content = save_npy(WALL)
    assert content.count(old) == 1
    (scene / "depth" / "a.npy").write_bytes(content.replace(old, new))
    assert refused(scene).startswith(f"{scene}/depth/a.npy: broken depth map")


def test_a_scene_without_depth_is_named(tmp_path):
    scene = write_wall(tmp_path)
    shutil.rmtree(scene / "depth")
    assert refused(scene) == f"{scene}/depth/a.npy: no depth map of a.png, nor a.png there"


def test_a_missing_depth_map_is_named(tmp_path):
    scene = write_wall(tmp_path, ("a.jpg", "b.jpg"))
    (scene / "depth" / "b.npy").unlink()
    assert refused(scene) == f"{scene}/depth/b.npy: no depth map of b.jpg, nor b.png there"


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_a_depth_map_that_vanishes_later_is_named(tmp_path, suffix):
    scene = write_wall(tmp_path, ("a.png", "b.png", "c.png"))
    (scene / "depth" / "a.npy").unlink()
    path = scene / "depth" / f"a{suffix}"
    path.write_bytes({".npy": save_npy(WALL), ".png": save_png(MILLIMETRES)}[suffix])
    source = PosedPairs(scene, True)
    path.unlink()
    with pytest.raises(D2EvalError, match=rf"/depth/a\{suffix}: no such depth map"):
        source.draw(0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png b.png\na.png z.png\n", "line 2: z.png is not in cameras.json"),
        ("a.png b.png\n\na.png\n", "line 3 does not name two images"),
        ("a.png b.png c.png\n", "line 1 does not name two images"),
        ("b.png b.png\n", "line 1 does not name two images"),
        ("", "names no pair; remove it"),
        (" \n\n", "names no pair; remove it"),
        (b"\xff\xfea.png b.png", "is UTF-16 text"),
    ],
)
def test_a_list_of_pairs_that_is_wrong_is_named(tmp_path, text, message):
    scene = write_wall(tmp_path, ("a.png", "b.png", "c.png"))
    (scene / "pairs.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refused(scene).startswith(f"{scene}/pairs.txt: {message}")


def test_a_single_pair_is_too_few(tmp_path):
    scene = write_wall(tmp_path / "wall")
    assert refused(tmp_path).startswith(f"{tmp_path}: has a single pair")
    assert refused(scene, held_out=True).startswith(f"{scene}: has a single pair")


def test_images_that_show_nothing_of_each_other_are_no_pair(tmp_path):
    back = np.diag([-1.0, 1, -1, 1]).tolist()
    scene = write_wall(tmp_path / "turned", cameras={"b.png": {"cam_from_world": back}})
    assert refused(scene).startswith(f"{scene}: no two images show half of each other or more")
    blind = write_wall(tmp_path / "blind", ("a.png", "b.png", "c.png"))
    for name in "abc":
        np.save(blind / "depth" / f"{name}.npy", np.zeros((128, 128)))
    assert refused(blind).startswith(f"{blind}: no two images show half of each other or more")


def rotated(matrix):
    pose = np.eye(4)
    pose[:3, :3] = matrix
    return pose.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intrinsics": None}, "b.png: intrinsics is not 3x3 numbers"),
        ({"intrinsics": "wide"}, "b.png has no intrinsics (3x3) or cam_from_world (4x4)"),
        ({"intrinsics": [[1, 0], [1]]}, "b.png has no intrinsics (3x3) or cam_from_world (4x4)"),
        ({"intrinsics": [100, 100, 64, 64]}, "b.png: intrinsics is not 3x3 numbers"),
        ({"intrinsics": [[np.nan, 0, 64], *INTRINSICS[1:]]}, "b.png: intrinsics holds NaN"),
        ({"intrinsics": [[0, 0, 64], *INTRINSICS[1:]]}, "b.png: intrinsics is not [[fx, 0, cx]"),
        ({"intrinsics": [INTRINSICS[0], [0, -100, 64], INTRINSICS[2]]}, "b.png: intrinsics is not"),
        ({"intrinsics": [*INTRINSICS[:2], [0, 0, 2]]}, "b.png: intrinsics is not [[fx, 0, cx]"),
        ({"cam_from_world": np.eye(4)[:3].tolist()}, "b.png: cam_from_world is not 4x4 numbers"),
        ({"cam_from_world": rotated(2 * np.eye(3))}, "b.png: cam_from_world is not a rotation"),
        ({"cam_from_world": rotated(np.diag([1, 1, -1]))}, "b.png: cam_from_world is not a rot"),
        ({"cam_from_world": rotated(np.zeros((3, 3)))}, "b.png: cam_from_world is not a rotation"),
        ({"cam_from_world": rotated([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]])}, "b.png: cam_from_world"),
        ({"cam_from_world": np.eye(4)[[0, 1, 2, 2]].tolist()}, "b.png: cam_from_world is not a"),
        ({"cam_from_world": np.full((4, 4), np.inf).tolist()}, "b.png: cam_from_world holds NaN"),
    ],
)
def test_a_camera_that_is_wrong_is_named(tmp_path, changes, message):
    scene = write_wall(tmp_path, cameras={"b.png": changes})
    assert refused(scene).startswith(f"{scene}/cameras.json: {message}")


@pytest.mark.parametrize(
    "intrinsics",
    [
        [[10**400, 0, 64], *INTRINSICS[1:]],  # OverflowError
        [[100, 100, 64], [100, 100, 64], [0, 0, 1]],  # LinAlgError: singular
    ],
)
def test_a_camera_of_impossible_numbers_is_named(tmp_path, intrinsics):
    scene = write_wall(tmp_path, cameras={"b.png": {"intrinsics": intrinsics}})
    assert refused(scene).startswith(f"{scene}/cameras.json: b.png")


@pytest.mark.parametrize("field", ["intrinsics", "cam_from_world"])
def test_a_camera_that_lacks_a_field_is_named(tmp_path, field):
    scene = write_wall(tmp_path)
    content = json.loads((scene / "cameras.json").read_text())
    del content["a.png"][field]
    (scene / "cameras.json").write_text(json.dumps(content))
    assert refused(scene).startswith(f"{scene}/cameras.json: a.png has no intrinsics (3x3) or")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a.png": {', "broken JSON ("),
        (b"", "broken JSON ("),
        (b'["a.png", "b.png"]', "is no JSON object by image name"),
        (b"\xff\xfe{}", "is UTF-16 text"),
        (b'{"../a.png": 1}', "the image name '../a.png' leads out of the dataset's folder"),
        (b'{"/a.png": 1}', "the image name '/a.png' is an absolute path"),
        (b'{"a.png": 1, "a.png": 2}', "broken JSON ('a.png' stands twice)"),
        (b"{}", "names fewer than two images"),
        (b'{"a.png": [1, 2]}', "a.png has no intrinsics (3x3) or cam_from_world (4x4)"),
    ],
)
def test_cameras_that_are_no_json_are_named(tmp_path, content, message):
    scene = write_wall(tmp_path)
    (scene / "cameras.json").write_bytes(content)
    assert refused(scene).startswith(f"{scene}/cameras.json: {message}")


def test_fewer_than_two_images_are_too_few(tmp_path):
    scene = write_wall(tmp_path, ("a.png",))
    assert refused(scene).startswith(f"{scene}/cameras.json: names fewer than two images")


def test_an_image_that_is_missing_or_broken_is_named(tmp_path):
    scene = write_wall(tmp_path)
    image = scene / "images" / "b.png"
    image.write_bytes(image.read_bytes()[:60])
    assert refused(scene).startswith(f"{image}: ")
    image.unlink()
    assert refused(scene).startswith(f"{image}: no such image, but cameras.json names it")


def test_a_folder_without_a_scene_is_named(tmp_path):
    assert refused(tmp_path).startswith(f"{tmp_path}: holds no scene")
    assert refused(tmp_path / "none").startswith(f"{tmp_path}/none: no such folder")
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file").startswith(f"{tmp_path}/file: no such folder")
    with pytest.raises(D2EvalError, match="holds no scene"):
        photos_of_held_out_scenes(tmp_path)


def test_a_depth_map_of_two_images_is_refused(tmp_path):
    scene = write_wall(tmp_path, names=("a.png", "a.jpg", "b.png"))
    assert refused(scene) == (f"{scene}/depth/a.npy: is it of a.jpg or a.png? rename one of them")


def test_images_in_folders_have_their_depth_in_folders(tmp_path):
    scene = write_wall(tmp_path)
    for part in ("images", "depth"):
        (scene / part / "left").mkdir()
    (scene / "images/a.png").rename(scene / "images/left/a.png")
    (scene / "depth/a.npy").rename(scene / "depth/left/a.npy")
    write_cameras(scene, ("left/a.png", "b.png"), {})
    assert read_scene(scene)["left/a.png"].depth == scene / "depth/left/a.npy"
