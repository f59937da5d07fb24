import numpy as np
import pytest
import scipy.io
from inloc_folder import CUTOUTS, Q1, Q2, InlocFolder

from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.data.retrieval import Retrieved, read_retrieval
from d2eval.inloc.protocol import load_benchmark


@pytest.fixture
def folder(tmp_path):
    return InlocFolder(tmp_path / "data")


@pytest.fixture
def read():
    def read(path, top=100, notes=None):
        layout = load_benchmark().layout
        return read_retrieval(path, (Q1, Q2), CUTOUTS, layout, top, [] if notes is None else notes)

    return read


def test_the_best_of_a_matrix_with_ties_by_name(folder, read):
    folder.scored = ([Q2, Q1], [CUTOUTS[k] for k in (1, 0, 2, 3)])
    folder.scores = np.array([[0, 0.125, 0.25, 0.75], [0.5, 0.5, 0.25, 0.0]])
    folder.write()
    found = read(folder.score_matrix, 3)
    assert found[Q1] == (
        Retrieved(CUTOUTS[0], 0.5), Retrieved(CUTOUTS[1], 0.5), Retrieved(CUTOUTS[2], 0.25)
    )  # fmt: skip
    assert [r.cutout for r in found[Q2]] == [CUTOUTS[k] for k in (3, 2, 0)]


@pytest.mark.parametrize("prefixes", [("query/iphone7/", "database/cutouts/"), ("", "")])
def test_a_pair_list_keeps_its_order(tmp_path, read, prefixes):
    path = tmp_path / "pairs.txt"
    pairs = [(Q1, 2), (Q2, 3), (Q1, 0), (Q1, 2), (Q1, 1)]
    path.write_text(
        "\n".join(f"{prefixes[0]}{query} {prefixes[1]}{CUTOUTS[k]}" for query, k in pairs) + "\n\n"
    )
    notes = []
    found = read(path, notes=notes)
    assert notes == [f"{path}: 1 lines repeat a pair; the first ones count"]
    assert [r.cutout for r in found[Q1]] == [CUTOUTS[k] for k in (2, 0, 1)]
    assert [r.score for r in found[Q1]] == [1, 1 / 2, 1 / 3]
    assert [r.cutout for r in found[Q2]] == [CUTOUTS[3]]
    assert [r.cutout for r in read(path, 2)[Q1]] == [CUTOUTS[k] for k in (2, 0)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([f"IMG_9.JPG {CUTOUTS[0]}"], "names 1 unknown images, no query in query/iphone7: IMG_9"),
        ([f"{Q1} DUC1/x.jpg", f"{Q1} y", f"{Q2} y"], "names 2 unknown images, no cutout in datab"),
        ([f"{CUTOUTS[0]} {Q1}"], "names 1 unknown images, no query"),
        ([f"{Q1} {CUTOUTS[0]}", Q1], "line 2: not `query cutout`"),
        ([], "no pair"),
    ],
)
def test_broken_pair_lists(tmp_path, read, lines, message):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(D2EvalError, match=r"pairs\.txt: ") as caught:
        read(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["pairs.txt", "scores.mat"])
def test_a_missing_list(tmp_path, read, name):
    with pytest.raises(D2EvalError, match=f"{name}: is missing"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.scored[0].__setitem__(0, "IMG_9.JPG"), "names 1 unknown images, no query"),
        (lambda f: f.scored[1].__setitem__(3, "DUC9/a"), "unknown images, no cutout in database"),
        (lambda f: f.scored[0].__setitem__(1, Q1), "a name stands twice"),
        (lambda f: f.scored[1].pop(), "score is 2x4, but there are 2 names of queries and 3 of"),
        (lambda f: f.scores.__setitem__((0, 1), np.nan), "values that aren't finite"),
    ],
)
def test_broken_matrices(folder, read, change, message):
    change(folder)
    folder.write()
    with pytest.raises(D2EvalError, match=message):
        read(folder.score_matrix)


def test_a_matrix_without_scores(folder, read):
    folder.write()
    scipy.io.savemat(folder.score_matrix, {"other": 1.0})
    with pytest.raises(D2EvalError, match=r"scores\.mat: has no score"):
        read(folder.score_matrix)
