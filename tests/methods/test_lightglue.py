"""LightGlue: what it refuses, the authors' tensors in kornia's network, and real images."""

import numpy as np
import pytest
import torch
from official_counts import SEQUENCES, mutual_nearest
from places import needs

pytest.importorskip("kornia")
from d2eval.contracts.features import Features
from d2eval.contracts.matcher import MatcherChoice
from d2eval.contracts.method import Runtime, method_class
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.paths import default_cache
from d2eval.foundation.images.decoding import read_image
from d2eval.hpatches.dataset import read_homography
from d2eval.metrics.matching import match_errors, mean_matching_accuracy
from d2eval.pipeline.pairs import open_matcher
from methods.matchers.lightglue import LightGlue, LightGlueConfig

DEFAULT = MatcherChoice("mnn")


def features(n: int, dim: int, seed: int) -> Features:
    random = np.random.default_rng(seed)
    descriptors = random.normal(size=(n, dim))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Features(random.uniform(0, 99, (n, 2)), random.random(n), descriptors, (100, 100))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights under the names of the authors' release."""
    from kornia.feature import LightGlue as Network

    torch.manual_seed(0)
    state = {}
    for name, value in Network(features=None, input_dim=128).state_dict().items():
        for kind in ("self_attn", "cross_attn"):
            if f".{kind}." in name:
                _, layer, _, rest = name.split(".", 3)
                name = f"{kind}.{layer}.{rest}"
        if name != "confidence_thresholds":
            state[name] = value
    state["log_assignment.0.r"] = torch.ones(1)  # DISK's file has such ones, of no use
    path = tmp_path_factory.mktemp("lightglue") / "aliked_lightglue.pth"
    torch.save(state, path)
    return path


def test_the_method_decides_which_weights(tmp_path):
    for name in ("aliked", "disk"):
        with pytest.raises(D2EvalError, match=f"no {name}_lightglue.pth; run: d2eval fetch"):
            open_matcher(MatcherChoice("lightglue"), DEFAULT, Runtime(cache=tmp_path), name)
    with pytest.raises(D2EvalError, match="not trained on rootsift, but on aliked and disk"):
        open_matcher(MatcherChoice("lightglue"), DEFAULT, Runtime(cache=tmp_path), "rootsift")


def test_every_tensor_of_the_authors_has_its_place(weights):
    matcher = LightGlue(LightGlueConfig(weights=str(weights)), Runtime(method="aliked"))
    loaded = matcher._network.state_dict()
    for name, value in torch.load(weights).items():
        if name == "log_assignment.0.r":
            continue
        kind, _, rest = name.partition(".")
        if kind in ("self_attn", "cross_attn"):
            layer, _, rest = rest.partition(".")
            name = f"transformers.{layer}.{kind}.{rest}"
        assert torch.equal(loaded[name], value)
    assert not matcher._network.training


def test_descriptors_of_another_length_are_refused(weights):
    matcher = LightGlue(LightGlueConfig(weights=str(weights)), Runtime(method="aliked"))
    with pytest.raises(D2EvalError, match="takes descriptors of 128 numbers, not 64"):
        matcher.match(features(5, 64, 0), features(5, 64, 1))


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(D2EvalError, match=r"other\.pth: weights of another network"):
        LightGlue(LightGlueConfig(weights=str(path)), Runtime(method="disk"))


@pytest.mark.slow
@needs(SEQUENCES)
@pytest.mark.parametrize("name", ["aliked", "disk"])
def test_mma_of_a_real_sequence_rises_over_mutual_nearest_neighbours(name):
    """Of 2048 keypoints of graffiti; more than by .2 with the authors' weights."""
    runtime = Runtime(cache=default_cache(), method=name)
    try:
        matcher = LightGlue(LightGlueConfig(), runtime)
    except D2EvalError as error:
        pytest.skip(str(error))
    cls = method_class(name)
    method = cls(cls.Config(), runtime)
    folder = SEQUENCES / "v_graffiti"
    found = [method.extract(read_image(folder / f"{k}.ppm")).top_k(2048) for k in range(1, 7)]

    def mma(match):
        rates = []
        for k, other in enumerate(found[1:], 2):
            first, second = match(found[0], other).T
            points = found[0].keypoints[first], other.keypoints[second]
            errors = match_errors(*points, read_homography(folder / f"H_1_{k}"))
            rates.append(mean_matching_accuracy(errors, 3.0))
        return np.mean(rates)

    assert mma(matcher.match) > mma(mutual_nearest) + 0.2
