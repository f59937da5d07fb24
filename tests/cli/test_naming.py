"""Names that runs get when the user gives none."""

import argparse

import pytest

from d2eval.cli.inloc import name_parts
from d2eval.cli.naming import method_parts, protocol_part, run_name
from d2eval.inloc.rows import DenseChoice


def inloc(method, strategy, dense=("vgg16_dense", "bundled"), **given):
    args = argparse.Namespace(
        dense_pv=False, global_retrieval=False, dense_weights=dense[1], protocol="inloc",
        retrieval=None, reference_poses=None, data="d", seed=0,
    )  # fmt: skip
    vars(args).update(given)
    choice = DenseChoice(dense[0], {"weights": dense[1]})
    sparse = (method, {}) if method else None
    return run_name(None, name_parts(args, strategy, sparse, choice)).label


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
    assert run_name(None, method_parts("d2_ss", options)).label == name


def test_methods_by_path(tmp_path):
    assert method_parts("methods.TEMPLATE:MyFeature", {}) == ["methods.TEMPLATE.MyFeature"]
    assert method_parts(f"precomputed:{tmp_path}/r2d2/", {}) == ["r2d2"]


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
        (inloc(None, "dense", ("vgg16_dense", "w/struct.mat")), "dense-struct"),
        (inloc("d2_ms", "sparse", ("vgg16_dense", "w/struct.mat")), "d2_ms_sparse"),
        (
            inloc("d2_ms", "sparse", ("vgg16_dense", "w/struct.mat"), global_retrieval=True),
            "d2_ms_sparse-struct-global",
        ),
        (inloc("d2_ss", "pooled", protocol="inloc_hloc"), "d2_ss_pooled-hloc"),
        (inloc("d2_ss", "direct", retrieval="a/pairs-40.txt", data=None, seed=7),
         "d2_ss_direct-pairs-40-sample-seed7"),
        (inloc("d2_ss", "direct", reference_poses="a/refs.mat"), "d2_ss_direct-refs"),
    ],
)  # fmt: skip
def test_rows_of_inloc(name, label):
    assert name == label
