import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from places import CASES, needs

from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.limits import LIMITS
from d2eval.foundation.formats.matfiles import (
    as_numbers,
    list_variables,
    read_cells,
    read_numbers,
    read_strings,
    read_structs,
    read_variable,
)
from d2eval.pipeline.precomputed import read_feature_file
from methods.vgg16_dense.matlab import read_netvlad

needs_cases = needs(CASES)


def cells(*values: object) -> np.ndarray:
    array = np.empty((1, len(values)), object)
    for k, value in enumerate(values):
        array[0, k] = value
    return array


def reference_list(poses: dict[str, np.ndarray]) -> np.ndarray:
    kinds = [("queryname", object), ("label", object), ("P", object)]
    array = np.empty((1, len(poses)), kinds)
    for k, (name, pose) in enumerate(poses.items()):
        array[0, k] = (name, "Good", pose)
    return array


XYZ = np.arange(60, dtype=np.float64).reshape(4, 5, 3) / 7
XYZ[1, 2] = np.nan
POSE = np.arange(12.0).reshape(3, 4)
VARIABLES = {
    "XYZcut": XYZ,
    "single": XYZ.astype(np.float32),
    "bytes": np.array([[0, 255], [3, 4], [5, 6]], np.uint8),
    "names": cells("IMG_1.JPG", "ä_long_name_of_an_image.jpg"),
    "empty": np.zeros((0, 0)),
    "A": cells(np.array([[1.5], [2.5]]), "text", cells(np.array([[7]]))),
    "DUC1_RefList": reference_list({"a.JPG": POSE, "b.JPG": POSE + 1}),
}


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def file(request, tmp_path):
    path = tmp_path / "file.mat"
    scipy.io.savemat(path, VARIABLES, do_compression=request.param)
    return path


def test_values_are_those_of_scipy(file):
    loaded = scipy.io.loadmat(file)
    for name in ("XYZcut", "single", "bytes"):
        found = read_numbers(file, name)
        assert found.dtype == loaded[name].dtype
        np.testing.assert_array_equal(found, loaded[name])
        np.testing.assert_array_equal(found, VARIABLES[name])
    assert read_numbers(file, "empty").shape == (0, 0)
    assert read_strings(file, "names") == ["IMG_1.JPG", "ä_long_name_of_an_image.jpg"]
    numbers, text, inner = read_cells(file, "A")
    assert (numbers.tolist(), text, inner[0].tolist()) == ([[1.5], [2.5]], "text", [[7]])
    first, second = read_structs(file, "DUC1_RefList", ("queryname", "P"))
    assert (first["queryname"], second["queryname"], first["label"]) == ("a.JPG", "b.JPG", "Good")
    np.testing.assert_array_equal(second["P"], POSE + 1)


def test_shapes_from_the_headers(file):
    expected = {name: tuple(shape) for name, shape, _ in scipy.io.whosmat(file)}
    assert list_variables(file) == expected
    assert expected["XYZcut"] == (4, 5, 3)


def test_column_order_of_a_cell_matrix(tmp_path):
    path = tmp_path / "file.mat"
    scipy.io.savemat(path, {"C": np.array([["a", "b"], ["c", "d"]], object)})
    assert read_strings(path, "C") == ["a", "c", "b", "d"]


def test_big_endian(tmp_path):
    """One double, 2x1, by hand from the format's description."""
    path = tmp_path / "file.mat"
    numbers = np.array([1.5, -2.0], ">f8").tobytes()
    words = [6, 8, 6, 0, 5, 8, 2, 1]  # flags (class 6, double) and dimensions
    body = np.array(words, ">u4").tobytes()
    body += np.array([1 << 16 | 1], ">u4").tobytes() + b"v\0\0\0"  # the name, within its tag
    body += np.array([9, len(numbers)], ">u4").tobytes() + numbers
    header = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI"
    path.write_bytes(header + np.array([14, len(body)], ">u4").tobytes() + body)
    assert scipy.io.loadmat(path)["v"].tolist() == [[1.5], [-2.0]]
    assert read_numbers(path, "v").tolist() == [[1.5], [-2.0]]
    assert list_variables(path) == {"v": (2, 1)}


