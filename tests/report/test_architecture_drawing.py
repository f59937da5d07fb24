"""Table and drawing of architectures: what they say, and that nothing lies on something else."""

import csv
import io
import itertools

import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from d2eval.contracts.architecture import Architecture, Layer, Level
from d2eval.contracts.method import method_class
from d2eval.report.architecture import draw
from d2eval.report.architecture_network import clusters
from d2eval.report.architecture_table import architecture_table
from d2eval.report.canvas import FONT_PT, TIMES, Canvas, text_width
from d2eval.report.figures import write_figure


def d2net(name: str, size: tuple[int, int]) -> Architecture:
    cls = method_class(name)
    found = cls.architecture(cls.Config(), size)
    assert found is not None
    return found


def other() -> Architecture:
    """Nothing of it is as in D2-Net: strides in convolutions, a pool at the end, no steps."""
    layers = (
        Layer("stem", "stem", "convolution", 7, 2, 1, 3, 1, 32, relu=True),
        Layer("body", "a", "convolution", 3, 1, 1, 1, 32, 32, relu=True),
        Layer("body", "b", "convolution", 3, 1, 3, 3, 32, 48),
        Layer("body", "pool", "max pool", 2, 2, 1, 0, 48, 48),
    )
    return Architecture("$other$", (200, 100), (200, 100), layers, (Level(1, (200, 100)),), "", ())


SIZES = [(640, 480), (480, 640), (1600, 400), (200, 900), (32, 24)]
ALL = {
    **{f"{name} {size}": d2net(name, size) for name in ("d2_ss", "d2_ms") for size in SIZES},
    "other": other(),
}


# Where texts are widest and lowest beside the cuboids, of either method.
MORE = ("d2_ss (480, 640)", "d2_ss (1600, 400)", "d2_ms (200, 900)", "d2_ms (32, 24)")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(found, marks=pytest.mark.slow if name in MORE else [], id=name)
        for name, found in ALL.items()
    ],
)
def drawn(request: pytest.FixtureRequest) -> Figure:
    return draw(request.param)


def boxes(figure: Figure) -> dict[str, Bbox]:
    """Where each text is, in pixels."""
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    return {
        f"{i}: {text.get_text()}": text.get_window_extent(renderer)
        for i, text in enumerate(axes.texts)
    }


def test_what_comes_out_is_the_map_f_where_steps_are_taken_on_it():
    for architecture, count in ((d2net("d2_ss", (640, 480)), 1), (other(), 0)):
        (axes,) = draw(architecture).axes
        assert [text.get_text() for text in axes.texts].count("F") == count


def test_texts_do_not_overlap(drawn):
    for (a, first), (b, second) in itertools.combinations(boxes(drawn).items(), 2):
        shared = Bbox.intersection(first.shrunk(0.98, 0.8), second.shrunk(0.98, 0.8))
        assert shared is None, f"{a} lies on {b}"


def test_texts_are_inside(drawn):
    for text, box in boxes(drawn).items():
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= drawn.bbox.x1 and box.y1 <= drawn.bbox.y1, text


def test_texts_do_not_lie_on_layers(drawn):
    """Names, sizes and the legend stand beside cuboids and pictures, not on them."""
    (axes,) = drawn.axes
    shapes = [
        patch.get_path().transformed(patch.get_transform())
        for patch in axes.patches
        if type(patch).__name__ == "Polygon"
    ]
    for text, box in boxes(drawn).items():
        inner = box.shrunk(0.98, 0.7)
        hit = [shape for shape in shapes if shape.intersects_bbox(inner, filled=True)]
        assert not hit, text


