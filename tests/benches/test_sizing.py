"""What full sets take follows from a small run by hand."""

import json
import math
from collections import Counter

import pytest
import sizing

SMALL = Counter({(1000, 1000): 10})
STAGES = """stage,images,features,pairs,matches,inlier_matches,seconds,peak_memory_mib
features,10,10000,,,,20,500
matching,,,40,8000,,4,500
verification,,,40,,2000,16,500
triangulation,8,,,,,2,501
registration,2,,,,,6,501
"""


@pytest.fixture
def run(tmp_path):
    costs = {"seconds": 2.0, "descriptor_bytes": 1000 * 4 * 100}
    manifest = {"image_costs": costs, "peak_memory_mib": 700.0}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "stages.csv").write_text(STAGES)
    return tmp_path


def test_images_cost_by_their_pixels(run):
    units = sizing.units_of(run, {}, SMALL, 1000)
    assert (units.dim, units.pixel_s, units.features) == (100, 2e-6, 1e-3)
    seconds, size = sizing.features_cost(units, Counter({(2000, 1000): 5}))
    assert seconds == pytest.approx(5 * 4)
    assert size == pytest.approx(5 * 2000 * (4 * 100 + sizing.SMALL_BYTES))


def test_a_method_shrinks_images_and_stops_at_its_most_features(run):
    config = {"max_edge": 1600, "max_sum_edges": 2800, "num_features": 1500}
    units = sizing.units_of(run, config, SMALL, 1000)
    assert units.pixels(Counter({(4032, 3024): 2})) == pytest.approx(2 * 1600 * 1200)
    assert units.mean(Counter({(4032, 3024): 1, (1000, 1000): 1})) == pytest.approx(1250)


def test_pairs_cost_by_features_matches_and_inliers(run):
    units = sizing.units_of(run, {}, SMALL, 1000)
    of = sizing.pair_units(sizing.rows_of(run / "stages.csv"), units.dim)
    same = sizing.aachen_cost(units, of, SMALL, 40, 2)
    assert same.pairs_s == pytest.approx(4 + 16 + 2 + 6)
    assert (units.peak_mib, same.grown_bytes) == (700, pytest.approx(2**20))
    twice = sizing.aachen_cost(units, of, Counter({(math.sqrt(2e6), math.sqrt(2e6)): 10}), 40, 2)
    assert twice.pairs_s == pytest.approx(4 * 4 + 2 * 16 + 2 * 2 + 6)
    small = 40 * (sizing.PACKED_BYTES + sizing.GEOMETRY_BYTES)
    assert twice.pairs_bytes == pytest.approx(small + 2 * 8 * (8000 + 2000))
