"""Matchers of images: the contract that each keeps, and LoFTR against kornia's own."""

import argparse
import json
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from option_contract import assert_options

import d2eval
from d2eval.cli import main
from d2eval.cli.common import add_config_arguments
from d2eval.contracts.features import InvalidFeaturesError
from d2eval.contracts.image_matcher import ImageMatcher, ImageMatches, points_of_images
from d2eval.contracts.method import method_class
from d2eval.contracts.options import Runtime
from d2eval.contracts.registry import registered
from d2eval.contracts.weights import NONE_NEEDED, NOT_STATED
from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.homographies.homography import Homography
from d2eval.hpatches.homographies.pairs import COLUMNS
from d2eval.pipeline.resizing import Resize, ResizedImages
from d2eval.report.figures import Sources
from d2eval.runs.measured import RunPlace

MATCHERS = [n for n in registered() if issubclass(method_class(n), ImageMatcher)]
SIDE = 64
LARGE = 128


class Shift(ImageMatcher):
    """Points of a grid that lie where they lie in the other image."""

    description = "a grid"
    license = "BSD-3-Clause"
    weights = NONE_NEEDED
    given = 0

    def __init__(self, config=None, runtime=None):
        pass

    def match_images(self, first, second):
        type(self).given += 1
        across, down = (np.arange(5, side - 5, 10) for side in first.shape[1::-1])
        points = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2).astype(np.float32)
        return ImageMatches(points, points + 1, np.linspace(0, 1, len(points), dtype=np.float32))


def pictures(side=SIDE):
    noise = np.random.default_rng(3).uniform(0, 255, (side + 8, side + 12, 3))
    blurred = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    image = blurred.astype(np.uint8)
    return np.ascontiguousarray(image[:-8, :-12]), np.ascontiguousarray(image[4:, 6:])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights, and kornia's network with them."""
    torch = pytest.importorskip("torch")
    network_of = pytest.importorskip("kornia.feature").LoFTR
    torch.manual_seed(0)
    network = network_of(None).eval()
    with torch.no_grad():  # so that what the network sees weighs more than its random attention
        for name, values in network.named_parameters():
            if "norm2.weight" in name:
                values *= 0.1
    path = tmp_path_factory.mktemp("weights") / "loftr.ckpt"
    named = {f"matcher.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": named}, path)
    return path, network


@pytest.fixture(scope="module")
def loftr(weights):
    cls = method_class("loftr")
    return cls(cls.Config(threshold=0.0, weights=str(weights[0])), Runtime())


@pytest.mark.parametrize("name", MATCHERS)
def test_what_it_says_of_itself(name, tmp_path):
    cls = method_class(name)
    assert cls.description.strip() and "\n" not in cls.description
    assert cls.license != NOT_STATED.name and cls.papers
    assert_options(cls.Config)
    parser = argparse.ArgumentParser()
    add_config_arguments(parser, name)
    assert cls.weights_state(Runtime(cache=tmp_path)).startswith(("missing", "official"))


def test_its_identity_is_that_of_its_weights(loftr, weights):
    cls = method_class("loftr")
    config = cls.Config(threshold=0.0, weights=str(weights[0]))
    identity = loftr.identity("loftr", config)
    assert json.loads(json.dumps(asdict(identity)))["config"] == {
        "variant": "outdoor", "threshold": 0.0
    }  # fmt: skip
    assert identity.key != loftr.identity("loftr", cls.Config(weights=str(weights[0]))).key


def test_loftr_gives_what_kornias_own_gives(loftr, weights):
    torch = pytest.importorskip("torch")
    images = pictures(LARGE)
    network = weights[1]
    before = network.config["match_coarse"]["thr"]
    network.coarse_matching.thr = 0.0
    grays = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255 for i in images]
    with torch.inference_mode():
        raw = network({f"image{k}": torch.from_numpy(g)[None, None] for k, g in enumerate(grays)})
    assert before == 0.2 and len(raw["confidence"]) > 4
    first, second = points_of_images(loftr, *images)
    order = np.argsort(-raw["confidence"].numpy(), kind="stable")
    limit = np.array([LARGE, LARGE]) - 0.5
    for found, name in ((first, "keypoints0"), (second, "keypoints1")):
        expected = np.clip(raw[name].numpy()[order] - 0.5, -0.5, limit)
        np.testing.assert_allclose(found.keypoints, expected, atol=1e-4)
        np.testing.assert_allclose(found.scores, raw["confidence"].numpy()[order], rtol=1e-5)
    again = points_of_images(loftr, *images)[1]
    np.testing.assert_array_equal(again.keypoints, second.keypoints)


def test_small_images_have_no_matches_and_one_has_no_features(loftr):
    small = np.zeros((20, 90, 3), np.uint8)
    assert len(points_of_images(loftr, small, pictures()[0])[0]) == 0
    with pytest.raises(D2EvalError, match="LoFTR matches two images at once"):
        loftr.extract(small)


