import json

import cv2
import numpy as np
import pytest

from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.hpatches.homographies.pairs import COLUMNS, read_pairs

SHIFT = ["1", "0", "7", "0", "1", "-4", "0", "0", "1"]


@pytest.fixture
def own(tmp_path):
    """A folder of the user's: a picture and its crop."""
    root = tmp_path / "mine"
    root.mkdir()
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (140, 180, 3)), (0, 0), 2)
    picture = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    cv2.imwrite(str(root / "a.png"), picture[10:130, 10:170])
    cv2.imwrite(str(root / "b.png"), picture[14:134, 3:163])
    line = ",".join(["s", "a.png", "b.png", *SHIFT])
    (root / "pairs.csv").write_text(f"{','.join(COLUMNS)}\n{line}\n")
    return root


def test_rows_of_different_protocols_stand_in_parts_of_their_own(own, tmp_path, capsys):
    runs = tmp_path / "runs"
    command = ["homography", "--method", "orb", "--cache", str(tmp_path), "--output", str(runs)]
    chosen = ["--protocol", "hpatches_homography_glue"]
    command += ["--data", str(own)]
    assert main([*command, *chosen]) == 0
    assert main(command) == 0
    manifest = json.loads((runs / "homography/orb-glue/manifest.json").read_text())
    assert manifest["protocol"] == "hpatches_homography_glue"
    assert manifest["features"]["config"]["resized"]["side"] == "short"
    header, row = (runs / "homography/orb-glue/pairs.csv").read_text().splitlines()
    error = float(dict(zip(header.split(","), row.split(","), strict=True))["corner_error_px"])
    assert error < 8  # of 480 rows, four to one of the picture
    capsys.readouterr()
    assert main(["tables", "homography", "--runs", str(runs), "--output", str(tmp_path)]) == 0
    table = (tmp_path / "homography.md").read_text()
    assert "## hpatches_homography_glue-own_pairs" in table
    assert "## homography-own_pairs" in table
    header, *lines = (tmp_path / "homography.csv").read_text().splitlines()
    cells = [line.split(",")[header.split(",").index("protocol")] for line in lines]
    assert [cell for cell in cells if cell.endswith("pairs")] == [
        "homography-own_pairs", "hpatches_homography_glue-own_pairs",
    ]  # fmt: skip
    assert main(["compare", "orb-glue", "orb", "--runs", str(runs)]) == 2
    assert "protocol" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("h11", "x", "must be numbers"), ("h33", "nan", "NaN"), ("h11", "0", "singular"),
        ("image0", "../a.png", "image name"), ("image1", "c.png", "no such image"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named(own, column, value, said):
    line = dict(zip(COLUMNS, ["s", "a.png", "b.png", *SHIFT], strict=True)) | {column: value}
    (own / "pairs.csv").write_text(f"{','.join(COLUMNS)}\n{','.join(line.values())}\n")
    with pytest.raises(D2EvalError, match=said):
        read_pairs(own)


def test_a_pair_twice_or_a_missing_column_is_refused(own):
    header, line = (own / "pairs.csv").read_text().splitlines()
    (own / "pairs.csv").write_text("\n".join([header, line, line]))
    with pytest.raises(D2EvalError, match="line 3: the pair stands twice"):
        read_pairs(own)
    (own / "pairs.csv").write_text("scene,image0\n")
    with pytest.raises(D2EvalError, match="lacks image1, h11"):
        read_pairs(own)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"scene,image0\n', "line 1: unexpected end of data"),
        (",".join([*COLUMNS, "h11"]), "h11 stands twice in the header"),
        (",".join(COLUMNS), "lists no pair"),
    ],
)
def test_a_broken_header_or_an_empty_list_is_one_line(own, text, said):
    (own / "pairs.csv").write_text(text)
    with pytest.raises(D2EvalError, match=rf"pairs\.csv: {said}"):
        read_pairs(own)


def test_sequences_choose_none_of_own_pairs(own, tmp_path, capsys):
    command = ["homography", "--method", "orb", "--data", str(own), "--output", str(tmp_path)]
    assert main([*command, "--sequences", "v_*"]) == 2
    assert "--sequences: chooses among HPatches sequences" in capsys.readouterr().err


def test_check_data_takes_both(own, tmp_path, capsys):
    assert main(["check-data", "homography", str(own)]) == 0
    (own / "b.png").write_bytes(b"no image")
    assert main(["check-data", "homography", str(own)]) == 2
    assert "b.png" in capsys.readouterr().out
