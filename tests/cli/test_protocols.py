import pytest

from d2eval.cli import main
from d2eval.contracts.protocol import protocol_names


def test_the_list_names_each_protocol_with_its_source(capsys):
    assert main(["protocols"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == protocol_names()
    assert {"hpatches", "aachen_hloc", "inloc_demo", "megadepth1500_xfeat"} <= set(protocol_names())
    assert "downloads" not in protocol_names()
    start = header.index("source")
    sources = [line[start:] for line in lines]
    assert all(sources)
    assert any("XFeat e92685f" in source for source in sources)
    assert len(set(sources)) == len(sources)  # none has that of what it extends


def test_a_difference_has_each_constant_that_differs_and_no_other(tmp_path, capsys):
    (tmp_path / "a.toml").write_text(
        'name = "A"\nx = 1\n[one]\ny = [1, 2]\nz = "w"\n[two]\nu = 1\n'
    )
    text = 'extends = "a.toml"\nname = "B"\nwithout = ["two"]\n[one]\ny = [1, 3]\nv = true\n'
    (tmp_path / "b.toml").write_text(text)
    paths = [str(tmp_path / name) for name in ("a.toml", "b.toml")]
    assert main(["protocols", "diff", *paths]) == 0
    rows = [line.rsplit(None, 0)[0] for line in capsys.readouterr().out.splitlines()]
    found = {row.split()[0]: "".join(row.split()[1:]) for row in rows[2:]}
    assert found == {"one.y": "[1,2][1,3]", "one.v": "-true", "two.u": "1-"}


def test_equal_protocols_differ_in_nothing(capsys):
    assert main(["protocols", "diff", "hpatches", "hpatches"]) == 0
    assert "no constant differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["diff", "hpatches"], "names of two"), (["differ", "a", "b"], "names of two"),
        (["diff", "hpatches", "nope"], "nope.toml"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words, said, capsys):
    assert main(["protocols", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