def test_weights_that_are_missing_or_others_are_one_line(tmp_path):
    pytest.importorskip("kornia")
    cls, runtime = method_class("loftr"), Runtime(cache=tmp_path)
    with pytest.raises(D2EvalError, match="d2eval fetch loftr"):
        cls(cls.Config(), runtime)
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"matcher.a": torch.zeros(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(D2EvalError, match="weights of another network"):
        cls(cls.Config(weights=str(tmp_path / "other.ckpt")), runtime)


def test_without_kornia_it_is_one_line(monkeypatch):
    cls = method_class("loftr")
    monkeypatch.setattr("methods.modern.networks.has_kornia", lambda: False)
    with pytest.raises(D2EvalError, match="loftr needs kornia, which is not installed; run: pip"):
        cls(cls.Config(), Runtime())


def test_matches_that_break_the_contract():
    class Bad(Shift):
        def match_images(self, first, second):
            found = super().match_images(first, second)
            return ImageMatches(found.first[1:], found.second, found.scores)

    class Outside(Shift):
        def match_images(self, first, second):
            found = super().match_images(first, second)
            return ImageMatches(found.first, found.second + 1000, found.scores)

    for matcher, said in ((Bad(), "points, "), (Outside(), "outside")):
        with pytest.raises(InvalidFeaturesError, match=said):
            points_of_images(matcher, *pictures())


def test_points_of_resized_images_are_of_the_images(tmp_path):
    resize = Resize("long", [40], "down", 8, "square", "linear")
    image = np.zeros((60, 80, 3), np.uint8)
    found = ResizedImages(Shift(), resize).match_images(image, image)
    assert resize.size(80, 60) == (40, 24)
    # 25 and 35 lie below the 24 rows that aren't padding, and so does 15 in no image
    assert sorted({*found.first[:, 1]}) == pytest.approx([(5.5 * 60 / 24) - 0.5, 15.5 * 2.5 - 0.5])
    assert found.second[0] - found.first[0] == pytest.approx([2, 2.5])


@pytest.fixture
def own(tmp_path):
    """Two pictures with pairs.csv, of which the second is the first one moved."""
    root = tmp_path / "mine"
    root.mkdir()
    for name, image in zip(("a.png", "b.png"), pictures(), strict=True):
        cv2.imwrite(str(root / name), image)
    numbers = ["1", "0", "-6", "0", "1", "-4", "0", "0", "1"]
    line = ",".join(["s", "a.png", "b.png", *numbers])
    (root / "pairs.csv").write_text(f"{','.join(COLUMNS)}\n{line}\n")
    return root


def test_points_come_to_rows_and_pictures_and_are_kept(own, tmp_path):
    Shift.given = 0
    settings = {"data": own, "cache": tmp_path, "output": tmp_path, "name": "grid"}
    found = d2eval.evaluate("homography", f"{__name__}:Shift", **settings)
    (row,) = found.rows.to_dict("records")
    assert row["matches"] == row["features_0"] == row["features_1"] == 36
    manifest = json.loads((found.folder / "manifest.json").read_text())
    assert manifest["features"]["matches_images"]
    assert manifest["matcher"] == {"name": "", "default": True}
    fewer = d2eval.evaluate("homography", f"{__name__}:Shift", top_k=5, **settings | {"name": "k"})
    assert fewer.rows["matches"].tolist() == [5]
    assert Shift.given == 1
    item = Homography().item_names(found.folder, "grid")[0]
    figure = Homography().view([RunPlace("grid", found.folder)], item, Sources(tmp_path, own))
    assert "36 matches of 36 and 36" in figure.axes[0].get_title(loc="left") + "".join(
        text.get_text() for text in (figure.axes[0].title, *figure.texts)
    )


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["twoview", "hpatches"])
def test_samples_of_other_benchmarks_of_pairs(benchmark, tmp_path, capsys):
    Shift.given = 0
    settings = {"cache": tmp_path, "output": tmp_path, "name": "grid"}
    found = d2eval.evaluate(benchmark, f"{__name__}:Shift", **settings)
    assert Shift.given == len(found.rows) > 0
    if benchmark == "hpatches":
        assert found.rows["repeatability"].isna().all() and found.rows["mma_3px"].notna().all()
    assert main(["tables", benchmark, "--runs", str(tmp_path), "--output", str(tmp_path)]) == 0


@pytest.mark.parametrize("benchmark", ["aachen", "inloc"])
def test_others_refuse_it_in_one_line(benchmark, tmp_path, capsys):
    command = [benchmark, "--method", f"{__name__}:Shift", "--cache", str(tmp_path)]
    assert main([*command, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "matches two images at once and has no features of one" in error


def test_a_matcher_beside_it_is_refused(tmp_path, capsys):
    command = ["twoview", "--method", f"{__name__}:Shift", "--matcher", "mnn"]
    assert main([*command, "--cache", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "matches images; leave it out" in capsys.readouterr().err
