import hashlib
import io
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from places import CASES, needs

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.limits import LIMITS
from d2eval.foundation.images.decoding import (
    load_image_file,
    read_image,
    read_image_size,
    read_samples,
)

WIDTH, HEIGHT = 13, 9
needs_cases = needs(CASES)


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


def test_sixteen_bits_with_alpha_keep_the_high_byte(put):
    values = np.random.default_rng(0).integers(0, 1 << 16, (2, 300, 4)).astype(">u2")
    for kind, channels in ((4, [0, 3]), (6, [0, 1, 2, 3])):
        header = struct.pack(">IIBBBBB", 300, 2, 16, kind, 0, 0, 0)
        data = png(header, [row[:, channels].tobytes() for row in values])
        expected = values[..., [0, 0, 0] if kind == 4 else [0, 1, 2]] >> 8
        np.testing.assert_array_equal(read_image(put("a.png", data)), expected)


@pytest.mark.parametrize("white", [4095, 65535])
def test_deep_colours_of_a_ppm_are_rounded(put, white):
    values = np.random.default_rng(0).integers(0, white + 1, (2, 300, 3))
    data = f"P6\n300 2\n{white}\n".encode() + values.astype(">u2").tobytes()
    expected = np.rint(values / white * 255)
    np.testing.assert_array_equal(read_image(put("a.ppm", data)), expected)


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


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *((mode, how) for mode in ("L", "RGB", "I;16") for how in (None, "tiff_lzw")),
        ("YCbCr", "tiff_adobe_deflate"), ("RGB", "jpeg"), ("1", "group4"),
    ],
)  # fmt: skip
def test_no_orientation_turns_a_tiff(put, mode, compression):
    image = Image.fromarray(noise()[..., 0].astype(np.uint16) * 257)
    if mode != "I;16":
        image = Image.fromarray(noise()).convert(mode)
    expected = read_image(put("a.tif", encode(image, "TIFF", compression=compression)))
    for orientation in range(1, 9):
        xmp = f'<rdf:Description tiff:Orientation="{orientation}"/>'.encode()
        for tags in ({274: orientation}, {700: xmp}, {274: orientation, 700: xmp}):
            data = encode(image, "TIFF", compression=compression, tiffinfo=tags)
            path = put("b.tif", data)
            np.testing.assert_array_equal(read_image(path), expected, str(tags))
            assert read_image_size(path) == (WIDTH, HEIGHT)
            if mode == "I;16":
                np.testing.assert_array_equal(read_samples(path, ""), np.asarray(image))


def test_the_orientation_of_a_png_is_ignored(put):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = put("a.png", rgb_file("PNG", exif=exif))
    assert b"eXIf" in path.read_bytes()
    np.testing.assert_array_equal(read_image(path), noise())
    assert read_image_size(path) == (WIDTH, HEIGHT)


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
    refused(tmp_path / "none.png", "is missing")


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder")


def test_an_empty_file(put):
    refused(put("a.png", b""), "is empty")


def test_a_text_file(put):
    refused(put("a.png", b"this is no image\n"), "is not an image")


def test_an_image_that_is_too_large_to_be_true(put):
    data = png(struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0), [b""])
    refused(put("a.png", data), "is 60000x60000, more than 100000000 pixels", "MAX_IMAGE_PIXELS")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PPM", {}),
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        pytest.param("JPEG", {"subsampling": 0, "quality": 97}, marks=pytest.mark.slow),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "jpeg"}),
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
        assert kind == "BMP"  # whose last row's padding may be missing
        assert cut >= len(data) - 3
        np.testing.assert_array_equal(image, whole)


