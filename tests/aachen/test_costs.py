"""What triangulation and registration took, and what the plans of later runs make of it."""

from d2eval.aachen.costs import costs_path, keep_cost
from d2eval.aachen.protocol import load_benchmark
from d2eval.pipeline.planning import plan_units
from d2eval.pipeline.store import Store

MATCHER = {"matcher": "0123456789abcdef", "version": 1}


def path_of(
    store, stage="triangulation", features="fedcba9876543210-aa", model="m", protocol="aachen"
):
    unit = store.unit_path("models", model)
    return costs_path(stage, features, MATCHER, load_benchmark(protocol), unit, store)


def test_the_cost_of_a_pair_is_kept_and_counts_for_other_models(tmp_path):
    store = Store(tmp_path)
    keep_cost(store, path_of(store), 4, 2.0, 100)
    keep_cost(store, path_of(store), 4, 9.0, 900)  # of the same one: the first counts
    store = Store(tmp_path)
    planned = plan_units("triangulation", store, [None], path_of(store, model="another"), parts=10)
    assert (planned.units, planned.lacking) == (1, 1)
    assert (planned.seconds, planned.size) == (2.0 / 4 * 10, 100 / 4 * 10)
    # a later one counts from then on
    keep_cost(store, path_of(store, model="another"), 10, 30.0, 40)
    planned = plan_units("triangulation", store, [None], path_of(store), parts=1)
    assert (planned.seconds, planned.size) == (3.0, 4.0)


def test_without_pairs_nothing_is_kept(tmp_path):
    store = Store(tmp_path)
    keep_cost(store, path_of(store), 0, 2.0)
    assert not list(tmp_path.rglob("*.pack"))


def test_other_work_has_other_costs(tmp_path):
    store = Store(tmp_path)
    keep_cost(store, path_of(store), 4, 2.0)
    others = [
        path_of(store, stage="registration"),
        path_of(store, features="0000000000000000-aa"),
        path_of(store, protocol="aachen_hloc"),
    ]
    for other in others:
        assert plan_units("some", store, [None], other).seconds is None


def test_a_run_goes_on_where_costs_can_t_be_kept(tmp_path):
    (tmp_path / "costs").touch()  # where the folder should be
    store = Store(tmp_path)
    keep_cost(store, path_of(store), 4, 2.0)
    assert plan_units("some", Store(tmp_path), [None], path_of(store)).seconds is None
