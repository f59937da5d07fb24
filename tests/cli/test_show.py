import numpy as np
import pytest
from PIL import Image

from d2eval.cli import main
from d2eval.cli import show as command


@pytest.fixture
def show(tmp_path, capsys):
    """Runs ``d2eval show``: (exit code, standard output, error)."""

    def show(*arguments):
        code = main(["show", *map(str, arguments), "--cache", str(tmp_path / "cache")])
        return (code, *capsys.readouterr())

    return show


@pytest.fixture
def photo(tiny_hpatches):
    return tiny_hpatches / "v_tiny" / "1.ppm"


def size_of(path):
    with Image.open(path) as image:
        image.load()
        return image.size


@pytest.mark.slow
def test_with_and_without_a_score_map(show, photo, tmp_path):
    sizes = {}
    for method in ("d2_ss", "d2_ms", "rootsift", "methods.TEMPLATE:MyFeature"):
        output = tmp_path / f"{len(sizes)}.png"
        weights = ["--weights", "bundled"] if method.startswith("d2") else []
        code, out, error = show(method, photo, "--output", output, *weights)
        assert (code, error) == (0, "")
        assert out.splitlines()[-1].endswith(f" keypoints; wrote {output}")
        sizes[method] = size_of(output)
    assert sizes["d2_ss"] == sizes["d2_ms"]
    assert sizes["d2_ss"][0] > 1.8 * sizes["rootsift"][0]  # the map stands beside the keypoints


def test_options_reach_the_method_and_the_drawing(show, photo, tmp_path, monkeypatch):
    from d2eval.report import keypoints

    drawn = []
    draw = keypoints.draw
    monkeypatch.setattr(keypoints, "draw", lambda *given: drawn.append(given) or draw(*given))
    options = ["--num-features", 40, "--top-k", 9, "--output", tmp_path / "a.svg"]
    code, out, _ = show("methods.TEMPLATE:MyFeature", photo, *options)
    assert code == 0
    ((image, features, top_k, scores, title),) = drawn
    with Image.open(photo) as expected:
        np.testing.assert_array_equal(image, np.asarray(expected))
    assert len(features) <= 40 and f"{len(features)} keypoints" in out
    assert (top_k, scores) == (9, None)
    assert title == "methods.TEMPLATE.MyFeature on v_tiny/1.ppm"
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_the_default_output_is_named_by_method_and_folder(show, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = show("rootsift", photo)
    path = command.DEFAULT_OUTPUT / "rootsift_v_tiny_1.png"
    assert code == 0 and f"wrote {path}" in out
    assert (tmp_path / path).is_file()


def test_an_image_without_keypoints(show, tmp_path):
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "flat.png")
    code, _, error = show("rootsift", tmp_path / "flat.png", "--output", tmp_path / "out.png")
    notes = ("has no contrast: all pixels are equal", "no features")
    assert code == 0
    assert error.splitlines() == [f"note: {tmp_path / 'flat.png'}: {note}" for note in notes]
    assert size_of(tmp_path / "out.png")[0] > 100


def test_mistakes_are_one_line(show, photo, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    whole = photo.read_bytes()
    (tmp_path / "cut.ppm").write_bytes(whole[: len(whole) // 2])
    for arguments, reason in (
        (("rootsift", tmp_path / "missing.png"), "missing.png: is missing"),
        (("rootsift", tmp_path / "text.png"), "text.png: is not an image"),
        (("rootsift", tmp_path / "cut.ppm"), "cut.ppm: broken image"),
        (("rootsift", tmp_path), f"{tmp_path}: is a folder"),
        (("rootsif", photo), "unknown method 'rootsif'; did you mean rootsift"),
        (("precomputed:x", photo), "show: precomputed:x stands for files; name a method"),
        (("rootsift", photo, "--output", "a.gif"), "--output a.gif: must end with .png or .svg"),
        (("rootsift", photo, "--device", "nothing"), "--device nothing: not available here"),
        (("--top-k", "5", "rootsift", photo), "show: name the method first"),
    ):
        code, out, error = show(*arguments)
        assert (code, out, error.count("\n")) == (2, "", 1), arguments
        assert reason in error