def bmp(bits: int, height: int, core: bool) -> tuple[bytes, int]:
    """A BMP of noise by hand, and how many bytes fill up its last row.

    Args:
        bits: of a pixel.
        height: negative where the top row is the first.
        core: whether it has the short header of OS/2.
    """
    rng = np.random.default_rng(bits)
    row = (WIDTH * bits + 7) // 8
    palette = rng.bytes((3 if core else 4) << bits) if bits <= 8 else b""
    if core:
        header = struct.pack("<IHHHH", 12, WIDTH, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, 0, 0, 0, 0, 0, 0)
    rows = b"".join(rng.bytes(row) + bytes(-row % 4) for _ in range(abs(height)))
    start = 14 + len(header) + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start)
    return head + header + palette + rows, -row % 4


@pytest.mark.parametrize("bits", [1, 4, 8, 16, 24, 32])
@pytest.mark.parametrize(("height", "core"), [(HEIGHT, False), (-HEIGHT, False), (HEIGHT, True)])
def test_a_bmp_may_lack_what_fills_up_its_last_row(put, bits, height, core):
    data, padding = bmp(bits, height, core)
    assert padding or bits == 32
    whole = read_image(put("a.bmp", data))
    assert whole.shape == (HEIGHT, WIDTH, 3)
    for lacks in range(1, padding + 1):
        np.testing.assert_array_equal(read_image(put("a.bmp", data[:-lacks])), whole)
    for lacks in (padding + 1, padding + 2, padding + 40):
        refused(put("a.bmp", data[:-lacks]), "broken image", "replace the file")


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
    with pytest.raises(D2EvalError, match=r"not an image|is empty|broken image") as caught:
        read_image_size(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_size_of_a_missing_file(tmp_path):
    with pytest.raises(D2EvalError, match=r"none\.png"):
        read_image_size(tmp_path / "none.png")


def chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """(kind, start, end) of the content of each chunk of a PNG."""
    found, at = [], 8
    while at < len(data):
        length = struct.unpack_from(">I", data, at)[0]
        found.append((data[at + 4 : at + 8], at + 8, at + 8 + length))
        at += length + 12
    return found


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"tEXt", b"IEND"])
def test_every_checksum_of_a_png_is_checked(put, kind):
    info = PngInfo()
    info.add(b"tEXt", b"Comment\0a wall", after_idat=True)
    data = bytearray(rgb_file("PNG", pnginfo=info))
    (end,) = [end for name, _, end in chunks(data) if name == kind]
    data[end + 2] ^= 4
    refused(put("a.png", bytes(data)), "broken image", "checksum")


def test_pixels_of_a_png_that_have_changed(put):
    """Without compression, zlib sees no damage in the first row of the pixels."""
    data = bytearray(rgb_file("PNG", compress_level=0))
    (start,) = [start for name, start, _ in chunks(data) if name == b"IDAT"]
    data[start + 20] ^= 4
    refused(put("a.png", bytes(data)), "broken image", "checksum of 'IDAT'")


@pytest.mark.parametrize("kind", ["P2", "P3"])
def test_a_text_ppm_cut_in_its_last_number(put, kind):
    """The format's description: each number has white space before and after it."""
    count = 3 if kind == "P3" else 1
    whole = f"{kind}\n2 1\n255\n{' 7' * count}\n# of red\n{' 123' * count}\n".encode()
    assert read_image(put("a.ppm", whole))[0].tolist() == [[7] * 3, [123] * 3]
    for cut in range(len(whole)):
        refused(put("a.ppm", whole[:cut]))


def test_a_bit_map_as_text(put):
    image = read_image(put("a.ppm", b"P1\n3 2\n010\n1 1 0\n"))
    assert image[..., 0].tolist() == [[255, 0, 255], [0, 0, 255]]
    refused(put("a.ppm", b"P1\n3 2\n010\n1 1"), "broken image")


@pytest.mark.parametrize("kind", ["PPM", "PNG", "JPEG", "BMP", "TIFF"])
def test_what_follows_an_image_does_not_matter(put, kind):
    data = rgb_file(kind)
    whole = read_image(put("a", data))
    np.testing.assert_array_equal(read_image(put("a", data + bytes(100) + b"x" * 99)), whole)


