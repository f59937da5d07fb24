"""Workers whose time is simulated do all units, and take what these take."""

import numpy as np
import pytest
from simulate_scale import START_S, VirtualWorkers, World, uncounted

from d2eval.scheduling.executor import Spread


def simulate(count, units, packed=True, **changes):
    world = World(**{"block": 0.0, "new_pack": 0.0, "known_pack": 0.0, **changes})
    workers = VirtualWorkers(count, np.full(3, 0.25), world, packed)
    spread = Spread(workers, b"", "units", range(units), uncounted)
    spread.run()
    assert spread.failures == []
    return workers


@pytest.mark.parametrize("packed", [True, False])
def test_work_alone_takes_its_seconds(packed):
    assert simulate(1, 100, packed).now == pytest.approx(START_S + 25)
    assert simulate(4, 400, packed).now == pytest.approx(START_S + 25, abs=2)


def test_requests_and_blocks_take_time():
    assert simulate(1, 100, packed=False, latency=0.1).now == pytest.approx(START_S + 25 + 30)
    assert simulate(1, 100, packed=False, latency=0.1).requests == 300
    assert simulate(64, 6400, block=1.0).now > 1500  # blocks of a second, one after the other


def test_what_lost_workers_did_is_done_again():
    workers = simulate(4, 4000, lives=60.0)
    assert workers.lost_s > 0
    assert workers.now * 4 > 1000 + workers.lost_s
