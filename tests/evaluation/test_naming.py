"""Names that runs get when the user gives none."""

from pathlib import Path

import pytest

from d2eval.contracts.method import Runtime
from d2eval.evaluation.benchmark import Request
from d2eval.evaluation.naming import method_parts, protocol_part, run_name, shared_parts
from d2eval.foundation.errors import D2EvalError
from d2eval.inloc.inloc import Inloc, InlocOptions
from d2eval.pipeline.extraction import MethodChoice


def inloc(method, strategy, **options):
    data, seed = options.pop("data", "d"), options.pop("seed", 0)
    benchmark = Inloc(InlocOptions(strategy=strategy, **options))
    choice = MethodChoice(method) if method else None
    request = Request(choice, runtime=Runtime(seed=seed), sample=data is None)
    shared = shared_parts(request.sample, request.runtime.seed)
    return run_name(None, [*benchmark.words(request), *shared]).label


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "d2_ss"),
        ({"weights": "auto", "relu": True}, "d2_ss"),
        ({"weights": "official"}, "d2_ss-official"),
        ({"weights": "/home/me/RUN/best.safetensors"}, "d2_ss-best"),
        ({"relu": False, "max_edge": 800}, "d2_ss-no-relu-max-edge800"),
        ({"precision": "bf16"}, "d2_ss-precision-bf16"),
    ],
)
def test_options_that_are_not_the_default(options, name):
    assert run_name(None, method_parts(MethodChoice("d2_ss", options))).label == name


def test_methods_by_path(tmp_path):
    assert method_parts(MethodChoice("methods.TEMPLATE:MyFeature")) == [
        "methods.TEMPLATE.MyFeature"
    ]
    assert method_parts(MethodChoice(f"precomputed:{tmp_path}/r2d2/")) == ["r2d2"]


def test_names_that_are_given_stay():
    assert run_name("mine", ["a"]).given
    assert run_name("mine", ["a"]).label == "mine"
    assert not run_name(None, ["a"]).given


def test_protocols():
    assert protocol_part("aachen", "aachen") is None
    assert protocol_part("aachen_v1_1", "aachen") == "v1_1"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (inloc("d2_ms", "sparse"), "d2_ms_sparse"),
        (inloc("d2_ms", "sparse", dense_pv=True), "d2_ms_sparse_pv"),
        (inloc("d2_ms", "merge"), "inloc_d2_ms"),
        (inloc(None, "dense", dense_pv=True), "dense_pv"),
        (inloc(None, "dense", dense_weights="w/struct.mat"), "dense-struct"),
        (inloc("d2_ms", "sparse", dense_weights="w/struct.mat"), "d2_ms_sparse"),
        (
            inloc("d2_ms", "sparse", dense_weights="w/struct.mat", global_retrieval=True),
            "d2_ms_sparse-struct-global",
        ),
        (inloc("d2_ss", "pooled", protocol="inloc_hloc"), "d2_ss_pooled-hloc"),
        (inloc("d2_ss", "direct", retrieval=Path("a/pairs-40.txt"), data=None, seed=7),
         "d2_ss_direct-pairs-40-sample-seed7"),
        (inloc("d2_ss", "direct", reference_poses=Path("a/refs.mat")), "d2_ss_direct-refs"),
    ],
)  # fmt: skip
def test_rows_of_inloc(name, label):
    assert name == label


def test_a_method_that_nothing_would_use_is_refused():
    with pytest.raises(D2EvalError, match="--method: strategy dense matches maps"):
        inloc("rootsift", "dense")
