import numpy as np
import pytest

from d2eval.contracts.maps import InvalidMapsError, Maps, MapsMethod, maps_class, stored_bytes
from d2eval.contracts.registry import MAPS, registered
from d2eval.foundation.errors import D2EvalError


def unit(*shape: int) -> np.ndarray:
    """The same unit vector everywhere."""
    array = np.zeros(shape, np.float32)
    array[..., 0] = 1
    return array


def maps(coarse: np.ndarray, fine: np.ndarray, network=(1600, 1200), image=(1600, 1200)) -> Maps:
    return Maps(coarse, fine, 16, 8, 3.5, network, image)


def test_where_a_cell_lies():
    same = maps(unit(1, 2, 2), unit(3, 4, 2))
    assert same.fine_points(np.array([0, 1, 4, 11])).tolist() == [
        [3.5, 3.5], [11.5, 3.5], [3.5, 11.5], [27.5, 19.5],
    ]  # fmt: skip
    # 2.52 original pixels for each of the network's, border to border: 28 * 2.52 - 0.5
    large = maps(unit(1, 2, 2), unit(3, 4, 2), image=(4032, 3024))
    assert large.fine_points(np.array([11])) == pytest.approx(np.array([[70.06, 49.9]]))
    # The centre of all cells that fill the network's input is the centre of the original.
    whole = maps(unit(1, 1, 2), unit(150, 200, 2), image=(4032, 3024))
    centre = whole.fine_points(np.arange(30000)).mean(axis=0)
    assert centre == pytest.approx([(4032 - 1) / 2, (3024 - 1) / 2])


def test_another_scale_in_x_than_in_y():
    found = maps(unit(1, 2, 2), unit(2, 2, 2), (10, 10), (20, 50)).fine_points(np.array([3]))
    assert found == pytest.approx(np.array([[12 * 2 - 0.5, 12 * 5 - 0.5]]))


def test_bytes_of_the_papers_size():
    stored = stored_bytes(maps(unit(75, 100, 512), unit(150, 200, 256)))
    assert stored == 46_080_000
    assert round(stored / 2**20, 1) == 43.9


def test_maps_are_made_float32():
    found = maps(unit(1, 2, 3).astype(np.float64), np.asfortranarray(unit(3, 4, 2)))
    assert found.coarse.dtype == found.fine.dtype == np.float32
    assert found.fine.flags.c_contiguous


def test_a_zero_descriptor_is_allowed():
    fine = unit(2, 2, 3)
    fine[1, 0] = 0
    assert maps(unit(1, 1, 2), fine).fine[1, 0].tolist() == [0, 0, 0]


def test_an_image_without_cells():
    empty = maps(np.zeros((0, 0, 2)), np.zeros((0, 0, 2)), (3, 3), (3, 3))
    assert stored_bytes(empty) == 0
    assert empty.fine_points(np.zeros(0, np.int32)).shape == (0, 2)


@pytest.mark.parametrize(
    ("coarse", "fine", "message"),
    [
        (unit(4, 2), unit(2, 2, 2), r"coarse map is \(4, 2\)"),
        (unit(1, 1, 2), unit(4), r"fine map is \(4,\)"),
        (unit(1, 1, 2), unit(2, 2, 2) * 1.01, "fine map are not L2-normalised"),
        (unit(1, 1, 2) * 0.5, unit(2, 2, 2), "coarse map are not L2-normalised"),
        (unit(1, 1, 2) * np.nan, unit(2, 2, 2), "coarse map holds NaN"),
    ],
)
def test_maps_that_break_the_contract(coarse, fine, message):
    with pytest.raises(InvalidMapsError, match=message):
        maps(coarse, fine)


# The registry


def test_registered_names_lead_to_networks():
    assert "vgg16_dense" in registered(MAPS)
    for name in registered(MAPS):
        assert issubclass(maps_class(name), MapsMethod)


def test_networks_and_local_features_are_apart():
    assert not set(registered(MAPS)) & set(registered())
    assert "maps" not in registered()
    assert all(":" in target for target in registered().values())


def test_module_and_class():
    assert maps_class("methods.vgg16_dense.method:Vgg16Dense") is maps_class("vgg16_dense")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg16dense", "unknown dense maps 'vgg16dense'; did you mean vgg16_dense"),
        ("zzz", "unknown dense maps 'zzz'; known: vgg16_dense"),
        ("rootsift", "unknown dense maps 'rootsift'; known"),
        ("methods.rootsift:RootSIFT", "is not a d2eval.MapsMethod"),
        ("methods.nothing:Net", "can't be imported"),
    ],
)
def test_what_is_no_network(name, message):
    with pytest.raises(D2EvalError, match=message) as caught:
        maps_class(name)
    assert "\n" not in str(caught.value)
