import numpy as np

from d2eval.sample.rooms import Box
from d2eval.sample.walls import Paint

PAINTS = tuple(Paint("brick", (0, 0, 10 + k, 10), "gravel", (0, 0, 10, 10)) for k in range(7))


def test_the_panels_of_a_box_are_where_the_hand_says():
    box = Box(
        (1.0, 2.0, 0.5), (3.0, 6.0, 1.5), south=PAINTS[:1], east=PAINTS[1:3], north=PAINTS[3:4],
        west=PAINTS[4:5], top=PAINTS[5:],
    )  # fmt: skip
    down = (0.0, 0.0, -1.0)
    assert [(w.corner, w.edge_u, w.edge_v) for w in box.walls()] == [
        ((1.0, 2.0, 1.5), (2.0, 0.0, 0.0), down),
        ((3.0, 2.0, 1.5), (0.0, 2.0, 0.0), down),
        ((3.0, 4.0, 1.5), (0.0, 2.0, 0.0), down),
        ((3.0, 6.0, 1.5), (-2.0, 0.0, 0.0), down),
        ((1.0, 6.0, 1.5), (0.0, -4.0, 0.0), down),
        ((1.0, 6.0, 1.5), (1.0, 0.0, 0.0), (0.0, -4.0, 0.0)),
        ((2.0, 6.0, 1.5), (1.0, 0.0, 0.0), (0.0, -4.0, 0.0)),
    ]
    assert tuple(wall.paint for wall in box.walls()) == PAINTS


def test_pictures_stand_upright_on_the_outside_of_a_box():
    box = Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), *(PAINTS[k : k + 1] for k in range(4)))
    for wall in box.walls():
        middle = np.add(wall.corner, np.add(wall.edge_u, wall.edge_v) / 2)
        outwards = middle - 0.5
        # seen from outside u runs to the right, v down: towards the eye is v x u
        assert np.cross(wall.edge_v, wall.edge_u) @ outwards > 0
