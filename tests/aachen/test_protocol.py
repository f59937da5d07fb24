from dataclasses import asdict, replace

import pytest

from d2eval.aachen.protocol import (
    ImageRegistration,
    KnownPoseVerification,
    PnpRegistration,
    Triangulation,
    TwoViewVerification,
    load_benchmark,
)
from d2eval.contracts.protocol import load_protocol
from d2eval.foundation.errors import D2EvalError
from d2eval.metrics.poses import Threshold

PROTOCOLS = ["aachen", "aachen_v1_1", "aachen_hloc", "aachen_v1_1_hloc"]


def test_the_challenge_is_colmap_s_defaults():
    # Numbers of COLMAP 3.5 (matches_importer, image_registrator), as the protocol's source has it.
    benchmark = load_benchmark()
    assert benchmark.protocol == "aachen"
    assert benchmark.keypoint_origin == "own"
    assert benchmark.verification == TwoViewVerification(4.0, 0.999, 30, 10000, 0.25, 15)
    assert benchmark.registration == ImageRegistration(12.0, 30, 0.25)
    assert benchmark.triangulation == Triangulation(
        15, 2.0, 2.0, 4.0, 4.0, 4.0, 1.5, True, 5, 0.0005
    )
    assert benchmark.complete == {
        "database": 4479, "posed": 4328, "day": 824, "night": 98, "pairs": 14941
    }  # fmt: skip
    assert benchmark.thresholds == {
        "2019": (Threshold(0.5, 2), Threshold(1, 5), Threshold(5, 10), Threshold(10, 25)),
        "2020": (Threshold(0.25, 2), Threshold(0.5, 5), Threshold(5, 10)),
    }


def test_v1_1_differs_in_its_files_alone():
    one, other = load_benchmark("aachen"), load_benchmark("aachen_v1_1")
    for name in ("matcher", "verification", "triangulation", "registration", "keypoint_origin"):
        assert getattr(one, name) == getattr(other, name)
    assert other.thresholds == {"2020": one.thresholds["2020"]}
    assert one.layout != other.layout
    assert other.complete["night"] == 191
    assert other.complete["pairs"] == 60424


def test_hloc():
    benchmark = load_benchmark("aachen_hloc")
    assert benchmark.keypoint_origin == "corner"
    assert benchmark.verification == KnownPoseVerification(4.0)
    assert benchmark.registration == PnpRegistration(12.0, 0.99999, 100, 10000, 0.1, 4, True)
    assert benchmark.triangulation == load_benchmark("aachen").triangulation
    assert list(benchmark.thresholds) == ["2020"]


def test_hlocs_protocol_on_v1_1_has_its_files_and_no_clustering():
    one, other = load_benchmark("aachen_hloc"), load_benchmark("aachen_v1_1_hloc")
    assert other.layout == load_benchmark("aachen_v1_1").layout
    assert other.complete == load_benchmark("aachen_v1_1").complete
    assert other.registration == replace(one.registration, covisibility_clustering=False)
    assert other.covisible_pairs == 20
    for name in ("verification", "triangulation", "keypoint_origin", "thresholds", "matcher"):
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_every_protocol_keeps(protocol):
    benchmark = load_benchmark(protocol)
    assert benchmark.sha256 == load_protocol(protocol).sha256
    assert benchmark.protocol == protocol
    assert benchmark.name
    assert (benchmark.matcher.name, benchmark.matcher.options) == ("mnn", {})
    for thresholds in benchmark.thresholds.values():  # from fine to coarse
        limits = [tuple(asdict(threshold).values()) for threshold in thresholds]
        assert limits == sorted(limits)


def test_names_tell_protocols_apart():
    assert len({load_benchmark(protocol).name for protocol in PROTOCOLS}) == len(PROTOCOLS)


def test_an_unknown_protocol():
    with pytest.raises(D2EvalError, match=r"nowhere\.toml: is missing"):
        load_benchmark("nowhere")
