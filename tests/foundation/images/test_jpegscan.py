import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import ImageFile
from d2eval.foundation.images.jpegscan import DamagedError, check_jpeg

END = b"\xff\xd9"


def segment(mark: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, mark, len(content) + 2) + content


def table(name: int, counts: list[int], values: list[int]) -> bytes:
    return segment(0xC4, bytes([name, *counts, *[0] * (16 - len(counts)), *values]))


def by_hand(codes: bytes, width: int = 8, restart: int = 0, others: tuple = ((1,), (0,))) -> bytes:
    """Grey, 8 pixels high. The code 0 is a difference of 0, and after it the end of the block."""
    data = b"\xff\xd8" + segment(0xDB, bytes([0, *[1] * 64]))
    data += segment(0xC0, struct.pack(">BHHBBBB", 8, 8, width, 1, 1, 0x11, 0))
    data += table(0, [1], [0]) + table(0x10, *map(list, others))
    if restart:
        data += segment(0xDD, struct.pack(">H", restart))
    return data + segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) + codes + END


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (by_hand(b"\x3f"), None),  # 0 0, then ones up to the byte's end
        (by_hand(b"\x0f", 16), None),
        (by_hand(b"\x00\x3f", 40), None),
        (by_hand(b"\x0f", 17), "a code that doesn't exist"),
        (by_hand(b"\x00", 40), "pixels are missing"),
        (by_hand(b""), "pixels are missing"),
        (by_hand(b"\x7f"), "a code that doesn't exist"),
        (by_hand(b"\xff\x00"), "a code that doesn't exist"),
        (by_hand(b"\x3f\xff\xd0\x3f\xff\xd1\x3f", 24, restart=1), None),
        (by_hand(b"\x3f\xff\xd0\x3f\xff\xd2\x3f", 24, restart=1), "a restart mark is missing"),
        (by_hand(b"\x3f\xff\xd0\x3f", 24, restart=1), "a restart mark is missing"),
        (by_hand(b"\x3f\x3f\x3f", 24, restart=1), "a restart mark is missing"),
        # The code 10 is 15 zeros and a number of one bit: 4 times 16 are one too many
        (by_hand(b"\x49\x27\x3f", others=((1, 1), (0, 0xF1))), "more than 64 coefficients"),
        (by_hand(b"\x49\x27", others=((1, 1), (0, 0xF1))), "more than 64 coefficients"),
        (by_hand(b"\x49\x1f", others=((1, 1), (0, 0xF1))), None),
    ],
)
def test_codes_by_hand(data, expected):
    if expected is None:
        assert check_jpeg(data) is None
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    else:
        with pytest.raises(DamagedError, match=expected):
            check_jpeg(data)


def test_more_data_than_pixels_is_odd_and_padding_is_not():
    assert check_jpeg(by_hand(b"\x3f\x12\x34")) == "has more compressed data than pixels"
    for padding in (b"\0", b"\0\0\0", b"\xff\xff"):
        assert check_jpeg(by_hand(b"\x3f" + padding)) is None


def made(number: int) -> bytes:
    """A small JPEG of any kind that two encoders write."""
    rng = np.random.default_rng(number)
    height, width = (int(side) for side in rng.integers(1, 70, 2))
    smooth = cv2.resize(rng.integers(0, 256, (5, 7, 3), np.uint8), (width, height))
    noisy = smooth + rng.normal(0, rng.choice([0, 5, 80]), smooth.shape)
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    mode = ("RGB", "L", "CMYK")[number % 3]
    options = {
        "quality": int(rng.integers(1, 101)),
        "progressive": bool(rng.integers(2)),
        "optimize": bool(rng.integers(2)),
        "subsampling": int(rng.integers(3)),
        "restart_marker_blocks": int(rng.integers(6)),
    }
    data = io.BytesIO()
    image.convert(mode).save(data, "JPEG", **options)
    return data.getvalue()


@pytest.mark.parametrize("number", range(60))
def test_whole_files_of_any_kind(number):
    """A code that was read wrongly would leave too few or too many."""
    data = made(number)
    assert check_jpeg(data) is None
    assert check_jpeg(data + b"\xff\xff\0behind") is None


def photo(**options: object) -> bytes:
    ramp = np.add.outer(np.arange(96), np.arange(128))[..., None] * [1, 2, 3]
    noise = np.random.default_rng(1).normal(0, 9, ramp.shape)
    data = io.BytesIO()
    pixels = (ramp + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(data, "JPEG", quality=92, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    "options",
    [{}, {"restart_marker_blocks": 8}, {"progressive": True}, {"subsampling": 0}],
    ids=str,
)
def test_damage_that_pillow_passes_over(tmp_path, options, capsys):
    """Cut with an end mark behind, or less by a block: always seen; a zeroed block: mostly.

    Zeros can happen to be as many codes as there were.
    """
    data = photo(**options)
    start, unseen = data.index(b"\xff\xda") + 40, 0
    rng = np.random.default_rng(2)
    for number in range(60):
        at = int(rng.integers(start, len(data) - 700))
        damaged = (
            data[:at] + END,
            data[:at] + data[at + 512 :],
            data[:at] + bytes(512) + data[at + 512 :],
        )[number % 3]
        path = tmp_path / f"{number}.jpg"
        try:
            ImageFile(path, damaged, "").decode()
        except D2EvalError as error:
            assert str(error).startswith(f"{path}: broken image (")
            continue
        seen = f"note: {path}: " in capsys.readouterr().err
        assert seen or number % 3 == 2
        unseen += not seen
    assert unseen <= 10


def test_scans_that_are_missing_are_odd():
    data = photo(progressive=True)
    cuts = [k for k in range(len(data) - 1) if data[k] == 0xFF and data[k + 1] == 0xDA]
    tables = data.rindex(b"\xff\xc4", 0, cuts[-1])
    assert check_jpeg(data[:tables] + END) == "lacks the finest of its pixels' values"


def test_other_codes_are_not_looked_at():
    arithmetic = by_hand(b"\x7f").replace(b"\xff\xc0", b"\xff\xc9")
    assert check_jpeg(arithmetic) is None


def test_parts_that_are_cut_short():
    data = photo(progressive=True)
    for cut in range(2, len(data), 7):
        with pytest.raises(DamagedError):
            check_jpeg(data[:cut])
