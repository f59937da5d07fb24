import pytest

from d2eval.contracts.leaks import leak_text, leak_word, leaks
from d2eval.contracts.method import Runtime, method_class
from d2eval.contracts.protocol import load_protocol, load_toml
from d2eval.contracts.registry import registered
from d2eval.contracts.weightgroups import weights_groups
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.bundled import bundled

TEST_SCENES = ("MegaDepth/0015", "MegaDepth/0022")


@pytest.mark.parametrize(
    ("trained", "found"),
    [
        (["COCO", "MegaDepth/0022"], ["MegaDepth/0022"]),
        (["MegaDepth"], ["MegaDepth/0015?", "MegaDepth/0022?"]),
        (["MegaDepth", "MegaDepth/0015"], ["MegaDepth/0015", "MegaDepth/0022?"]),
        (["MegaDepth/0015/sparse"], ["MegaDepth/0015"]),  # a part of what is measured on
        (["MegaDepth/00", "Mega", "MegaDepth/all but 0015 and 0022"], []),
        (None, []),
        ([], []),
    ],
)
def test_what_was_trained_on_is_found_wherever_it_is_described(trained, found):
    nested = {"row": {"features": {"sparse": {"weights": {"trained_on": trained}}}}}
    assert leaks(nested, TEST_SCENES) == found
    assert leaks({"features": {"weights": None}, "matcher": nested}, TEST_SCENES) == found
    assert leaks(nested, ()) == []


def test_words_for_tables_and_legends():
    assert leak_text(["MegaDepth/0015", "MegaDepth/0022?", "HPatches"]) == (
        "MegaDepth 0015, 0022?; HPatches"
    )
    assert [leak_word(own) for own in ([], ["a?"], ["a?", "b"])] == ["", "leak?", "leak"]


def test_what_is_said_of_d2net_are_the_scenes_of_its_list():
    """Which the training takes as well."""
    path = bundled("methods") / "d2net/training/data/megadepth.toml"
    scenes = load_toml(path)["scenes"]["training"]
    without = {"0019", "0021", "0024", "0025", "0078", "1589"}
    for file, left_out in (("d2_tf.pth", set()), ("d2_tf_no_phototourism.pth", without)):
        described = {"trained_on": weights_groups()["d2net"].trained_on[file]}
        every = [f"MegaDepth/{scene}" for scene in ("0015", "0022") if scene in scenes]
        assert leaks(described, TEST_SCENES) == every and not {"0015", "0022"} & left_out
    assert leaks({"trained_on": weights_groups()["d2net"].trained_on["d2_ots.pth"]}, every) == []


def test_only_files_of_the_group_are_described():
    for group in weights_groups().values():
        assert group.trained_on.keys() <= {*group.files}, group.name


@pytest.mark.parametrize(
    ("method", "protocol", "found"),
    [
        ("xfeat", "megadepth1500_glue", [*TEST_SCENES]),
        ("disk", "megadepth1500_glue", []),
        ("r2d2", "aachen_v1_1_hloc", ["Aachen/database"]),
        ("hesaffnet_hardnet", "hpatches_homography_glue", ["HPatches"]),
        ("hesaffnet_hardnet", "hpatches", ["HPatches"]),
        ("rootsift", "hpatches", []),
    ],
)
def test_shipped_methods_on_shipped_protocols(method, protocol, found, tmp_path):
    described = {"trained_on": method_class(method).training_data(Runtime(cache=tmp_path))}
    assert leaks(described, load_protocol(protocol).overlaps) == found


def test_every_method_says_what_it_was_trained_on_or_that_no_source_does(tmp_path):
    said = {n: method_class(n).training_data(Runtime(cache=tmp_path)) for n in registered()}
    assert {n for n, own in said.items() if own == ()} >= {"rootsift", "orb", "affine_rootsift"}
    assert {n for n, own in said.items() if own is None} == {
        "keynet_hardtfeat", "delf", "delf_new", "lfnet", "superpoint"
    }  # fmt: skip


def test_overlaps_are_no_constants(tmp_path):
    text = 'extends = "megadepth1500_glue"\n'
    for name, line in (("a", ""), ("b", 'overlaps = ["Mine"]'), ("c", "overlaps = 3")):
        (tmp_path / f"{name}.toml").write_text(text + line)
    same, other, broken = (load_protocol(str(tmp_path / f"{name}.toml")) for name in "abc")
    assert same.overlaps == TEST_SCENES and other.overlaps == ("Mine",)
    assert same.sha256 == other.sha256 == load_protocol("megadepth1500_glue").sha256
    with pytest.raises(D2EvalError, match="overlaps = 3 must be a list"):
        _ = broken.overlaps
