"""What is mistyped is named in one line, with what was probably meant."""

import pytest

from d2eval.cli import main


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("hpatches --method d2_ss --topk 5", "--topk: no such option; did you mean --top-k?"),
        ("hpatches --method d2_ss --topk=5", "--topk: no such option; did you mean --top-k?"),
        ("hpatches --metod d2_ss", "--metod: no such option; did you mean --method?"),
        ("hpatches --num-features 9 --metod rootsift", "--metod: no such option; did you mean"),
        ("hpatches --sequence v_* --method rootsift", "did you mean --sequences?"),
        ("hpatches --method d2_ss --no-rleu", "did you mean --no-relu?"),
        ("hpatches --method d2_ss --xyz -5", "--xyz: no such option"),
        ("describe d2_ss --sise 64x48", "did you mean --size?"),
        ("methods --cach x", "did you mean --cache?"),
        ("--versoin", "did you mean --version?"),
        ("hpatche --method show", "there is no 'hpatche'; did you mean hpatches"),
        ("tables hpatch", "there is no 'hpatch'; did you mean hpatches?"),
        ("plot mm", "there is no 'mm'; did you mean mma?"),
        ("aachen --method rootsift --protocol aachen_hlc", "did you mean aachen_hloc"),
        ("inloc --method rootsift --strategy denes", "did you mean dense?"),
        ("hpatches --method d2_ss --precision fp23", "did you mean fp32?"),
        ("hpatches --method d2_sss", "did you mean d2_ss"),
        (
            "hpatches --method d2_ss --num-features 9",
            "--num-features is an option of rootsift and upright_rootsift and orb and disk",
        ),
        (
            "hpatches --method rootsift --method d2_ss --num-features 9",
            "--num-features is an option of rootsift and upright_rootsift and orb and disk",
        ),
        ("inloc --relu", "--relu is an option of d2_ss and d2_ms and d2_ss_trained and d2_ms_"),
        ("hpatches --method rootsift --extension .x", "is an option of precomputed:DIR, not of"),
        ("speed --method rootsift --relu", "--relu is an option of d2_ss"),
        (
            "hpatches --method rootsift --matcher ratio --matcher-ration 1",
            "--matcher-ration: no such option; did you mean --matcher-ratio?",
        ),
        (
            "hpatches --method rootsift --matcher-ration 1",
            "--matcher-ration: no such option; did you mean --matcher-ratio of ratio and mnn_ratio",
        ),
        ("hpatches --method rootsift --mather mnn", "did you mean --matcher?"),
        ("hpatches rootsift", "the following arguments are required: --method"),
    ],
)
def test_the_nearest_is_named(capsys, line, says):
    code = main(line.split())
    out, error = capsys.readouterr()
    assert (code, out) == (2, "")
    assert says in error
    assert error.startswith("d2eval: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("methods", ["rootsift", "rootsift upright_rootsift"])
def test_numbers_and_what_follows_two_dashes_are_no_options(capsys, methods):
    named = [f"--method={name}" for name in methods.split()]
    assert main(["extract", *named, "--output", "x", "--", "--not-there.png"]) == 2
    error = capsys.readouterr().err
    assert "--not-there.png" in error
    assert "no such option" not in error


def test_help_is_given_before_anything_else_is_said(capsys):
    assert main(["hpatches", "--topk", "5", "--help"]) == 0
    assert "--top-k K" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("rootsift", "--memory-limit", "infGB"),
        ("rootsift", "--memory-limit=-5GB"),
        ("rootsift", "--peak-threshold", "nan"),
        ("rootsift", "--edge-threshold", "inf"),
        ("orb", "--scale-factor", "nan"),
        ("orb", "--scale-factor", "inf"),
        ("orb", "--levels", "200"),
    ],
)
def test_numbers_without_reason_are_one_line(capsys, tmp_path, tiny_hpatches, words):
    method, *more = words
    where = ["--data", str(tiny_hpatches), "--output", str(tmp_path / "runs")]
    assert main(["hpatches", "--method", method, *more, *where]) == 2
    error = capsys.readouterr().err
    assert more[0].partition("=")[0] in error
    assert error.count("\n") == 1
