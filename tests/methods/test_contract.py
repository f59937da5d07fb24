"""The contract that every method keeps: those of this repository, the template, and whatever
installed packages add. A new method needs no test of its own to be held to it."""

import argparse
import dataclasses
import importlib
import itertools
import json

import numpy as np
import pytest
from option_contract import assert_options

from d2eval.cli import COMMANDS
from d2eval.cli.common import add_config_arguments
from d2eval.cli.evaluate import Command
from d2eval.contracts.citations import papers_of
from d2eval.contracts.features import NORM_TOLERANCE, Features
from d2eval.contracts.image_matcher import ImageMatcher
from d2eval.contracts.method import Method, Runtime, method_class, registered
from d2eval.contracts.weights import NONE_NEEDED, NOT_STATED
from d2eval.foundation.files.bundled import bundled
from d2eval.foundation.files.paths import default_cache
from d2eval.foundation.images.decoding import read_image

TEMPLATE = "methods.TEMPLATE:MyFeature"
METHODS = [
    name for name in (*registered(), TEMPLATE) if not issubclass(method_class(name), ImageMatcher)
]  # test_image_matchers has those
WIDTH, HEIGHT = 128, 88  # ORB sees nothing within 31 pixels of a border
# See keypoints up to the border, and take the longest.
SHRUNK = {"d2_ss": 2, "d2_ms": 2, "disk": 2}
COMMAND_MODULES = [importlib.import_module(module) for module, _ in COMMANDS.values()]
COMMAND_MODULES += [Command(name) for name in registered("benchmarks")]
TAKING_A_METHOD = [m for m in COMMAND_MODULES if getattr(m, "TAKES_METHOD", False)]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(cache=default_cache())  # where fetched weights are


# The trained ones differ by their weights alone from others, d2_ms from d2_ss by its pyramid.
SLOW = {"d2_ms", *(name for name in METHODS if name.endswith("_trained"))}


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow if n in SLOW else []) for n in METHODS],
)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def method(name: str, runtime: Runtime) -> Method:
    cls = method_class(name)
    state = cls.weights_state(runtime)
    if state.startswith("missing"):
        pytest.skip(f"weights {state.partition(';')[0]}")
    return cls(cls.Config(), runtime)