def test_cuboids_are_as_high_and_thick_as_maps_and_channels():
    (axes,) = draw(d2net("d2_ss", (640, 480))).axes
    polygons = [p for p in axes.patches if type(p).__name__ == "Polygon"]
    # The legend's four swatches, then three faces each of the image and the layers.
    fronts = [polygon.get_xy()[:4] for polygon in polygons[4::3]]
    heights = [front[2, 1] - front[0, 1] for front in fronts]
    widths = [front[1, 0] - front[0, 0] for front in fronts]
    assert len(fronts) == 1 + 13
    sizes = [480, 480, 480, 240, 240, 240, 120, 120, 120, 120, 119, 119, 119, 119]
    assert heights == pytest.approx([size * heights[0] / 480 for size in sizes])
    assert widths[4] / widths[1] == pytest.approx(2) and widths[-1] / widths[1] == pytest.approx(8)


def test_what_is_written():
    texts = [
        t.partition(": ")[2].replace(TIMES, "x") for t in boxes(draw(d2net("d2_ms", (640, 480))))
    ]
    for expected in (
        "(a) D2-Net: 7.64 M parameters, stride 4, receptive field 92 px, 337.5 GFLOP at 640x480",
        "2 x conv 3x3, 64", "3 x conv 3x3, 512", "dilation 2", "159x119x512", "average pool",
        "2x2, stride 1", "(b) Pyramid: 1,777.7 GFLOP", "scale 0.5", "1280x960", "F: 79x59x512",
    ):  # fmt: skip
        assert expected in texts
    assert texts.count("dilation 2") == 1


def test_clusters_begin_with_pools_and_blocks():
    found = [[t.layer.name for t in group.layers] for group in clusters(other().trace())]
    assert found == [["stem"], ["a", "b"], ["pool"]]
    found = [[t.layer.name for t in g.layers] for g in clusters(ALL["d2_ss (640, 480)"].trace())]
    assert found[1] == ["pool1", "conv2_1", "conv2_2"] and len(found) == 4


def test_widths_of_texts():
    canvas = Canvas(4, 1)
    line = f"3 {TIMES} conv, dilation 2"
    canvas.text(0, 0.5, line)
    ((_, box),) = boxes(canvas.figure).items()
    width = text_width(line, FONT_PT)
    assert box.width / canvas.figure.dpi == pytest.approx(width, rel=0.05)


def test_the_same_architecture_gives_the_same_files(tmp_path):
    one, two = (write_figure(draw(ALL["other"]), tmp_path / folder, "a") for folder in "xy")
    assert [path.suffix for path in one] == [".png", ".svg"]
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_table():
    table = architecture_table("stem", "title", ALL["d2_ms (640, 480)"])
    rows = list(csv.DictReader(io.StringIO(table.csv)))
    layers = [row for row in rows if row["part"] == "layer"]
    first, last, total = layers[0], layers[-2], layers[-1]
    assert (first["name"], first["kernel"], first["receptive_field"]) == ("conv1_1", "3", "3")
    assert (last["dilation"], last["width"], last["height"]) == ("2", "159", "119")
    assert float(last["gflop"]) == pytest.approx(2 * 512 * 512 * 9 * 159 * 119 / 1e9)
    assert (total["name"], total["parameters"]) == ("total", "7635264")
    assert float(total["gflop"]) == pytest.approx(sum(float(r["gflop"]) for r in layers[:-1]))
    levels = [row for row in rows if row["part"] == "level"]
    assert [row["name"] for row in levels] == ["0.5", "1", "2", "total"]
    assert float(levels[0]["receptive_field"]) == 184
    assert float(levels[-1]["gflop"]) == pytest.approx(sum(float(r["gflop"]) for r in levels[:-1]))
    assert len([row for row in rows if row["part"] == "step"]) == 7
    assert "multiply-add counted as 2" in table.markdown


def test_a_table_without_pyramid_and_steps_says_nothing_of_them():
    markdown = architecture_table("stem", "title", other()).markdown
    assert "Pyramid" not in markdown and "On the map" not in markdown
    shrunk = architecture_table("stem", "title", d2net("d2_ss", (3000, 1000))).markdown
    assert "3000x1000 pixels, which the method's limits shrink to 1600x533" in shrunk