@pytest.fixture
def file73(tmp_path):
    """As MATLAB lays out version 7.3: 512 bytes of header, arrays transposed, references."""
    path = tmp_path / "file73.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["XYZcut"] = XYZ.T
        file["XYZcut"].attrs["MATLAB_class"] = np.bytes_("double")

        def stored(name: str, value: np.ndarray, kind: str) -> h5py.Reference:
            item = file.create_dataset(f"#refs#/{name}", data=value)
            item.attrs["MATLAB_class"] = np.bytes_(kind)
            return item.ref

        def text(name: str, value: str) -> h5py.Reference:
            codes = np.array([[ord(letter)] for letter in value], np.uint16)
            return stored(name, codes, "char")

        names = np.array([[text("a", "IMG_1.JPG")], [text("b", "IMG_2.JPG")]], h5py.ref_dtype)
        file["names"] = names
        file["names"].attrs["MATLAB_class"] = np.bytes_("cell")
        poses = [[stored("p", POSE.T, "double")], [stored("q", POSE.T + 1, "double")]]
        group = file.create_group("DUC1_RefList")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        group["queryname"], group["P"] = names, np.array(poses, h5py.ref_dtype)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


def test_version_7_3(file73):
    np.testing.assert_array_equal(read_numbers(file73, "XYZcut"), XYZ)
    assert read_strings(file73, "names") == ["IMG_1.JPG", "IMG_2.JPG"]
    first, second = read_structs(file73, "DUC1_RefList", ("queryname", "P"))
    assert (first["queryname"], second["queryname"]) == ("IMG_1.JPG", "IMG_2.JPG")
    np.testing.assert_array_equal(second["P"], POSE + 1)
    assert list_variables(file73)["XYZcut"] == (4, 5, 3)
    file73.write_bytes(file73.read_bytes()[:1500])
    with pytest.raises(D2EvalError, match=r"broken \.mat file"):
        read_numbers(file73, "XYZcut")


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda p: read_variable(p, "nothing"), "has no nothing"),
        (lambda p: read_numbers(p, "names"), "names doesn't hold real numbers"),
        (lambda p: read_cells(p, "XYZcut"), "XYZcut is no cell array"),
        (lambda p: read_strings(p, "A"), "A doesn't hold text alone"),
        (lambda p: read_structs(p, "A", ("P",)), "A is no struct array with P"),
        (lambda p: read_structs(p, "DUC1_RefList", ("x",)), "DUC1_RefList is no struct array with"),
        (lambda p: read_variable(p.with_name("other.mat"), "x"), "is missing"),
        (lambda p: list_variables(p.with_name("other.mat")), "is missing"),
    ],
)
def test_what_is_not_there(file, read, message):
    with pytest.raises(D2EvalError, match=message):
        read(file)


@pytest.mark.parametrize("value", [np.array([[1 + 2j]]), np.array([["a", "b"]])])
def test_values_that_are_no_real_numbers(tmp_path, value):
    path = tmp_path / "file.mat"
    scipy.io.savemat(path, {"v": value})
    with pytest.raises(D2EvalError, match=r"file\.mat: "):
        read_numbers(path, "v")


