import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from d2eval.errors import D2EvalError
from d2eval.images import load_image_file, read_image, read_image_size

WIDTH, HEIGHT = 13, 9


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rgb_file(kind: str, **options: object) -> bytes:
    return encode(Image.fromarray(noise()), kind, **options)


def png(header: bytes, rows: list[bytes]) -> bytes:
    """A PNG written out by hand: IHDR, one IDAT of unfiltered rows, IEND."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def put(tmp_path):
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refused(path: Path, *says: str) -> None:
    with pytest.raises(D2EvalError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in says:
        assert part in message


@pytest.mark.parametrize("kind", ["PPM", "PNG", "BMP", "TIFF"])
def test_lossless_pixels_come_back_as_they_are(put, kind):
    image = read_image(put("a", rgb_file(kind)))
    assert (image.dtype, image.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(image, noise())


def test_red_is_the_first_channel_and_rows_are_y(put):
    pixels = b"P6\n2 1\n255\n" + bytes([255, 0, 0, 0, 0, 255])  # red, then blue to its right
    np.testing.assert_array_equal(read_image(put("a.ppm", pixels)), [[[255, 0, 0], [0, 0, 255]]])


def test_a_jpeg_is_close_to_its_pixels(put):
    smooth = np.full((HEIGHT, WIDTH, 3), (200, 90, 30), np.uint8)
    data = encode(Image.fromarray(smooth), "JPEG", quality=95)
    assert np.abs(read_image(put("a.jpg", data)).astype(int) - smooth).max() <= 3


def test_grey_is_repeated(put):
    grey = noise()[..., 0]
    image = read_image(put("a.png", encode(Image.fromarray(grey), "PNG")))
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], grey)


def test_a_pgm_is_grey(put):
    image = read_image(put("a.pgm", b"P5\n3 1\n255\n" + bytes([0, 7, 255])))
    np.testing.assert_array_equal(image[0, :, 1], [0, 7, 255])


def test_sixteen_bit_grey_keeps_the_high_byte(put):
    values = [0x0000, 0x00FF, 0x0100, 0x7F80, 0xFFFF]
    data = png(struct.pack(">IIBBBBB", 5, 1, 16, 0, 0, 0, 0), [struct.pack(">5H", *values)])
    image = read_image(put("a.png", data))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, [[[v] * 3 for v in (0x00, 0x00, 0x01, 0x7F, 0xFF)]])


def test_sixteen_bit_rgb_keeps_the_high_byte(put):
    values = [0x12FF, 0x3400, 0x5680, 0xFFFF, 0x00FF, 0x8001]
    data = png(struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), [struct.pack(">6H", *values)])
    np.testing.assert_array_equal(
        read_image(put("a.png", data)), [[[0x12, 0x34, 0x56], [0xFF, 0x00, 0x80]]]
    )


def test_alpha_is_dropped_not_blended(put):
    alpha = np.dstack([noise(), np.zeros((HEIGHT, WIDTH), np.uint8)])
    np.testing.assert_array_equal(
        read_image(put("a.png", encode(Image.fromarray(alpha), "PNG"))), noise()
    )


def test_a_palette_is_looked_up(put):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(
        read_image(put("a.png", encode(image, "PNG"))), [[[10, 20, 30], [200, 100, 50]]]
    )


def test_black_and_white_become_0_and_255(put):
    data = png(struct.pack(">IIBBBBB", 3, 1, 1, 0, 0, 0, 0), [bytes([0b01000000])])
    np.testing.assert_array_equal(read_image(put("a.png", data))[0, :, 0], [0, 255, 0])


def test_cmyk_becomes_rgb(put):
    # No black ink: red, green and blue are what cyan, magenta and yellow leave of 255.
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    pixels = read_image(put("a.jpg", encode(image, "JPEG", quality=95))).astype(int)
    assert np.abs(pixels - (0, 255, 255)).max() <= 3


def test_exif_rotation_is_ignored(put):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees
    smooth = np.zeros((16, 32, 3), np.uint8)
    smooth[:, :16] = 220
    data = encode(Image.fromarray(smooth), "JPEG", quality=95, exif=exif)
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == 6
    path = put("a.jpg", data)
    image = read_image(path)
    assert image.shape == (16, 32, 3)
    assert image[:, :14].min() > 200
    assert image[:, 18:].max() < 20
    assert read_image_size(path) == (32, 16)


def test_the_suffix_does_not_decide(put):
    np.testing.assert_array_equal(read_image(put("a.jpg", rgb_file("PNG"))), noise())


def test_text_in_a_png_does_not_matter(put):
    info = PngInfo()
    info.add_text("Comment", "a photo\nof a wall")
    info.add_itxt("Title", "Mauer \N{LATIN SMALL LETTER SHARP S}", zip=True)
    np.testing.assert_array_equal(read_image(put("a.png", rgb_file("PNG", pnginfo=info))), noise())


def test_text_that_unpacks_without_end_is_refused(put):
    info = PngInfo()
    info.add_text("Comment", "a" * (4 << 20), zip=True)
    refused(put("a.png", rgb_file("PNG", pnginfo=info)), "broken image")


def test_the_hash_is_that_of_the_bytes(put):
    data = rgb_file("PNG")
    path = put("a.png", data)
    file = load_image_file(path)
    assert (file.path, file.data) == (path, data)
    assert file.sha256 == hashlib.sha256(data).hexdigest()


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.png", "can't be read", "No such file")


def test_a_folder(tmp_path):
    refused(tmp_path, "can't be read")


def test_an_empty_file(put):
    refused(put("a.png", b""), "is empty")


def test_a_text_file(put):
    refused(put("a.png", b"this is no image\n"), "is not an image")


def test_an_image_that_is_too_large_to_be_true(put):
    data = png(struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0), [b""])
    refused(put("a.png", data), "broken image")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PPM", {}),
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"subsampling": 0, "quality": 97}),
        ("BMP", {}),
    ],
)
def test_a_file_cut_anywhere_is_whole_or_an_error(put, kind, options):
    data = rgb_file(kind, **options)
    whole = read_image(put("whole", data))
    for cut in range(len(data)):
        path = put("cut", data[:cut])
        try:
            image = read_image(path)
        except D2EvalError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
            continue
        # Only what follows the pixels may be missing: a PNG's end mark, the padding of a BMP.
        assert cut >= len(data) - 20
        np.testing.assert_array_equal(image, whole)


@pytest.mark.parametrize("kind", ["PPM", "PNG", "JPEG"])
def test_a_truncated_image_is_an_error_not_half_grey(put, kind):
    data = rgb_file(kind)
    refused(put("a", data[: len(data) * 2 // 3]), "broken image", "replace the file")


@pytest.mark.parametrize("kind", ["PPM", "PNG", "JPEG", "BMP", "TIFF"])
def test_the_size_is_width_then_height(put, kind):
    assert read_image_size(put("a", rgb_file(kind))) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"P6\n2", b"P6\n2 x\n255\n", b"P6\n20 2\n25\xf5_\n"]
)
def test_a_size_that_can_not_be_read(put, data):
    path = put("a.ppm", data)
    with pytest.raises(D2EvalError, match="not an image that can be read") as caught:
        read_image_size(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_size_of_a_missing_file(tmp_path):
    with pytest.raises(D2EvalError, match=r"none\.png"):
        read_image_size(tmp_path / "none.png")
