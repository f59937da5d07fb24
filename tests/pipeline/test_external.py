"""Features that a program of the user's makes: shell scripts here, which take no time to start."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2eval.contracts.method import Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.limits import LIMITS
from d2eval.pipeline import external_run
from d2eval.pipeline.extraction import default_label, features_of_images, open_source

SIZE, DIM = (40, 30), 8
COPY = 'i=0; while read path; do echo "$path" >> $LOG; {}; i=$((i + 1)); done < "$1"\n'
CP = 'cp "$path.npz" "$2/$i.npz"'
ALL = COPY.format(CP)


def arrays(seed: int, dim: int = DIM) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(5, dim))
    return {
        "keypoints": rng.uniform(0, 29, (5, 3)),
        "scores": rng.random(5),
        "descriptors": descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
    }


@pytest.fixture
def items(tmp_path):
    """Five images, and beside each the features that the scripts copy."""
    found = []
    for number in range(5):
        path = tmp_path / f"image {number}.png"
        Image.new("RGB", SIZE, (number, 0, 0)).save(path)
        np.savez(f"{path}.npz", **arrays(number))
        found.append((path, path.name))
    return found


def test_a_word_too_long_for_a_files_name_names_none():
    command = external_run.Command.of(f"sh -c '{'true; ' * 100}'")
    assert command.files == ()


@pytest.fixture
def extract(tmp_path, monkeypatch, items):
    """Extracts by a script; gives keypoints, and which images the program was given."""
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(external_run, "SETTLED_SECONDS", 0.05)

    def extract(script: str = ALL, words: str = "", chosen=items, fresh: bool = False, **options):
        (tmp_path / "log").write_text("")
        (tmp_path / "make.sh").write_text(script)
        runtime = Runtime(cache=tmp_path / "cache", fresh=fresh)
        source = open_source(f"external:sh make.sh {words}", options, runtime)
        found = [unit.features.keypoints for _, unit in features_of_images(source, chosen, 1)]
        return found, [Path(line).name for line in (tmp_path / "log").read_text().splitlines()]

    return extract


def assert_right(found, numbers=range(5)) -> None:
    for keypoints, number in zip(found, numbers, strict=True):
        expected = arrays(number)["keypoints"][:, :2].astype(np.float32)
        np.testing.assert_array_equal(keypoints, expected)


@pytest.mark.parametrize("words", ["", "{images} {output}"])
@pytest.mark.parametrize("batch", [2, 100])
def test_each_image_has_the_features_of_its_line_and_is_given_once(extract, words, batch, tmp_path):
    found, given = extract(words=words, batch=batch)
    assert_right(found)
    assert given == [f"image {number}.png" for number in range(5)]
    found, given = extract(words=words)
    assert_right(found)
    assert given == []
    assert not [*(tmp_path / "cache").rglob(".*")]


def test_one_word_may_hold_a_placeholder(extract):
    script = 'set -- "${2#--list=}" "${1#--to=}"\n' + ALL
    assert_right(extract(script, "'--to={output}' --list={images}")[0])


def test_the_same_image_twice_is_given_once(extract, items, tmp_path):
    (tmp_path / "again.png").write_bytes(items[1][0].read_bytes())
    chosen = [*items[:3], (tmp_path / "again.png", "again.png"), items[1]]
    found, given = extract(chosen=chosen)
    assert_right(found, [0, 1, 2, 1, 1])
    assert given == ["image 0.png", "image 1.png", "image 2.png"]


def test_fresh_asks_for_all_again(extract):
    extract()
    found, given = extract(fresh=True)
    assert_right(found)
    assert len(given) == 5


def test_what_is_damaged_in_the_store_is_made_again(extract, tmp_path, capsys):
    extract()
    unit = sorted((tmp_path / "cache" / "features").glob("*/*.h5"))[2]
    unit.write_bytes(unit.read_bytes()[:-9])
    found, given = extract()
    assert_right(found)
    assert len(given) == 1
    assert "damaged" in capsys.readouterr().err


def test_a_file_is_taken_while_the_program_goes_on(extract, tmp_path):
    """The third image is written when the features of the first two are in the store."""
    wait = f'while [ $i = 2 -a $(ls "{tmp_path}"/cache/features/*/*.h5 | wc -l) != 2 ]; do :; done'
    assert_right(extract(COPY.format(f"{wait}; {CP}"))[0])


def test_a_file_half_written_is_waited_for(extract):
    slow = 'head -c 300 "$path.npz" > "$2/$i.npz"; [ $i = 4 ] && sleep 0.3; '
    assert_right(extract(COPY.format(slow + CP))[0])


def test_what_it_printed_lies_in_a_file_where_it_is_long(extract, tmp_path):
    with pytest.raises(
        D2EvalError, match=r"printed: 7 / 8 / 9 \(all of it: .*failed.log\)"
    ) as error:
        extract(COPY.format("seq 9; exit 1"))
    (log,) = (tmp_path / "cache").rglob("failed.log")
    assert str(log) in str(error.value)
    assert log.read_text() == "".join(f"{n}\n" for n in range(1, 10))


DIES = "echo tired >&2; exit 7"
FAULTS = {
    "dies": ("[ $i = 3 ] && { " + DIES + "; }; " + CP,
             "exit code 7 without 3.npz for .*image 3.png; it printed: tired"),
    "nothing": (":", "ended without 0.npz for .*image 0.png; it printed nothing"),
    "from_1": ('cp "$path.npz" "$2/$((i + 1)).npz"', r"without 0.npz \(but 1.npz\) for .*0.png"),
    "hangs": ("[ $i = 3 ] && sleep 1000; " + CP,
              r"wrote nothing for 0.4 s \(--time-limit\) for .*image 3.png"),
    "no_npz": ('echo npz > "$2/$i.npz"', "wrote 0.npz for .*image 0.png: no npz or mat file"),
    "large": ('head -c 2000000 /dev/zero > "$2/$i.npz"; sleep 1000',
              "wrote 0.npz of more than 1 MiB; if that is right, set D2EVAL_MAX_UNPACKED_MIB"),
    "many": ('for k in $(seq 1010); do : > "$2/x$k"; done; sleep 1000', "files for 5 images"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_program_is_one_line_and_loses_nothing(extract, tmp_path, monkeypatch, name):
    monkeypatch.setattr(LIMITS, "unpacked_mib", 1)
    body, message = FAULTS[name]
    with pytest.raises(D2EvalError, match=f"^sh-make: the program .*{message}") as error:
        extract(COPY.format(body), time_limit=0.4)
    assert "\n" not in str(error.value)
    assert not [*(tmp_path / "cache").rglob(".*")]
    stored = len([*(tmp_path / "cache" / "features").glob("*/*.h5")])
    assert stored == (3 if name in ("dies", "hangs") else 0)


def test_after_a_failure_only_what_is_missing_is_given(extract, tmp_path):
    flag = f'[ $i = 2 -a ! -e "{tmp_path}/mended" ] && exit 1; '
    script = COPY.format(flag + CP)
    with pytest.raises(D2EvalError, match=r"without 2\.npz"):
        extract(script)
    (tmp_path / "mended").touch()
    found, given = extract(script)
    assert_right(found)
    assert given == ["image 2.png", "image 3.png", "image 4.png"]


def damaged(**changes) -> dict[str, np.ndarray]:
    return {**arrays(3), **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (damaged(keypoints=np.full((5, 2), np.nan)), "NaN"),
        (damaged(descriptors=np.full((5, DIM), np.nan)), "NaN"),
        (damaged(keypoints=np.full((5, 2), 99.0)), "outside the image of 40x30"),
        (damaged(descriptors=np.ones((5, DIM))), "not L2-normalised"),
        (damaged(scores=np.zeros(4)), "scores"),
        (arrays(3, dim=9), "descriptors of 9 numbers, but 8 for .*image 0.png"),
        ({"keypoints": np.zeros((0, 2))}, "holds no descriptors"),
    ],
)
def test_bad_features_are_one_line(extract, items, content, message):
    np.savez(f"{items[3][0]}.npz", **content)
    with pytest.raises(D2EvalError, match=rf"wrote 3.npz for .*image 3.png: .*{message}") as error:
        extract()
    assert "\n" not in str(error.value)


def test_lengths_are_compared_with_what_is_stored_too(extract, items):
    extract(chosen=items[:1])
    np.savez(f"{items[1][0]}.npz", **arrays(1, dim=9))
    with pytest.raises(D2EvalError, match=r"descriptors of 9 numbers, but 8 for .*image 0\.png"):
        extract()


def test_files_beside_those_asked_for_and_a_late_failure_are_notes(extract, capsys):
    assert_right(extract(ALL + 'echo > "$2/log.txt"; exit 2\n')[0])
    err = capsys.readouterr().err
    assert "note: sh-make: the program ended with exit code 2 after all was written\n" in err
    assert "note: sh-make: 1 files are of no image (log.txt); left out\n" in err


def test_a_changed_program_option_or_text_is_another_method(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "make.sh").write_text("a")
    (tmp_path / "w.pth").write_bytes(b"w")

    def key(command: str = "sh make.sh --weights=w.pth", **options) -> str:
        runtime = Runtime(cache=tmp_path / "cache")
        return open_source(f"external:{command}", options, runtime).identity.key

    keys = [key()]
    assert key(time_limit=5.0, batch=3) == keys[0]
    keys += [key(version_string="2"), key("sh make.sh --weights=w.pth -v")]
    (tmp_path / "w.pth").write_bytes(b"v")
    keys.append(key())
    (tmp_path / "make.sh").write_text("b")
    keys.append(key())
    assert len(set(keys)) == len(keys) == 5
    assert capsys.readouterr().err == ""
    key("nothing --here")
    assert "--version-string" in capsys.readouterr().err


def test_that_there_are_no_weights_can_be_said(tmp_path):
    def source(**options):
        command = "external:nothing --here"
        return open_source(command, {"version_string": "1", **options}, Runtime(cache=tmp_path))

    silent, said = source(), source(weights_needed=False)
    assert silent.identity.weights.name == "not stated"
    assert said.identity.weights.name == "none needed"
    assert said.identity.key == silent.identity.key


def test_a_program_changed_between_two_batches_is_told(extract, items, tmp_path):
    with pytest.raises(D2EvalError, match="changed meanwhile"):
        extract(ALL + "echo >> make.sh\n", batch=2)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "names no program"),
        ("sh 'make", "No closing quotation"),
        ("sh make.sh {images}", "both {images} and {output}, or neither"),
        ("/no/such/program", r"can't be started \(No such file"),
    ],
)
def test_a_command_that_can_not_be(items, tmp_path, command, message):
    with pytest.raises(D2EvalError, match=message):
        source = open_source(f"external:{command}", {}, Runtime(cache=tmp_path / "cache"))
        list(features_of_images(source, items, 1))


def test_a_line_break_in_a_name_is_one_line(extract, tmp_path):
    Image.new("RGB", SIZE).save(tmp_path / "a\nb.png")
    with pytest.raises(D2EvalError, match="line break"):
        extract(chosen=[(tmp_path / "a\nb.png", "a")])


def test_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("extract.py", "prog", "cfg.toml"):
        (tmp_path / name).touch()
    assert default_label("external:python extract.py cfg.toml {images} {output}") == (
        "python-extract"
    )
    assert default_label("external:./prog --config=cfg.toml") == "prog-cfg"
    assert default_label("external:/opt/other/run") == "run"
