import os
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import Parser, write_input
from mutations import mutate
from parsers import PARSERS
from places import CASES, needs

from d2eval.foundation.errors import D2EvalError

MARK = b"\xef\xbb\xbf"
each_parser = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
TEXT_PARSERS = {name: parser for name, parser in PARSERS.items() if parser.is_text}
each_text_parser = pytest.mark.parametrize("parser", TEXT_PARSERS.values(), ids=TEXT_PARSERS)


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def refusal(parser: Parser, path: Path) -> str | None:
    """The error of a file, or None: it is none, and will be made anew."""
    if parser.is_anew:
        assert parser.read(path) is None
        return None
    with pytest.raises(D2EvalError) as error:
        parser.read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@each_parser
def test_seeds_are_read(parser, tmp_path):
    for number, seed in enumerate(parser.seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        parser.read(write_input(parser, seed, folder))


@each_text_parser
@pytest.mark.parametrize("ends", [pytest.param("\n", marks=pytest.mark.slow), "\r\n", "\r"])
def test_a_byte_order_mark_and_line_ends_change_nothing(parser, ends, tmp_path):
    for number, seed in enumerate(parser.seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        plain = str(parser.read(write_input(parser, seed, folder)))
        path = folder / parser.file
        path.write_bytes(MARK + seed.decode().replace("\n", ends).encode())
        assert str(parser.read(path)) == plain


@each_text_parser
@pytest.mark.parametrize(
    ("encode", "expected"),
    [
        (lambda text: text.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (lambda text: text.encode("utf-16-le"), "line 1 holds a zero byte"),
        (lambda text: b"\xe4" + text.encode(), "line 1 is no UTF-8 text; save it as UTF-8"),
        (lambda text: b"\0" + text.encode(), "line 1 holds a zero byte"),
    ],
)
def test_other_encodings_are_one_line(parser, encode, expected, tmp_path):
    path = write_input(parser, encode(parser.seeds()[0].decode()), tmp_path)
    found = refusal(parser, path)
    assert found is None or found.startswith(f"{path}: {expected}")


@each_parser
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device"])
def test_what_is_no_regular_file_is_one_line_at_once(parser, kind, tmp_path):
    path = write_input(parser, b"", tmp_path)
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    found = []
    thread = threading.Thread(target=lambda: found.append(refusal(parser, path)), daemon=True)
    thread.start()
    thread.join(20)
    said = f"{path}: is {kind}, not a file; give a file"
    assert found == [None if parser.is_anew else said]


@each_parser
def test_damaged_files_raise_nothing_else(parser, tmp_path):
    @settings(max_examples=parser.tries, deadline=None)
    @given(seed=st.integers(0, 2**32))
    def check(seed):
        path = write_input(parser, mutate(parser.seeds(), rng(seed)), tmp_path)
        try:
            parser.read(path)
        except D2EvalError as error:
            assert "\n" not in str(error)

    check()


def test_damage_differs_and_comes_again():
    seeds = [b"1 2 3\n", b"4 5 6\n"]
    made = [mutate(seeds, rng(k)) for k in range(200)]
    assert made == [mutate(seeds, rng(k)) for k in range(200)]
    assert len(set(made)) > 100


@needs(CASES)
@pytest.mark.parametrize(
    ("name", "parser"),
    [
        ("H_1_2", "homography"),
        ("aachen_cvpr2018_db.nvm", "aachen-nvm"),
        ("aachen_cvpr2018_db.nvm", "aachen-tracks"),
        ("image_pairs_to_match.txt", "aachen-pairs"),
        ("images.txt", "lines"),
        ("night_time_queries_with_intrinsics.txt", "aachen-intrinsics"),
        ("pairs-query-oracle10.txt", "aachen-pairs"),
        ("reference_poses.txt", "poses"),
    ],
)
def test_real_lists_with_a_byte_order_mark(name, parser, tmp_path):
    data = (CASES / "bom_lists" / name).read_bytes()
    assert data.startswith(MARK)
    read = PARSERS[parser].read
    if parser == "aachen-tracks":
        from d2eval.aachen.data.covisibility import read_tracks
        from d2eval.aachen.data.parsing import read_nvm

        def read(path):
            return read_tracks(path, len(read_nvm(path)))

    (tmp_path / name).write_bytes(data.removeprefix(MARK))
    assert str(read(CASES / "bom_lists" / name)) == str(read(tmp_path / name))