def test_formats_that_are_not_read(put, monkeypatch):
    """Pillow would run Ghostscript on the first."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("ran"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
    others = [eps, rgb_file("GIF"), rgb_file("PCX"), rgb_file("ICO"), rgb_file("TGA"), b"P7\n"]
    for data in others:
        path = put("a.png", data)
        refused(path, "not an image that can be read (PPM, PNG, JPEG, BMP, TIFF)")
        with pytest.raises(D2EvalError, match="not an image that can be read"):
            read_image_size(path)


RAMP = np.arange(0, 256, dtype=np.uint8)[None].repeat(2, 0)


def tiff(samples: np.ndarray, **tags: object) -> bytes:
    """A grey TIFF of one strip, by hand; tags by number as t258=(type, value)."""
    height, width = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    bits = samples.dtype.itemsize * 8
    entries = {
        256: (4, width), 257: (4, height), 258: (3, bits), 259: (3, 1), 262: (3, 1), 273: (4, 8),
        277: (3, 1), 278: (4, height), 279: (4, samples.nbytes), 339: (3, kind),
    }  # fmt: skip
    entries |= {int(name[1:]): value for name, value in tags.items()}
    packed = b""
    for tag, (number, value) in sorted(entries.items()):
        packed += struct.pack("<HHI", tag, number, 1)
        packed += struct.pack({3: "<Hxx", 4: "<I", 11: "<f"}[number], value)
    content = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    head = b"II*\0" + struct.pack("<I", 8 + len(content)) + content
    return head + struct.pack("<H", len(entries)) + packed + struct.pack("<I", 0)


def pgm(samples: np.ndarray, white: int) -> bytes:
    height, width = samples.shape
    return f"P5\n{width} {height}\n{white}\n".encode() + samples.astype(">u2").tobytes()


def test_samples_are_scaled_by_what_the_format_says(put):
    high = RAMP.astype(np.uint16)
    for data in (
        tiff(RAMP),
        tiff(high << 8 | 0x7F),
        tiff(high << 4 | 0xF, t341=(3, 4095)),
        tiff((high << 4) + 100, t340=(3, 100), t341=(3, 100 + 4095)),
        tiff(RAMP.astype(np.int32) << 12, t341=(4, (1 << 20) - 1)),
        tiff(RAMP.astype(np.int16), t340=(3, 0), t341=(3, 255)),
        tiff(RAMP.astype(np.float32) / 255),
        tiff(RAMP.astype(np.float32), t340=(11, 0.0), t341=(11, 255.0)),
        tiff(RAMP.astype(np.float32), t340=(3, 0), t341=(3, 255)),
        tiff(0xFFFF - (high << 8), t262=(3, 0)),  # white is zero
        tiff(255 - RAMP, t262=(3, 0)),
        encode(Image.fromarray(RAMP.astype(np.float32) / 255), "PPM"),  # a PFM
        png(
            struct.pack(">IIBBBBB", 256, 2, 16, 0, 0, 0, 0),
            [(row << 8 | 3).astype(">u2").tobytes() for row in high],
        ),
    ):
        np.testing.assert_array_equal(read_image(put("a", data))[..., 1], RAMP, str(data[:400]))
    # A PGM's values are shares of its largest: v / 4095 * 65535, of which the high byte counts.
    values = np.arange(0, 4096, 16)[None]
    expected = np.rint(values / 4095 * 65535).astype(int) >> 8
    np.testing.assert_array_equal(read_image(put("a", pgm(values, 4095)))[..., 2], expected)


def test_twelve_bits_of_a_tiff(put):
    """Two samples in three bytes, the high ones first."""
    values = (RAMP.astype(int) << 4 | 9).reshape(-1, 2)
    joined = np.stack(
        [values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], 1
    )
    data = tiff(joined.astype(np.uint8).reshape(2, -1), t256=(4, 256), t258=(3, 12))
    np.testing.assert_array_equal(read_image(put("a.tif", data))[..., 0], RAMP)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tiff(RAMP.astype(np.int32)), "whole numbers of 32 bits without SMaxSampleValue"),
        (tiff(RAMP.astype(np.uint32)), "whole numbers of 32 bits without SMaxSampleValue"),
        (tiff(RAMP.astype(np.int16)), "whole numbers of 16 bits without SMaxSampleValue"),
        (tiff(RAMP.astype(np.int8)), "signed samples"),
        (tiff(RAMP.astype(np.float32)), "floats that are not all in 0..1"),
        (tiff(RAMP / np.float32(255) - np.float32(0.1)), "floats that are not all in 0..1"),
        (tiff(np.full((2, 3), np.nan, np.float32)), "floats that are not all in 0..1"),
        (tiff(RAMP.astype(np.uint16), t341=(3, 0)), "samples from 0 to 0"),
        (tiff(RAMP / 255.0), "write 8-bit RGB or grey"),
    ],
)
def test_samples_that_could_mean_anything_are_refused(put, data, says):
    path = put("a.tif", data)
    refused(path, "isn't read", says)


def test_lab_becomes_rgb(put):
    image = Image.new("LAB", (4, 4), (137, 128, 128))  # L 53.6 of 100: the middle of sRGB
    pixels = read_image(put("a.tif", encode(image, "TIFF")))
    assert np.abs(pixels.astype(int) - 128).max() <= 2


def notes(path: Path, capsys) -> str:
    read_image(path)
    return capsys.readouterr().err


def test_an_image_without_contrast_gets_a_note(put, capsys):
    path = put("flat.png", encode(Image.new("RGB", (40, 30), (10, 200, 30)), "PNG"))
    assert notes(path, capsys) == f"note: {path}: has no contrast: all pixels are equal\n"
    assert notes(path, capsys) == ""  # said once
    small = np.full((40, 50, 3), 100, np.uint8)
    small[17, 23, 1] = 115
    path = put("little.png", encode(Image.fromarray(small), "PNG"))
    assert notes(path, capsys).endswith("has hardly any contrast: values differ by 15 of 255\n")
    small[17, 23, 1] = 116
    assert notes(put("enough.png", encode(Image.fromarray(small), "PNG")), capsys) == ""


def test_few_bits_in_many_get_a_note(put, capsys):
    """Nothing in a PNG tells 12 bits from a dark image of 16; sBIT wants them scaled, too."""
    for bits, white in ((10, 3), (12, 15), (14, 63)):
        grey = (RAMP.astype(np.uint16) << bits - 8 | (1 << bits - 8) - 1).astype(">u2")
        header = struct.pack(">IIBBBBB", 256, 2, 16, 0, 0, 0, 0)
        said = notes(put(f"{bits}.png", png(header, [row.tobytes() for row in grey])), capsys)
        assert f"{bits}.png: is dark: none of its values is above {white} of 255" in said
        header = struct.pack(">IIBBBBB", 256, 2, 16, 2, 0, 0, 0)
        rows = [row.repeat(3).tobytes() for row in grey]
        said = notes(put(f"rgb{bits}.png", png(header, rows)), capsys)
        assert f"is dark: none of its values is above {white} of 255" in said
    dark = encode(Image.fromarray(RAMP[:, :64]), "PNG")
    assert notes(put("dark8.png", dark), capsys) == ""


def test_the_first_of_several_images_is_read_with_a_note(put, capsys):
    first, other = Image.fromarray(noise(1)), Image.fromarray(noise(2))
    for kind in ("TIFF", "PNG"):
        data = encode(first, kind, save_all=True, append_images=[other])
        path = put(f"a.{kind}", data)
        np.testing.assert_array_equal(read_image(path), noise(1))
        assert capsys.readouterr().err == (
            f"note: {path}: holds several images; the first is read\n"
        )


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_alpha_of_each_kind_is_dropped(put, mode):
    image = Image.fromarray(noise()).convert(mode.removesuffix("A") or mode)
    expected = np.array(image.convert("RGB"))
    image = image.convert(mode)
    image.putalpha(Image.fromarray(noise(3)[..., 0]))
    kind = "TIFF" if mode == "PA" else "PNG"
    np.testing.assert_array_equal(read_image(put("a", encode(image, kind))), expected)


def test_grey_times_its_alpha(put):
    """(20, 128) is 40 at half opacity."""
    pair = np.array([[[20, 128], [100, 255]]], np.uint8)
    content = pair.tobytes()
    data = bytearray(tiff(pair.reshape(1, 4), t256=(4, 2), t277=(3, 2), t338=(3, 1)))
    at = data.index(struct.pack("<HHI", 258, 3, 1))
    data[at : at + 12] = struct.pack("<HHIHH", 258, 3, 2, 8, 8)
    at = data.index(struct.pack("<HHI", 339, 3, 1))
    data[at : at + 12] = struct.pack("<HHIHH", 339, 3, 2, 1, 1)
    assert content in data
    grey = read_image(put("a.tif", bytes(data)))[0, :, 0].astype(int)
    assert abs(grey[0] - 40) <= 1
    assert grey[1] == 100


def test_images_larger_than_a_strip_are_as_pillow_gives_them(put, monkeypatch):
    monkeypatch.setattr("d2eval.foundation.images.depth.STRIP_PIXELS", 3 * WIDTH)
    for mode in ("1", "L", "P", "RGB", "CMYK", "RGBA"):
        image = Image.fromarray(noise()).convert(mode)
        data = encode(image, "TIFF")
        expected = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        np.testing.assert_array_equal(read_image(put("a.tif", data)), expected, mode)


def test_the_limit_of_pixels(put, monkeypatch):
    path = put("a.png", rgb_file("PNG"))
    monkeypatch.setattr(LIMITS, "image_pixels", WIDTH * HEIGHT - 1)
    refused(path, f"is {WIDTH}x{HEIGHT}, more than {WIDTH * HEIGHT - 1} pixels", "MAX_IMAGE_PIXELS")
    with pytest.raises(D2EvalError, match="make it smaller"):
        read_image_size(path)
    monkeypatch.setattr(LIMITS, "image_pixels", WIDTH * HEIGHT)
    np.testing.assert_array_equal(read_image(path), noise())


def test_a_large_image_takes_no_more_than_it_must_and_no_warning(put, monkeypatch):
    """2000 x 1500; Pillow's own limit is set so low that it would warn and refuse."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**21 // 2)
    monkeypatch.setattr("d2eval.foundation.images.depth.STRIP_PIXELS", 2**16)
    path = put("a.png", encode(Image.new("RGB", (2000, 1500), (1, 2, 3)), "PNG"))
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image_size(path) == (2000, 1500)
        assert read_image(path)[-1, -1].tolist() == [1, 2, 3]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000 * 1500 * 3 * 1.3


def test_samples_as_they_are(put):
    deep = np.array([[0, 1000, 65535]], np.uint16)
    path = put("a.png", encode(Image.fromarray(deep), "PNG"))
    np.testing.assert_array_equal(read_samples(path, "(depth); mend it"), deep)
    with pytest.raises(D2EvalError, match=r"is not a 16-bit grey image \(depth\); mend it"):
        read_samples(put("b.png", rgb_file("PNG")), "(depth); mend it")


@needs_cases
def test_images_that_were_decoded_black(capsys):
    folder = CASES / "dark_images"
    stored = np.asarray(Image.open(folder / "float01.tif"))
    found = read_image(folder / "float01.tif")
    np.testing.assert_array_equal(found[..., 0], np.rint(stored.astype(float) * 255))
    refused(folder / "int32.tif", "whole numbers of 32 bits without SMaxSampleValue")
    assert "gray12.png: is dark" in notes(folder / "gray12.png", capsys)


@needs_cases
def test_an_image_of_200_megapixels():
    folder = CASES / "big_image"
    refused(folder / "big200.png", "more than 100000000 pixels", "D2EVAL_MAX_IMAGE_PIXELS")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image_size(folder / "big95.png") == (9800, 9800)
