"""What earlier versions wrote, read as it is called now."""

from d2eval.foundation.machine.resources import Cost
from d2eval.runs.columns import Column
from d2eval.runs.rows import read_rows


def test_columns_of_mebibytes(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("split,peak_memory_mb,peak_memory_mb_1,stored_mb\na,1.5,2.5,3\n")
    assert read_rows(path, [Column("peak_memory_mib")]) == [
        {"split": "a", "peak_memory_mib": "1.5", "peak_memory_mib_1": "2.5", "stored_mb": "3"}
    ]


def test_costs_of_stored_units():
    assert Cost.of({"seconds": 1, "peak_memory_mb": 2}) == Cost(1.0, 2.0)
    assert Cost.of({"seconds": 1, "peak_memory_mib": 2}) == Cost(1.0, 2.0)
