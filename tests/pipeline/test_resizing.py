import cv2
import numpy as np
import pytest

from d2eval.contracts.features import make_features
from d2eval.contracts.method import Method
from d2eval.contracts.options import NoOptions, Runtime
from d2eval.foundation.errors import D2EvalError
from d2eval.pipeline.extraction import source_of_method
from d2eval.pipeline.resizing import Resize, ResizedMethod, resized


def rule(side="long", size=(1200,), rounding="nearest", multiple=1, padding="none", by="linear"):
    return Resize(side, list(size), rounding, multiple, padding, by)


@pytest.mark.parametrize(
    ("own", "size", "expected"),
    [
        (rule(size=(1200,), multiple=32), (1600, 1200), (1184, 896)),  # XFeat's
        (rule(size=(1200,), multiple=32), (1067, 1600), (800, 1184)),
        (rule(size=(840,), multiple=8), (1600, 1066), (840, 560)),  # LoFTR's: 559.65 is 560
        (rule(size=(840,), rounding="down", multiple=8), (1600, 1066), (840, 552)),
        (rule(size=(1600,), rounding="down"), (1296, 968), (1600, 1195)),  # 1195.06
        (rule("short", (480,), "down"), (1000, 700), (685, 480)),
        (rule("both", (640, 480)), (1296, 968), (640, 480)),
        (rule("none", ()), (333, 77), (333, 77)),
        (rule("none", (), multiple=32), (100, 20), (96, 32)),
    ],
)
def test_sizes_are_those_of_the_papers(own, size, expected):
    assert own.size(*size) == expected


class Dot(Method):
    """The brightest spot, as one feature, and one in the padding where there is any."""

    description, descriptor_dim = "dot", 2

    def __init__(self, config=None, runtime=None):
        self.seen = None

    def extract(self, image):
        self.seen = image.shape[1], image.shape[0]
        grey = image[..., 0].astype(float)
        y, x = (np.indices(grey.shape) * grey).sum(axis=(1, 2)) / grey.sum()
        corner = [self.seen[0] - 1, self.seen[1] - 1]
        return make_features(
            [[x, y], corner], [1, 2], np.eye(2), self.seen, [3, 3],
            affine_shapes=[np.eye(2)] * 2,
        )  # fmt: skip


def picture(center, size=(400, 300)):
    y, x = np.indices(size[::-1])
    spot = np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / 2 / 8**2)
    return np.repeat(np.rint(255 * spot)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("by", ["linear", "antialias"])
@pytest.mark.parametrize("size", [200, 800, 250])
def test_keypoints_are_where_they_are_in_the_original(size, by):
    center = (123.25, 80.75)
    method = Dot()
    found = ResizedMethod(method, rule(size=(size,), by=by)).extract(picture(center))
    assert method.seen[0] == size
    assert found.image_size == (400, 300)
    assert np.allclose(found.keypoints[0], center, atol=0.05)
    assert found.scales[0] == pytest.approx(3 * 400 / size, rel=5e-3)
    assert np.allclose(found.affine_shapes[0], np.eye(2) * 400 / size, rtol=5e-3)


def test_features_of_the_padding_are_dropped():
    method = Dot()
    own = rule(size=(200,), padding="square")
    found = ResizedMethod(method, own).extract(picture((100, 50)))
    assert method.seen == (200, 200)
    assert len(found) == 1
    assert np.allclose(found.keypoints[0], (100, 50), atol=0.05)


def test_the_key_of_stored_features_tells_how_they_were_resized(tmp_path):
    method = Dot()
    source = source_of_method(method, method.identity("dot", NoOptions()), Runtime(cache=tmp_path))
    keys = {
        resized(source, own).identity.key
        for own in (rule(), rule(size=(1000,)), rule(by="antialias"), rule(multiple=8))
    }
    assert len(keys) == 4
    assert source.identity.key not in keys
    assert resized(source, rule("none", ())) is source


@pytest.mark.parametrize(
    "wrong",
    [
        {"side": "wide"}, {"size": ()}, {"size": (1, 2)}, {"side": "both"}, {"side": "none"},
        {"size": (0,)}, {"multiple": 0}, {"multiple": 2000}, {"by": "magic"}, {"padding": "round"},
        {"rounding": "up"},
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused(wrong):
    with pytest.raises(D2EvalError):
        rule(**wrong)


def test_opencv_scales_by_the_same_corner():
    # What the factors say is what OpenCV does: pixel x of the small image is at (x + .5) / f - .5.
    ramp = np.tile(np.arange(100, dtype=np.float32), (10, 1))
    small = cv2.resize(ramp, (50, 5), interpolation=cv2.INTER_LINEAR)
    factor = rule(size=(50,)).factors((100, 10))[0]
    assert small[2, 10] == pytest.approx((10 + 0.5) / factor - 0.5)