def test_files_that_are_cut_short(file):
    whole = file.read_bytes()
    for length in (0, 1, 127, 128, 129, 135, *range(136, len(whole), len(whole) // 60)):
        file.write_bytes(whole[:length])
        if length == 128:  # a header without variables
            assert list_variables(file) == {}
            continue
        with pytest.raises(D2EvalError, match=r"broken \.mat file") as caught:
            list_variables(file)
        assert "\n" not in str(caught.value)


def _read_everything(path: Path) -> None:
    for name in list_variables(path):
        read_variable(path, name)


def test_damaged_bytes_are_one_line_at_worst(file):
    """SciPy's reader dies of SIGSEGV on some of these."""
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=3):
            data[at] = rng.choice([0, 1, 255, rng.integers(256)])
        file.write_bytes(data)
        try:
            _read_everything(file)
        except D2EvalError as error:
            broken += 1
            assert str(error).startswith(f"{file}: ")
            assert "\n" not in str(error)
    assert broken > 100


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "file.mat"
    path.write_bytes(b"\x80\x04\x95" + b"cos\nsystem\n" * 40)
    with pytest.raises(D2EvalError, match=r"broken \.mat file \(not of MATLAB 5 to 7\.3\)"):
        list_variables(path)


def test_cells_without_an_end(tmp_path):
    """A cell array that holds itself a thousand times over is an error, not a crash."""
    body = b""
    for _ in range(3000):
        flags = np.array([6, 8, 1, 0, 5, 8, 1, 1, 1, 0], "<u4").tobytes()
        body = flags + body
        body = np.array([14, len(body)], "<u4").tobytes() + body
    packed = zlib.compress(body)
    path = tmp_path / "file.mat"
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    path.write_bytes(head + np.array([15, len(packed)], "<u4").tobytes() + packed)
    with pytest.raises(D2EvalError, match=r"broken \.mat file"):
        read_variable(path, "")


def packed(words: list[int], content: bytes, declared: int | None = None) -> bytes:
    """A file of one compressed variable."""
    body = np.array(words, "<u4").tobytes() + content
    size = len(body) if declared is None else declared
    data = zlib.compress(np.array([14, size], "<u4").tobytes() + body)
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    return head + np.array([15, len(data)], "<u4").tobytes() + data


ARRAY = [6, 8, 6, 0, 5, 8]  # flags (class 6, double), then the tag of two dimensions
NAME = [1 << 16 | 1, ord("v")]


def peak_mib(work) -> float:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def refusal(path: Path, *says: str) -> None:
    with pytest.raises(D2EvalError) as caught:
        read_variable(path, "v")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    for part in says:
        assert part in str(caught.value)


def test_a_compressed_variable_has_the_length_that_it_declares(tmp_path):
    path = tmp_path / "file.mat"
    words, numbers = [*ARRAY, 2, 1, *NAME, 9, 16], np.array([1.5, -2.0]).tobytes()
    path.write_bytes(packed(words, numbers))
    assert read_numbers(path, "v").tolist() == [[1.5], [-2.0]]
    for wrong in (0, 8, 63, 65, 2**31):
        path.write_bytes(packed(words, numbers, declared=wrong))
        assert peak_mib(lambda: refusal(path)) < 5
    path.write_bytes(packed(words, numbers)[:-1])
    refusal(path, "cut short")
    data = bytearray(packed(words, numbers))
    data[-1] ^= 1  # of the checksum
    path.write_bytes(data)
    refusal(path, "broken .mat file")


@pytest.fixture
def low_limit(monkeypatch):
    monkeypatch.setattr(LIMITS, "unpacked_mib", 8)


def test_a_small_file_that_unpacks_to_much(tmp_path, low_limit, monkeypatch):
    path, count = tmp_path / "file.mat", 4 << 20
    path.write_bytes(packed([*ARRAY, count, 1, *NAME, 9, count * 8], bytes(count * 8)))
    assert path.stat().st_size < 100_000
    assert peak_mib(lambda: refusal(path, "more than 8 MiB", "D2EVAL_MAX_UNPACKED_MIB")) < 3
    monkeypatch.setattr(LIMITS, "unpacked_mib", 64)
    assert read_numbers(path, "v").shape == (count, 1)


def test_cells_without_number(tmp_path, low_limit):
    """Each takes 8 bytes before, and some 200 once it is read."""
    path, count = tmp_path / "file.mat", 1 << 18
    words = [6, 8, 1, 0, 5, 8, count, 1, *NAME]
    path.write_bytes(packed(words, np.array([14, 0] * count, "<u4").tobytes()))
    assert peak_mib(lambda: refusal(path, "more than 8 MiB")) < 20


@pytest.mark.parametrize("value", [1j, scipy.sparse.eye_array(3, format="csc")])
def test_what_is_not_read_does_not_harm_its_neighbours(tmp_path, value):
    path = tmp_path / "file.mat"
    scipy.io.savemat(path, {"net": {"odd": value, "good": np.array([[7.0]])}})
    (found,) = read_structs(path, "net", ("odd", "good"))
    assert found["good"].tolist() == [[7.0]]
    with pytest.raises(D2EvalError, match="odd doesn't hold real numbers"):
        as_numbers(found["odd"], "odd")


def hdf5_file(path: Path, fill) -> Path:
    """A file of version 7.3."""
    with h5py.File(path, "w", userblock_size=512) as file:
        fill(file)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


def test_a_small_file_of_version_7_3_that_declares_much(tmp_path):
    path = hdf5_file(
        tmp_path / "file.mat",
        lambda file: file.create_dataset("v", (1 << 20, 400), "f8", chunks=(1000, 400)),
    )
    assert path.stat().st_size < 5000
    assert peak_mib(lambda: refusal(path, "more than 256 MiB")) < 20
    assert list_variables(path) == {"v": (400, 1 << 20)}


def test_cells_of_version_7_3_that_hold_each_other(tmp_path, low_limit):
    def fill(file: h5py.File) -> None:
        inner = file.create_dataset("#refs#/0", data=np.zeros((1, 1))).ref
        for k in range(1, 12):
            cell = np.array([[inner] * 10], h5py.ref_dtype)
            inner = file.create_dataset(f"#refs#/{k}", data=cell).ref
        file["v"] = np.array([[inner] * 10], h5py.ref_dtype)

    refusal(hdf5_file(tmp_path / "file.mat", fill), "more than 8 MiB")


@pytest.mark.parametrize(("shape", "chunks"), [((6, 4), (6,)), ((6,), (3, 2))])
def test_parts_that_do_not_fit_an_array(tmp_path, shape, chunks):
    """HDF5 ended the process or looped. The layout of one array is written over another's."""

    def fill(file: h5py.File) -> None:
        kind = {"dtype": "f4", "compression": "gzip"}
        file.create_dataset("v", data=np.ones(shape, "f4"), chunks=shape, **kind)
        file.create_dataset("w", data=np.ones((6,) * len(chunks), "f4"), chunks=chunks, **kind)

    path = hdf5_file(tmp_path / "file.mat", fill)
    with h5py.File(path) as file:
        places = {name: h5py.h5o.get_info(file[name].id).addr + 512 for name in "vw"}
    data = bytearray(path.read_bytes())
    layouts = {}
    for name, start in places.items():
        at = start + 16
        while True:  # messages of a header of version 1: kind, size, flags, then content
            kind, size = np.frombuffer(data, "<u2", 2, at)
            if kind == 8:
                layouts[name] = slice(at, at + 8 + int(size))
                break
            at += 8 + int(size)
    first, second = (bytes(data[layouts[name]]) for name in "vw")
    size = min(len(first), len(second))
    data[layouts["v"].start + 8 : layouts["v"].start + size] = second[8:size]
    path.write_bytes(data)
    refusal(path, f"v is of {shape} in parts of {chunks}")


def test_attributes_of_varying_length_are_not_read(tmp_path):
    """HDF5 looped for ever over a damaged one; MATLAB's own are of fixed length."""

    def fill(file: h5py.File, kind: object) -> None:
        file["v"] = np.array([[104, 105]], np.uint16).T
        file["v"].attrs["MATLAB_class"] = kind

    path = tmp_path / "file.mat"
    hdf5_file(path, lambda file: fill(file, np.bytes_("char")))
    assert read_variable(path, "v") == "hi"
    for kind in ("char", np.bytes_("char" * 999)):
        hdf5_file(path, lambda file, kind=kind: fill(file, kind))
        refusal(path, "the attribute MATLAB_class is of varying length, or large")


def test_text_of_varying_length_is_no_reference(tmp_path):
    """It names another variable here, whose values were taken."""

    def fill(file: h5py.File) -> None:
        file["w"] = np.ones((1, 1))
        file["v"] = np.array([["/w"]], h5py.string_dtype())

    refusal(hdf5_file(tmp_path / "file.mat", fill), "v has values of varying length")


def test_version_7_3_reads_nothing_but_its_file(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["v"] = np.ones((2, 2))
    outside = str(tmp_path / "other.h5")
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:] = h5py.VirtualSource(outside, "v", (2, 2))
    (tmp_path / "raw").write_bytes(bytes(64))
    for fill in (
        lambda file: file.__setitem__("v", h5py.ExternalLink(outside, "v")),
        lambda file: file.__setitem__("v", h5py.SoftLink("/other")),
        lambda file: file.create_virtual_dataset("v", layout),
        lambda file: file.create_dataset(
            "v", (2, 2), "f8", external=[(str(tmp_path / "raw"), 0, 64)]
        ),
        lambda file: file.create_dataset("v", data=["a", "b"]),
    ):
        refusal(hdf5_file(tmp_path / "file.mat", fill), "broken .mat file")


@needs_cases
@pytest.mark.parametrize("name", ["crash-384", "crash-4119", "crash-8824"])
def test_files_on_which_scipy_ends_the_process(name):
    path = CASES / "damaged_mat" / f"matfeat-{name}.mat"
    with pytest.raises(D2EvalError) as caught:
        read_feature_file(path, (640, 480))
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(D2EvalError):
        read_netvlad(path)


@needs_cases
def test_a_file_of_2_kb_that_declares_3_gb():
    path = CASES / "damaged_mat" / "mat73_declares_3GB.mat"
    for read in (lambda: read_feature_file(path, (640, 480)), lambda: read_netvlad(path)):
        with pytest.raises(D2EvalError, match="mat73_declares_3GB"):
            read()
