"""Tables of folders of runs."""

from d2eval.aachen.aachen import Aachen
from d2eval.hpatches.report.table import hpatches_table
from d2eval.inloc.inloc import Inloc

aachen_table, inloc_table = Aachen().table, Inloc().table
TABLES = {"hpatches": hpatches_table, "aachen": aachen_table, "inloc": inloc_table}
