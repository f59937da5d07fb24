import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.limits import LIMITS
from d2eval.foundation.images.decoding import load_image_file
from d2eval.pipeline.featurefiles import read_feature_file
from d2eval.pipeline.precomputed import PrecomputedConfig, PrecomputedFeatures

SIZE = (40, 30)


def arrays(n: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    descriptors = rng.normal(size=(n, 8))
    return {
        "keypoints": rng.uniform(0, 29, (n, 3)).astype(np.float32),
        "scores": rng.random(n).astype(np.float32),
        "descriptors": descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
    }


def npz(content: dict[str, np.ndarray], save=np.savez) -> bytes:
    data = io.BytesIO()
    save(data, **content)
    return data.getvalue()


def mat(content: dict[str, np.ndarray]) -> bytes:
    data = io.BytesIO()
    savemat(data, content)
    return data.getvalue()


@pytest.fixture
def dataset(tmp_path):
    """An image ``seq/1.png`` and a folder for its features."""
    (tmp_path / "data" / "seq").mkdir(parents=True)
    Image.new("RGB", SIZE).save(tmp_path / "data" / "seq" / "1.png")
    (tmp_path / "feats" / "seq").mkdir(parents=True)
    return tmp_path


def source(dataset: Path, extension: str = "") -> PrecomputedFeatures:
    return PrecomputedFeatures(dataset / "feats", PrecomputedConfig(extension))


def read(dataset: Path, extension: str = "", name: str = "seq/1.png"):
    image = load_image_file(dataset / "data" / name)
    return source(dataset, extension).read(image, name)


def refused(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "1.png.x"
    path.write_bytes(data)
    with pytest.raises(D2EvalError) as caught:
        read_feature_file(path, SIZE)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("write", [npz, mat, lambda a: npz(a, np.savez_compressed)])
def test_what_a_file_is_shows_in_its_bytes(dataset, write):
    content = arrays()
    (dataset / "feats" / "seq" / "1.png.any").write_bytes(write(content))
    found = read(dataset).features
    assert np.array_equal(found.keypoints, content["keypoints"][:, :2])
    assert np.array_equal(found.scales, content["keypoints"][:, 2])
    assert np.allclose(found.descriptors, content["descriptors"])
    assert found.image_size == SIZE


def test_keypoints_may_have_no_scale_or_more_columns(tmp_path):
    content = arrays()
    for columns, has_scales in ((2, False), (5, True)):
        keypoints = np.resize(content["keypoints"], (6, columns))
        (tmp_path / "x").write_bytes(npz({**content, "keypoints": keypoints}))
        assert (read_feature_file(tmp_path / "x", SIZE)[0].scales is not None) == has_scales


@pytest.mark.parametrize("write", [npz, mat])
def test_no_keypoints_are_features_too(tmp_path, write):
    (tmp_path / "x").write_bytes(write(arrays(0)))
    found, _ = read_feature_file(tmp_path / "x", SIZE)
    assert (len(found), found.descriptors.shape) == (0, (0, 8))


def test_the_key_is_that_of_the_content(dataset):
    path = dataset / "feats" / "seq" / "1.png.x"
    path.write_bytes(npz(arrays(6)))
    first = read(dataset).key
    path.write_bytes(npz(arrays(7)))
    assert read(dataset).key != first
    path.write_bytes(npz(arrays(6)))
    assert read(dataset).key == first


def test_several_kinds_of_features_need_a_choice(dataset):
    for extension, n in ((".d2-net", 6), (".sift", 7)):
        (dataset / "feats" / "seq" / f"1.png{extension}").write_bytes(npz(arrays(n)))
    with pytest.raises(D2EvalError, match=r"1\.png\.\*: several .*\.d2-net, \.sift.*--extension"):
        read(dataset)
    assert len(read(dataset, ".sift").features) == len(read(dataset, "sift").features) == 7


def test_images_beside_the_features_are_no_features(dataset):
    (dataset / "feats" / "seq" / "1.png.sift").write_bytes(npz(arrays()))
    for other in ("1.png.png", "1.png.JPG", "11.png.sift", ".1.png.sift.tmp"):
        (dataset / "feats" / "seq" / other).write_bytes(b"")
    assert len(read(dataset).features) == 6


def test_names_are_no_patterns(dataset):
    for name in ("[1].png", "1.png"):
        Image.new("RGB", SIZE).save(dataset / "data" / "seq" / name)
    (dataset / "feats" / "seq" / "[1].png.x").write_bytes(npz(arrays(7)))
    assert len(read(dataset, name="seq/[1].png").features) == 7


@pytest.mark.parametrize("write", [npz, mat])
@pytest.mark.parametrize("shape", [(0,), (0, 0), (0, 2), (2, 0), (1, 0), (0, 128)])
def test_arrays_without_elements_are_no_features(tmp_path, write, shape):
    empty = dict.fromkeys(("keypoints", "scores", "descriptors"), np.zeros(shape))
    (tmp_path / "x").write_bytes(write(empty))
    found, _ = read_feature_file(tmp_path / "x", SIZE)
    assert (len(found), found.keypoints.shape, found.image_size) == (0, (0, 2), SIZE)


@pytest.mark.parametrize("name", ["keypoints", "scores", "descriptors"])
def test_one_array_without_elements_is_a_mistake(tmp_path, name):
    assert refused(tmp_path, npz({**arrays(), name: np.zeros((0, 2))})).startswith(
        ("scores are (6,), not (0,)", "scores are (0,), not (6,)", "descriptors are (0, 2), not (6")
    )


@pytest.mark.parametrize("kind", [">f4", "<f8", "f2", "g", "i2", ">u4"])
def test_real_numbers_of_any_type(tmp_path, kind):
    content = {
        "keypoints": np.array([[1, 2], [30, 20]], kind),
        "scores": np.array([3, 1], kind),
        "descriptors": np.eye(2).astype(kind),
    }
    (tmp_path / "x").write_bytes(npz(content))
    found, _ = read_feature_file(tmp_path / "x", SIZE)
    assert found.keypoints.tolist() == [[1, 2], [30, 20]]
    assert found.scores.tolist() == [3, 1]
    assert found.descriptors.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("kind", ["c8", "?", "U3", "S3", "M8[s]", [("x", "f4")]])
@pytest.mark.parametrize("name", ["keypoints", "scores", "descriptors", "orientations"])
def test_values_that_are_no_real_numbers(tmp_path, kind, name):
    content = {"orientations": np.zeros(6), **arrays()}
    content[name] = np.zeros(content[name].shape, kind)
    assert f"{name} holds {content[name].dtype}, not real" in refused(tmp_path, npz(content))


@pytest.mark.parametrize("value", [1j, "text", np.array([1, "a"], object)])
def test_values_of_matlab_that_are_no_real_numbers(tmp_path, value):
    content = {**arrays(), "scores": value}
    assert "scores is no array of real numbers" in refused(tmp_path, mat(content))


def test_numbers_beyond_float32(tmp_path):
    content = arrays()
    content["scores"] = np.full(6, 1e300)
    assert "scores holds NaN or infinite values" in refused(tmp_path, npz(content))


def test_keypoints_that_lie_the_other_way(tmp_path):
    content = arrays()
    content["keypoints"] = content["keypoints"].T
    assert "keypoints are (3, 6), not (N, 2) or (N, 3); write them" in refused(
        tmp_path, npz(content)
    )


def test_descriptors_of_other_length_name_both_files(dataset):
    for k, columns in ((1, 8), (2, 4), (3, 8)):
        Image.new("RGB", SIZE).save(dataset / "data" / "seq" / f"{k}.png")
        descriptors = np.eye(columns)[np.arange(6) % columns]
        content = {**arrays(), "descriptors": descriptors}
        (dataset / "feats" / "seq" / f"{k}.png.x").write_bytes(npz(content))
    (dataset / "feats" / "seq" / "3.png.x").write_bytes(npz(arrays(0)))
    reader = source(dataset)
    for name in ("seq/3.png", "seq/1.png", "seq/3.png"):  # none has no length
        reader.read(load_image_file(dataset / "data" / name), name)
    with pytest.raises(D2EvalError, match=r"2\.png\.x: descriptors have 4 .*1\.png\.x have 8"):
        reader.read(load_image_file(dataset / "data" / "seq/2.png"), "seq/2.png")


def member(shape: tuple[int, ...], kind: str, content: bytes) -> bytes:
    """An npy file by hand."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def zipped(content: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            archive.writestr(f"{name}.npy", value)
    return data.getvalue()


def peak_mib(work) -> float:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_arrays_by_hand(tmp_path):
    floats = np.array([[1, 2], [3, 4]], "<f4").tobytes()
    whole = {
        "keypoints": member((2, 2), "<f4", floats),
        "scores": member((2,), "<f4", floats[:8]),
        "descriptors": member((2, 1), "<f4", np.ones(2, "<f4").tobytes()),
    }
    (tmp_path / "x").write_bytes(zipped(whole))
    found, _ = read_feature_file(tmp_path / "x", SIZE)
    assert found.keypoints.tolist() == [[1, 2], [3, 4]]
    for shape in ((2**40, 2**10), (10**4000, 2), (-2, 2), (3, 2), (1, 2)):
        data = zipped({**whole, "keypoints": member(shape, "<f4", floats)})
        assert peak_mib(lambda data=data: refused(tmp_path, data)) < 20
    assert "broken npz file" in refused(
        tmp_path, zipped({**whole, "keypoints": b"\x93NUMPY\x03\x00" + bytes(99)})
    )


def test_a_small_file_that_unpacks_to_much(tmp_path, monkeypatch):
    monkeypatch.setattr(LIMITS, "unpacked_mib", 16)
    bomb = member((6 << 20, 1), "<f4", bytes(24 << 20))
    data = zipped(dict.fromkeys(("keypoints", "scores", "descriptors"), bomb))
    assert len(data) < 200_000
    assert peak_mib(lambda: refused(tmp_path, data)) < 10
    message = refused(tmp_path, data)
    assert "more than 16 MiB" in message and "D2EVAL_MAX_UNPACKED_MIB" in message
    monkeypatch.setattr(LIMITS, "unpacked_mib", 256)
    assert "keypoints are" in refused(tmp_path, data)


def test_missing_features(dataset):
    with pytest.raises(D2EvalError, match=r"1\.png\.\*: no features for this image"):
        read(dataset)
    with pytest.raises(D2EvalError, match=r"1\.png\.x: is missing"):
        read(dataset, ".x")
    with pytest.raises(D2EvalError, match="nothing: no such folder or file"):
        PrecomputedFeatures(dataset / "nothing", PrecomputedConfig())


@pytest.mark.parametrize("name", ["keypoints", "scores", "descriptors"])
def test_missing_arrays(tmp_path, name):
    content = arrays()
    del content[name]
    assert f"holds no {name}" in refused(tmp_path, npz(content))
    assert f"holds no {name}" in refused(tmp_path, mat(content))


@pytest.mark.parametrize("name", ["keypoints", "scores", "descriptors"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, name, value):
    content = arrays()
    content[name].flat[3] = value
    assert f"{name} holds NaN or infinite values" in refused(tmp_path, npz(content))


def test_descriptors_that_are_not_normalised(tmp_path):
    content = arrays()
    message = refused(tmp_path, npz({**content, "descriptors": content["descriptors"] * 2}))
    assert "not L2-normalised (norms 2 to 2)" in message


@pytest.mark.parametrize("point", [(-0.6, 3), (3, -0.6), (39.6, 3), (3, 29.6)])
def test_keypoints_outside_the_image(tmp_path, point):
    content = arrays()
    content["keypoints"][2, :2] = point
    assert "outside the image of 40x30" in refused(tmp_path, npz(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": np.zeros((3, 3))}, "scores are (6,), not (3,)"),
        ({"keypoints": np.zeros(6)}, "keypoints are (6,), not (N, 2) or (N, 3)"),
        ({"keypoints": np.zeros((6, 1))}, "keypoints are (6, 1), not (N, 2) or (N, 3)"),
        ({"scores": np.zeros(5)}, "scores are (5,), not (6,)"),
        ({"descriptors": arrays()["descriptors"].T}, "descriptors are (8, 6), not (6, D)"),
        ({"descriptors": np.array(["a"] * 6)}, "descriptors holds <U1, not real numbers"),
    ],
)
def test_arrays_of_other_shapes(tmp_path, change, message):
    assert message in refused(tmp_path, npz({**arrays(), **change}))


class Runs:
    """Pickled, this would run code when it is loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("made-by-a-pickle"),))


