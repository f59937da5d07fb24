"""hloc's protocol against hloc itself, on real images."""

import pytest
from places import DATA, needs

import d2eval

# hloc c13273b with pycolmap 3.13, on features that `d2eval extract --format h5` wrote for it:
# points of the model, and millimetres of the queries in the order of queries.csv.
POINTS, ERRORS_MM = 9520, (1.3, 2.2, 1.0, 1.8, 1.0, 3.5)
OURS, OURS_MM = 9475, (1.4, 2.2, 1.0, 2.1, 1.0, 3.6)  # with pycolmap 4.2.1


@pytest.mark.slow
@needs(DATA / "aachen-fountain")
def test_hlocs_protocol_does_what_hloc_does(tmp_path):
    found = d2eval.evaluate(
        "aachen", "rootsift", data=DATA / "aachen-fountain", protocol="aachen_hloc",
        cache=tmp_path, output=tmp_path,
    )  # fmt: skip
    stages = (found.folder / "stages.csv").read_text().splitlines()
    row = next(line for line in stages[1:] if line.startswith("triangulation"))
    points = int(row.split(",")[stages[0].split(",").index("points")])
    assert points == pytest.approx(POINTS, rel=0.01)
    assert points == pytest.approx(OURS, rel=0.002)
    errors = (1000 * found.rows["position_m"]).tolist()
    assert errors == pytest.approx(ERRORS_MM, abs=0.4)
    assert errors == pytest.approx(OURS_MM, abs=0.15)