@pytest.fixture(scope="module")
def wide(name: str) -> np.ndarray:
    path = bundled("benchmarks") / "sample" / "photos" / "coffee.jpg"
    photo = read_image(path)
    height, width = (length // SHRUNK.get(name, 1) for length in (HEIGHT, WIDTH))
    return np.ascontiguousarray(photo[240 : 240 + height, 240 : 240 + width])


@pytest.fixture(scope="module")
def features(method: Method, wide: np.ndarray) -> Features:
    return method.extract(wide)


def assert_valid(features: Features, image: np.ndarray, method: Method) -> None:
    """What `Features` promises, checked here once more on what a method really gave."""
    n = len(features)
    height, width = image.shape[:2]
    assert features.image_size == (width, height)
    assert features.keypoints.shape == (n, 2)
    assert features.scores.shape == (n,)
    assert features.descriptors.shape == (n, method.descriptor_dim)
    arrays = [features.keypoints, features.scores, features.descriptors]
    if features.scales is not None:
        assert features.scales.shape == (n,)
        assert (features.scales > 0).all()
        arrays.append(features.scales)
    for array in arrays:
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    if n:
        assert (features.keypoints >= -0.5).all()
        assert (features.keypoints <= (width - 0.5, height - 0.5)).all()
        norms = np.linalg.norm(features.descriptors, axis=1)
        assert np.abs(norms - 1).max() <= NORM_TOLERANCE


def assert_same(a: Features, b: Features) -> None:
    assert a.image_size == b.image_size
    for field in ("keypoints", "scores", "descriptors", "scales"):
        assert np.array_equal(getattr(a, field), getattr(b, field))


def test_what_it_says_of_itself(name, runtime):
    cls = method_class(name)
    assert cls.description.strip()
    assert "\n" not in cls.description
    assert cls.license != NOT_STATED.name
    assert cls.papers is not None
    assert len(papers_of(cls)) == len(cls.papers)
    assert isinstance(cls.descriptor_dim, int)
    assert cls.descriptor_dim > 0
    assert isinstance(cls.version, int)
    assert cls.weights_state(runtime).strip()


def test_its_options(name):
    assert_options(method_class(name).Config)


@pytest.mark.parametrize(
    "command", TAKING_A_METHOD, ids=lambda m: getattr(m, "name", m.__doc__[:9])
)
def test_its_options_do_not_hide_those_of_a_command(name, command):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    parser.conflict_handler = "error"
    add_config_arguments(parser, name)


def test_its_architecture(name):
    cls = method_class(name)
    described = cls.architecture(cls.Config(), (WIDTH, HEIGHT))
    if described is None:
        return
    assert described.image_size == (WIDTH, HEIGHT)
    assert described.layers
    assert described.levels
    for before, after in itertools.pairwise(described.layers):
        assert before.outputs == after.inputs
    assert all(all(layer.size) for layer in described.trace())
    assert described.parameters > 0
    assert described.flop() > 0


def test_its_operations_are_those_of_its_architecture(method, wide):
    described = type(method).architecture(method.Config(), wide.shape[1::-1])
    operations = method.run_network(wide)
    if described is not None and operations is not None:
        assert described.flop() == operations


def test_its_score_map(method, wide):
    scores = method.score_map(wide)
    if scores is None:
        return
    assert scores.name.strip()
    assert scores.values.dtype == np.float32
    assert scores.values.ndim == 2
    assert np.isfinite(scores.values).all()
    assert (scores.values >= 0).all()
    cells = scores.values.shape[::-1]
    for start, step, count, length in zip(
        scores.origin, scores.step, cells, wide.shape[1::-1], strict=True
    ):
        assert step > 0
        assert -0.5 <= start <= start + step * (count - 1) <= length - 0.5
    method.score_map(np.ascontiguousarray(wide[:1, :1]))  # too small for most; no error


def test_a_photo(method, features, wide):
    assert_valid(features, wide, method)
    assert len(features) > 0
    assert len(np.unique(features.scores)) > 1 or len(features) == 1


def test_the_image_is_not_changed(method, wide):
    image = wide.copy()
    method.extract(image)
    assert np.array_equal(image, wide)


def test_keypoints_are_x_and_y(method, features, wide):
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    turned = method.extract(tall)
    assert_valid(turned, tall, method)
    assert features.keypoints[:, 0].max() > len(wide)
    assert turned.keypoints[:, 1].max() > len(wide)


def test_the_same_image_gives_the_same_features(method, features, wide):
    assert_same(method.extract(wide.copy()), features)
    method.extract(255 - wide[::2, 1::3])
    assert_same(method.extract(wide), features)


def test_another_instance_gives_the_same_features(name, method, runtime, features, wide):
    cls = method_class(name)
    other = cls(cls.Config(), runtime)
    assert_same(other.extract(wide), features)
    assert other.identity(name, cls.Config()) == method.identity(name, cls.Config())


def test_a_grey_image(method, wide):
    grey = np.repeat(wide[..., 1:2], 3, axis=2)
    found = method.extract(grey)
    assert_valid(found, grey, method)
    assert len(found) > 0


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_image(method, value):
    image = np.full((40, 60, 3), value, np.uint8)
    assert_valid(method.extract(image), image, method)


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (7, 9), (16, 16)])
def test_tiny_images(method, wide, size):
    image = np.ascontiguousarray(wide[: size[0], : size[1]])
    assert_valid(method.extract(image), image, method)


def test_its_identity_can_be_stored(name, method):
    identity = method.identity(name, method.Config())
    text = json.dumps(dataclasses.asdict(identity), sort_keys=True)
    assert json.loads(text)["method"] == name
    assert identity.key == method.identity(name, method.Config()).key
    assert len(identity.key) == 16
    if identity.weights is not None:
        stated = identity.weights not in (NONE_NEEDED, NOT_STATED)
        assert len(identity.weights.sha256) == (64 if stated else 0)
        assert identity.weights.name.strip()
