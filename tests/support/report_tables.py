"""Tables of folders of runs."""

from pathlib import Path

from d2eval.aachen.report.description import AACHEN
from d2eval.hpatches.report.table import hpatches_table
from d2eval.inloc.report.description import INLOC
from d2eval.localization.table import localization_table
from d2eval.report.tables import Table


def aachen_table(runs: Path) -> Table:
    return localization_table(AACHEN, runs)


def inloc_table(runs: Path) -> Table:
    return localization_table(INLOC, runs)


TABLES = {"hpatches": hpatches_table, "aachen": aachen_table, "inloc": inloc_table}
