"""Which code a method's features belong to."""

import importlib
import json
import runpy
import sys
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from checkouts import copy_checkout, sources
from PIL import Image
from places import REPOSITORY

from d2eval.contracts.method import Runtime, method_class, registered
from d2eval.contracts.options import NoOptions
from d2eval.contracts.source import SHIPPED, source_of
from d2eval.pipeline.extraction import features_of_images, open_source

METHOD = """
import numpy as np
from d2eval.contracts.features import make_features
from d2eval.pipeline.extraction import features_of_images, open_source
from d2eval.contracts.method import Method
{imports}
class Orb(Method):
    description = "a method under development"
    descriptor_dim = 2

    def __init__(self, config, runtime):
        pass

    def extract(self, image):
        height, width = image.shape[:2]
        n = {count}
        return make_features(
            np.ones((n, 2)), np.ones(n), np.tile(np.float32([[1, 0]]), (n, 1)), (width, height)
        )
"""


def write(path: Path, count: object, imports: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(METHOD.format(count=count, imports=imports))


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "images" / "1.png"
    path.parent.mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A folder that modules are imported from; Python itself keeps none of their bytecode."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    forget(tmp_path)


def forget(folder: Path) -> None:
    """Lets modules below ``folder`` be imported anew, as another process would."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()


def extract(work: Path, image: Path, method: str, fresh: bool = False) -> tuple[int, int]:
    """(features of the image, images extracted) of a run."""
    forget(work.parent)
    source = open_source(method, {}, Runtime(cache=work.parent / "cache", fresh=fresh))
    ((_, unit),) = features_of_images(source, [(image, "1.png")], workers=0)
    return len(unit.features), source.extracted


def test_an_edited_method_is_extracted_again(work, image):
    write(work / "orb.py", 3)
    assert extract(work, image, "orb:Orb") == (3, 1)
    assert extract(work, image, "orb:Orb") == (3, 0)
    write(work / "orb.py", 5)
    assert extract(work, image, "orb:Orb") == (5, 1)
    write(work / "orb.py", 3)
    assert extract(work, image, "orb:Orb") == (3, 0)  # as it was before


def test_fresh_extracts_again(work, image):
    write(
        work / "orb.py",
        "int(Path(__file__).with_name('count').read_text())",
        "from pathlib import Path",
    )  # which no source says
    (work / "count").write_text("3")
    assert extract(work, image, "orb:Orb") == (3, 1)
    (work / "count").write_text("4")
    assert extract(work, image, "orb:Orb") == (3, 0)
    assert extract(work, image, "orb:Orb", fresh=True) == (4, 1)
    assert extract(work, image, "orb:Orb") == (4, 0)


def test_an_edited_checkout(tmp_path):
    """A method that is added to the registry, and one that is shipped, both edited."""
    checkout = copy_checkout(tmp_path)
    names = "their_orb", "methods.TEMPLATE:MyFeature"
    found = partial(sources, checkout, "d2eval.contracts.method:method_class", *names)

    def write_orb(count: int) -> None:  # without what loads PyTorch each time
        write(orb, count)
        lines = orb.read_text().splitlines(keepends=True)
        orb.write_text("".join(line for line in lines if "extraction" not in line))

    orb = checkout / "methods" / "orb.py"
    write_orb(3)
    with (checkout / "methods" / "registry.toml").open("a") as file:
        file.write('\ntheir_orb = "methods.orb:Orb"\n')
    first, template = found()
    assert first.startswith("files ")
    assert template == "shipped -"
    write_orb(4)
    (checkout / "methods" / "d2net" / "training" / "loss.py").write_text("# no feature's")
    other, template = found()
    assert other.startswith("files ")
    assert other != first
    assert template == "shipped -"
    with (checkout / "methods" / "TEMPLATE.py").open("a") as file:
        file.write("# edited\n")
    again, template = found()
    assert again == other
    assert template.startswith("files ")


PLACES = {  # how the method gets at its helper -> where that lies
    "import helper": "helper.py",
    "from helper import N": "helper.py",
    "from pack.deep import N": "pack/deep.py",
    "def late():\n    import helper": "helper.py",
}


@pytest.mark.parametrize("imports", PLACES)
def test_what_a_module_imports_counts(work, image, imports):
    helper = work / PLACES[imports]
    helper.parent.mkdir(exist_ok=True)
    if helper.parent != work:
        (helper.parent / "__init__.py").write_text("")
    helper.write_text("N = 3\n")
    write(work / "orb.py", 3, imports)
    (work / "unrelated.py").write_text("")
    assert extract(work, image, "orb:Orb")[1] == 1
    (work / "unrelated.py").write_text("import nothing\n")
    assert extract(work, image, "orb:Orb")[1] == 0
    helper.write_text("N = 4\n")
    assert extract(work, image, "orb:Orb")[1] == 1


@pytest.mark.parametrize("file", ["orb.py", "inner/layers.py", "settings.yaml", "kernels/fast.cu"])
def test_all_files_of_a_package_count(work, image, file):
    write(work / "mine" / "orb.py", 3)
    (work / "mine" / "__init__.py").write_text("from mine.orb import Orb\n")
    (work / "mine" / "inner").mkdir()
    (work / "mine" / "inner" / "__init__.py").write_text("")
    changed = work / "mine" / file
    changed.parent.mkdir(exist_ok=True)
    with changed.open("a") as opened:
        opened.write("#\n")
    (work / "mine" / "weights.pth").write_bytes(b"1")
    assert extract(work, image, "mine:Orb")[1] == 1
    (work / "mine" / "weights.pth").write_bytes(b"2")
    (work / "mine" / "README.md").write_text("words")
    assert extract(work, image, "mine:Orb")[1] == 0
    with changed.open("a") as opened:
        opened.write("# more\n")
    assert extract(work, image, "mine:Orb")[1] == 1


def test_an_installed_package_counts_by_its_own_files(work, image, tmp_path, monkeypatch):
    site = tmp_path / "site"
    write(site / "theirs" / "__init__.py", 3, "import other")
    (site / "other.py").write_text("")
    info = site / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[d2eval.methods]\ntheir_orb = theirs:Orb\n")
    monkeypatch.syspath_prepend(str(site))
    assert extract(work, image, "their_orb") == (3, 1)
    (site / "other.py").write_text("# another package, whose version is its own\n")
    assert extract(work, image, "their_orb") == (3, 0)
    write(site / "theirs" / "__init__.py", 4, "import other")
    assert extract(work, image, "their_orb") == (4, 1)


def test_the_classes_it_is_derived_from_count(work, image):
    write(work / "base.py", 3)
    (work / "orb.py").write_text(
        "import importlib\nclass Orb(importlib.import_module('base').Orb):\n    pass\n"
    )
    assert extract(work, image, "orb:Orb") == (3, 1)
    write(work / "base.py", 4)
    assert extract(work, image, "orb:Orb") == (4, 1)


def test_the_manifest_says_which_source(work):
    write(work / "orb.py", 3)
    mine = open_source("orb:Orb", {}, Runtime(cache=work)).describe()["source"]
    assert (mine["origin"], mine["files"], len(mine["sha256"])) == ("files", ("orb",), 64)
    shipped = open_source("rootsift", {}, Runtime(cache=work)).describe()["source"]
    assert shipped == {"origin": "shipped", "sha256": "", "files": ()}


def test_shipped_methods_count_by_their_version():
    for name in registered():
        assert source_of(method_class(name)) == SHIPPED
    assert source_of(method_class("methods.TEMPLATE:MyFeature")) == SHIPPED


def test_the_record_of_shipped_sources_is_current():
    """After a change: raise `version` if it changes features, then run the script."""
    script = REPOSITORY / "tests/methods/record_sources.py"
    current = runpy.run_path(str(script))["current_record"]()
    recorded = json.loads((Path(str(files("methods"))) / "shipped.json").read_text())
    assert current == recorded, f"run python {script}"


def test_a_class_without_a_file_is_never_taken_for_another(monkeypatch):
    """As one of a notebook's cells, of which another cell may have been changed."""
    base = method_class("methods.TEMPLATE:MyFeature")
    main = type(sys)("notebook")
    monkeypatch.setitem(sys.modules, "notebook", main)
    main.Mine = type("Mine", (base,), {"__module__": "notebook"})
    first, other = (source_of(main.Mine) for _ in range(2))
    assert first.origin == "notebook has no file"
    assert first.sha256 != other.sha256
    method = main.Mine(main.Mine.Config(), Runtime())
    keys = {method.identity("notebook:Mine", main.Mine.Config()).key for _ in range(2)}
    assert len(keys) == 2


def test_files_that_were_changed_since_they_were_loaded_tell_nothing(work):
    write(work / "edited_orb.py", 3)
    cls = method_class("edited_orb:Orb")
    one, other = (cls(NoOptions(), Runtime()).identity("edited_orb:Orb", NoOptions()) for _ in "12")
    assert one.source.known
    assert one == other
    write(work / "edited_orb.py", 4)  # while the old code is what runs
    later = cls(NoOptions(), Runtime()).identity("edited_orb:Orb", NoOptions())
    assert not later.source.known
    assert later.key != one.key


def test_line_ends_of_a_checkout_don_t_count(tmp_path):
    from d2eval.contracts.source import digest_of

    (tmp_path / "unix.py").write_bytes(b"a = 1\nb = 2\n")
    (tmp_path / "windows.py").write_bytes(b"a = 1\r\nb = 2\r\n")
    assert digest_of(tmp_path / "unix.py") == digest_of(tmp_path / "windows.py")