def test_pickled_objects_are_refused_and_do_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Runs()] * 6, dtype=object)
    message = refused(tmp_path, npz({**arrays(), "scores": objects}))
    assert "scores: it holds Python objects (pickled), which are never read" in message
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize("write", [npz, mat, lambda a: npz(a, np.savez_compressed)])
def test_files_that_are_cut_short(tmp_path, write):
    data = write(arrays())
    for length in sorted({0, 1, 2, 100, 130, 140, len(data) // 2, len(data) - 1}):
        assert refused(tmp_path, data[:length])


def test_files_whose_bytes_have_changed(tmp_path):
    for save in (np.savez, np.savez_compressed):
        data = bytearray(npz(arrays(), save))
        at = data.index(b"descriptors.npy") + 40
        for i in range(at, at + 60):
            data[i] ^= 0xFF
        assert "broken npz file (" in refused(tmp_path, bytes(data))


def test_files_of_another_kind(tmp_path):
    data = io.BytesIO()
    np.save(data, arrays()["keypoints"])
    for other in (b"", b"keypoints: 1 2 3\n" * 50, data.getvalue()):
        assert "no npz or mat file of plain arrays" in refused(tmp_path, other)
    assert "broken npz file" in refused(tmp_path, b"PK")


def test_an_image_that_is_broken_is_named(dataset):
    (dataset / "feats" / "seq" / "1.png.x").write_bytes(npz(arrays()))
    (dataset / "data" / "seq" / "1.png").write_bytes(b"")
    with pytest.raises(D2EvalError, match=r"data/seq/1\.png: is empty"):
        read(dataset)


def test_what_a_manifest_and_the_headline_say(dataset):
    named = PrecomputedFeatures(dataset / "feats", PrecomputedConfig("x"), "mine")
    assert (named.label, source(dataset).label) == ("mine", "feats")
    assert named.describe()["config"] == {"extension": ".x", "origin": "auto"}
    assert named.describe()["weights"]["name"] == "not stated"
    assert str(dataset / "feats") in named.headline()


# Where keypoints count from


@pytest.mark.parametrize("write", [npz, mat])
@pytest.mark.parametrize(
    ("stated", "chosen", "origin"),
    [
        (None, "auto", "center"),
        (None, "center", "center"),
        (None, "corner", "corner"),
        (0, "auto", "center"),
        (0.5, "auto", "corner"),
        (0.5, "corner", "corner"),
        (None, "matlab", "matlab"),
        (1, "auto", "matlab"),
    ],
)
def test_the_origin_is_what_the_file_says_or_the_user(tmp_path, write, stated, chosen, origin):
    content = arrays()
    content["keypoints"] += np.float32(0.5)
    said = {} if stated is None else {"pixel_center": np.array(stated)}
    (tmp_path / "x").write_bytes(write({**content, **said}))
    found, _ = read_feature_file(tmp_path / "x", SIZE, chosen)
    assert found.origin == origin
    less = {"center": 0.0, "corner": 0.5, "matlab": 1.0}[origin]
    np.testing.assert_allclose(found.keypoints, content["keypoints"][:, :2] - less, atol=1e-5)
    np.testing.assert_array_equal(found.own_keypoints(), content["keypoints"][:, :2])


@pytest.mark.parametrize("value", [2, 0.25, -0.5, np.nan, [0, 0], []])
def test_an_origin_that_there_is_not(tmp_path, value):
    message = refused(tmp_path, npz({**arrays(), "pixel_center": np.array(value, float)}))
    assert message.startswith("pixel_center is ")
    assert "not 0 (counted from the centre), 0.5 (from the corner) or 1 (from 1" in message


def test_another_origin_is_another_key(dataset):
    (dataset / "feats" / "seq" / "1.png.x").write_bytes(npz(arrays()))
    image = load_image_file(dataset / "data" / "seq" / "1.png")
    keys = {
        PrecomputedFeatures(dataset / "feats", PrecomputedConfig("", origin))
        .read(image, "seq/1.png")
        .key
        for origin in ("auto", "corner")
    }
    assert len(keys) == 2


# hloc's layout


def hloc_arrays(n: int = 6) -> dict[str, np.ndarray]:
    content = arrays(n)
    return {
        "keypoints": content["keypoints"][:, :2],
        "scores": content["scores"],
        "descriptors": content["descriptors"].T.astype(np.float32),
        "image_size": np.array(SIZE),
    }


def write_h5(path: Path, images: dict[str, dict[str, np.ndarray]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", libver="latest") as file:
        for name, content in images.items():
            group = file.create_group(name)
            for key, value in content.items():
                group.create_dataset(key, data=value)
    return path


def read_h5(dataset: Path, where: Path, name: str = "seq/1.png", **options: str):
    image = load_image_file(dataset / "data" / name)
    return PrecomputedFeatures(where, PrecomputedConfig(**options)).read(image, name)


def refused_h5(dataset: Path, **changes: np.ndarray | None) -> str:
    content = {k: v for k, v in {**hloc_arrays(), **changes}.items() if v is not None}
    path = write_h5(dataset / "f.h5", {"seq/1.png": content})
    with pytest.raises(D2EvalError) as caught:
        read_h5(dataset, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_a_file_of_hloc(dataset, capsys):
    content = hloc_arrays()
    degrees = np.array([0, 90, -180, 30, 1, 2], np.float32)
    more = {"scales": np.arange(1, 7, dtype=np.float32), "oris": degrees}
    path = write_h5(dataset / "feats-x.h5", {"seq/1.png": {**content, **more}, "2.png": content})
    found = read_h5(dataset, path).features
    assert np.array_equal(found.keypoints, content["keypoints"])
    assert np.array_equal(found.descriptors, content["descriptors"].T)
    assert np.array_equal(found.scores, content["scores"])
    assert np.array_equal(found.scales, more["scales"])
    np.testing.assert_allclose(
        found.orientations, [0, np.pi / 2, -np.pi, np.pi / 6, np.pi / 180, np.pi / 90], rtol=1e-6
    )
    assert (found.image_size, found.origin) == (SIZE, "center")
    assert capsys.readouterr() == ("", "")
    named = PrecomputedFeatures(path, PrecomputedConfig())
    assert named.label == "feats-x"
    assert named.headline() == f"feats-x: features from {path}"


def test_a_folder_with_a_file_of_hloc(dataset):
    write_h5(dataset / "feats" / "m.h5", {"seq/1.png": hloc_arrays()})
    assert len(read_h5(dataset, dataset / "feats").features) == 6
    (dataset / "feats" / "seq" / "1.png.x").write_bytes(npz(arrays(7)))
    message = r"several kinds of features \(\.x, m\.h5\); choose --extension, or name a file as"
    with pytest.raises(D2EvalError, match=message):
        read_h5(dataset, dataset / "feats")
    assert len(read_h5(dataset, dataset / "feats", extension=".x").features) == 7
    assert len(read_h5(dataset, dataset / "feats" / "m.h5").features) == 6
    with pytest.raises(D2EvalError, match="one file for all images; leave --extension out"):
        read_h5(dataset, dataset / "feats" / "m.h5", extension=".x")


def test_keypoints_of_hlocs_sift_count_from_the_corner_if_the_user_says_so(dataset):
    path = write_h5(dataset / "f.h5", {"seq/1.png": hloc_arrays()})
    found = read_h5(dataset, path, origin="corner").features
    assert found.origin == "corner"
    np.testing.assert_allclose(found.own_keypoints(), hloc_arrays()["keypoints"], atol=1e-7)
    np.testing.assert_allclose(found.keypoints, hloc_arrays()["keypoints"] - 0.5, atol=1e-7)


def test_sixteen_bits_are_read_with_one_note(dataset, capsys):
    size = (3000, 20)  # beyond 2048, 16 bits have steps of 2 pixels
    content = hloc_arrays()
    content["image_size"] = np.array(size)
    content["keypoints"][0] = 2999.4, 19.4  # becomes 3000, 19.40625
    half = {
        key: value.astype(np.float16) if value.dtype == np.float32 else value
        for key, value in content.items()
    }
    assert half["keypoints"][0, 0] == 3000
    names = ("seq/1.png", "seq/2.png")
    for name in names:
        Image.new("RGB", size).save(dataset / "data" / name)
    path = write_h5(dataset / "f.h5", dict.fromkeys(names, half))
    features = PrecomputedFeatures(path, PrecomputedConfig())
    for name in names:
        found = features.read(load_image_file(dataset / "data" / name), name).features
        assert found.keypoints[0, 0] == 2999.5  # the image's border
        np.testing.assert_array_equal(found.keypoints[1:], half["keypoints"][1:])
    assert capsys.readouterr().err == (
        f"note: {path}: seq/1.png: keypoints of 16 bits, off by up to 1 px, and so may others of "
        "the file be; write them in 32 bits (as_half=False in hloc)\n"
    )


def test_sixteen_bits_excuse_no_more_than_their_rounding(dataset):
    keypoints = hloc_arrays()["keypoints"].astype(np.float16)
    keypoints[2] = 41, 3
    assert "outside the image of 40x30" in refused_h5(dataset, keypoints=keypoints)


def test_another_size_is_another_image(dataset):
    message = refused_h5(dataset, image_size=np.array([80, 60]))
    assert message.startswith("seq/1.png: features are of an image of 80x60, but it is 40x30; ")
    for value in (np.array([30, 40]), np.array(40), np.array([40, 30, 3]), np.array([np.nan, 30])):
        assert "features are of an image of " in refused_h5(dataset, image_size=value)


@pytest.mark.parametrize("name", ["keypoints", "scores", "descriptors", "image_size"])
def test_arrays_that_a_group_lacks(dataset, name):
    assert refused_h5(dataset, **{name: None}).startswith(f"seq/1.png has no {name}; expected hloc")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"descriptors": hloc_arrays()["descriptors"].T}, "descriptors are (8, 6), not (6, D)"),
        ({"keypoints": np.zeros((6, 3), np.float32)}, "keypoints are (6, 3), not (N, 2)"),
        ({"keypoints": np.zeros((6, 2), complex)}, "holds complex numbers or records, not numbers"),
        ({"scores": np.zeros(5)}, "scores are (5,), not (6,)"),
        ({"scales": np.zeros(5)}, "scales are (5,), not (6,)"),
        ({"oris": np.zeros(5)}, "orientations are (5,), not (6,)"),
        ({"descriptors": np.zeros((8, 6))}, "not L2-normalised"),
        ({"keypoints": np.full((6, 2), np.nan)}, "keypoints holds NaN"),
    ],
)
def test_arrays_of_a_group_that_do_not_fit(dataset, changes, message):
    assert message in refused_h5(dataset, **changes)


@pytest.mark.parametrize("name", ["keypoints", "scales"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (lambda file: np.array([file.ref] * 6, h5py.ref_dtype), "references"),
        (lambda file: np.array([file["a"].regionref[:]] * 6, h5py.regionref_dtype), "references"),
        (lambda _: ["a", "bc"], "text"),
        (lambda _: np.array([b"a", b"bc"]), "text"),
        (lambda _: np.zeros(6, [("x", "f4"), ("y", "f4")]), "complex numbers or records"),
        (lambda _: np.zeros(6, "V4"), "opaque bytes"),
        (lambda _: np.array([np.zeros(2)] * 6 + [0], h5py.vlen_dtype(np.float32))[:6], "lists"),
    ],
)
def test_arrays_of_hloc_that_hold_no_numbers(dataset, name, values, kind):
    content = {key: array for key, array in hloc_arrays().items() if key != name}
    path = write_h5(dataset / "f.h5", {"seq/1.png": content})
    with h5py.File(path, "a") as file:
        file["a"] = np.zeros(3)
        file["seq/1.png"].create_dataset(name, data=values(file))
    with pytest.raises(D2EvalError) as caught:
        read_h5(dataset, path)
    says = f"{path}: broken file of features (/seq/1.png/{name} holds {kind}, not numbers); write"
    assert str(caught.value).startswith(says)


def test_an_image_that_a_file_lacks(dataset):
    for held in ({}, {"seq": hloc_arrays()}, {"1.png": hloc_arrays()}):
        path = write_h5(dataset / "f.h5", held)
        with pytest.raises(D2EvalError, match=r"f\.h5: holds no features of seq/1\.png; extract"):
            read_h5(dataset, path)


def test_the_key_is_that_of_an_images_own_content(dataset):
    path, other = hloc_arrays(6), hloc_arrays(7)
    keys = []
    for images in (
        {"seq/1.png": path},
        {"seq/1.png": path, "more.png": other},
        {"seq/1.png": other},
    ):
        keys.append(read_h5(dataset, write_h5(dataset / "f.h5", images)).key)
    assert keys[0] == keys[1] != keys[2]


def test_groups_that_lead_to_other_files(dataset):
    other = write_h5(dataset / "other.h5", {"seq/1.png": hloc_arrays()})
    with h5py.File(dataset / "f.h5", "w") as file:
        file["seq/1.png"] = h5py.ExternalLink(str(other), "seq/1.png")
    with pytest.raises(D2EvalError, match="is a link"):
        read_h5(dataset, dataset / "f.h5")


def test_damaged_files_of_hloc_are_one_line(dataset):
    data = write_h5(dataset / "f.h5", {"seq/1.png": hloc_arrays()}).read_bytes()
    rng = np.random.default_rng(1)
    copies = [b"", b"no HDF5", data[: len(data) // 2]]
    for _ in range(150):
        at = int(rng.integers(len(data)))
        copies.append(data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :])
    refusals = 0
    for copy in copies:
        (dataset / "f.h5").write_bytes(copy)
        try:
            read_h5(dataset, dataset / "f.h5")
        except D2EvalError as error:
            refusals += 1
            assert str(error).startswith(str(dataset / "f.h5"))
            assert "\n" not in str(error)
    assert refusals > 3
