import numpy as np
import pytest

from d2eval.foundation.images.photometry import (
    SHOT_NOISE,
    Lamp,
    Lighting,
    Shadow,
    add_lamp,
    add_sensor_noise,
    apply_gamma,
    cast_shadow,
    expose,
    from_srgb8,
    photograph,
    to_srgb8,
    vignette,
)

GREY = np.full((31, 41, 3), 0.25, np.float32)  # half diagonal 25.7 px; the centre is pixel (20, 15)


def test_srgb_codes_survive_a_round_trip_and_known_values_hold():
    codes = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    linear = from_srgb8(codes)
    assert linear.dtype == np.float32
    assert (to_srgb8(linear) == codes).all()
    # IEC 61966-2-1: code 188 is half the light of code 255, to the nearest code
    assert linear[11, 12, 0] == pytest.approx(0.5, abs=0.005)
    assert (to_srgb8(np.array([[[-0.1, 1.7, 1.0]]], np.float32)) == [0, 255, 255]).all()


def test_exposure_doubles_per_stop_and_gamma_is_a_power():
    assert expose(GREY, 2.0) == pytest.approx(1.0)
    assert apply_gamma(GREY, 0.5) == pytest.approx(0.5)


def test_a_shadow_leaves_its_colour_on_its_side_and_half_way_at_its_edge():
    shaded = cast_shadow(GREY, Shadow(0.0, 0.0, 0.2, (0.5, 0.6, 0.8)))
    assert shaded[15, 0] == pytest.approx(0.25)
    assert shaded[15, 40] == pytest.approx([0.125, 0.15, 0.2])
    assert shaded[15, 20] == pytest.approx([0.1875, 0.2, 0.225])  # the mean of both sides
    downwards = cast_shadow(GREY, Shadow(90.0, 0.0, 0.2, (0.5, 0.5, 0.5)))
    assert downwards[0, 20, 0] == pytest.approx(0.25)
    assert downwards[30, 20, 0] == pytest.approx(0.125)


def test_a_lamp_falls_off_with_distance_and_angle():
    unit = np.hypot(41, 31) / 2
    lit = add_lamp(np.zeros_like(GREY), GREY, Lamp((0.0, 0.0), 10 / unit, (1.0, 2.0, 0.0)))
    assert lit[15, 20] == pytest.approx([0.25, 0.5, 0.0])
    assert lit[15, 30, 0] == pytest.approx(0.25 * 2**-1.5)  # as far away as the lamp is high


def test_a_90_degree_lens_gives_its_corners_a_quarter():
    seen = vignette(np.ones((301, 401, 3), np.float32), 1.0)
    assert seen[150, 200] == pytest.approx(1.0)
    assert seen[0, 0] == pytest.approx(0.25, abs=0.01)


def test_noise_grows_with_light_and_differs_from_image_to_image():
    flat = np.full((200, 200, 3), 0.5, np.float32)
    rng = np.random.default_rng(0)
    first, second = add_sensor_noise(flat, rng), add_sensor_noise(flat, rng)
    assert first.std() == pytest.approx(np.sqrt(SHOT_NOISE * 0.5), rel=0.02)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    assert add_sensor_noise(flat, rng, gain=4.0).std() == pytest.approx(2 * first.std(), rel=0.02)


def test_a_picture_in_plain_light_is_the_scene():
    picture = photograph(GREY, Lighting(), np.random.default_rng(0))
    assert picture.dtype == np.uint8
    assert picture.mean() == pytest.approx(137, abs=0.5)  # sRGB of 0.25
