"""Which tests one process does one after the other, where several do them.

A module's stay together, as they share fixtures. So do those of several modules whose first one in
a process takes seconds: it compiles, imports or starts what the others use, too.
"""

import re

import pytest

TOGETHER = {
    "compiled for InLoc": re.compile(r"tests/(inloc/|report/test_recomputed)"),
    "the process that forks commands": re.compile(
        r"tests/cli/test_(hpatches|aachen|inloc|external)_command"
    ),
    "PyTorch's optimizers": re.compile(
        r"tests/(cifar10/|methods/d2net/training/|cli/test_(train|prepare)_)"
    ),
}


def unit_of(test: str) -> str:
    """What it is done together with: its module, or one of `TOGETHER`."""
    found = (name for name, tests in TOGETHER.items() if tests.match(test))
    return next(found, test.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """The scheduler of ``--dist loadscope``, with units of ours."""
    from xdist.scheduler import LoadScopeScheduling

    if config.getvalue("dist") != "loadscope":
        return None

    class Units(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    return Units(config, log)
