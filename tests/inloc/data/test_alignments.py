import numpy as np
import pytest
from inloc_folder import alignment_text

from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.data.alignments import read_alignment, to_floor

ROWS = ["0 -1 0 7", " 1  0 0 8", "   0 0 1 9", "0 0 0 1"]
WHOLE = ["Before:", "1 0 0 1", "0 1 0 2", "0 0 1 3", "0 0 0 1", "", "After:", *ROWS]


@pytest.fixture
def read(tmp_path):
    def read(lines: list[str]) -> np.ndarray:
        path = tmp_path / "DUC_trans_000.txt"
        path.write_text("\n".join(lines))
        return read_alignment(path)

    return read


def test_lines_8_to_11_after_icp(read):
    expected = [[0, -1, 0, 7], [1, 0, 0, 8], [0, 0, 1, 9], [0, 0, 0, 1]]
    np.testing.assert_array_equal(read(WHOLE), expected)
    np.testing.assert_array_equal(read([*WHOLE, "", "1 0 0 0"]), expected)  # what follows is unread


def test_blank_lines_count_and_the_first_matrix_is_not_used(tmp_path):
    path = tmp_path / "DUC_trans_000.txt"
    after = np.array([[0.6, -0.8, 0, -7.5], [0.8, 0.6, 0, 1.25], [0, 0, 1, 3], [0, 0, 0, 1]])
    path.write_text(alignment_text(after))
    assert path.read_text().splitlines()[5] == ""
    np.testing.assert_array_equal(read_alignment(path), after)


def test_points_go_to_the_floor(read):
    points = np.array([[[1, 2, 3]], [[0, 0, np.nan]]], np.float32)
    moved = to_floor(points, read(WHOLE))
    assert (moved.dtype, moved.shape) == (np.float64, (2, 1, 3))
    np.testing.assert_array_equal(moved[0, 0], [7 - 2, 8 + 1, 9 + 3])
    assert np.isnan(moved[1, 0, 2])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (WHOLE[:10], "10 lines, but the alignment stands in lines 8 to 11"),
        ([line for line in WHOLE if line], "10 lines"),
        ([*WHOLE[:8], "1 0 0", *WHOLE[9:]], "lines 8 to 11 are no 4x4 matrix"),
        ([*WHOLE[:8], "1 0 0 x", *WHOLE[9:]], "lines 8 to 11 are no 4x4 matrix"),
        ([*WHOLE[:8], "1 0 0 inf", *WHOLE[9:]], "lines 8 to 11 are no 4x4 matrix"),
        ([*WHOLE[:8], "0 2 0 5", *WHOLE[9:]], "the matrix of lines 8 to 11 is singular"),
        ([*WHOLE[:10], "0 0 1 1"], "line 11 isn't `0 0 0 1`"),
    ],
)  # fmt: skip
def test_broken_files(read, lines, message):
    with pytest.raises(D2EvalError, match=r"DUC_trans_000\.txt: ") as caught:
        read(lines)
    assert message in str(caught.value)


def test_files_that_are_no_text_or_missing(tmp_path):
    path = tmp_path / "DUC_trans_000.txt"
    with pytest.raises(D2EvalError, match="is missing"):
        read_alignment(path)
    path.write_bytes(b"\xff\xfe\x00" * 20)
    with pytest.raises(D2EvalError, match="is UTF-16 text; save it as UTF-8"):
        read_alignment(path)
