import csv
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from d2eval.cli import main
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.files.bundled import bundled
from d2eval.hpatches.report.curves import draw, plot_mma, published_curves, run_curves, write_figure
from d2eval.hpatches.report.published import load_paper, load_runs
from d2eval.report import threshold_curves
from d2eval.runs.published import presentation

PARTIAL = "partial (7 of 108 sequences)"
FIGURE = presentation("hpatches")["figure"]
SHOWN = threshold_curves.Axes(FIGURE["thresholds_px"], FIGURE["panels"], "threshold [px]", "MMA")
PAPER = load_paper()

# Colour and line style typed from the authors' plotting code; names are those of the paper's table.
STYLES = [
    ("hesaff", "Hes. det. + RootSIFT", "black", "-"),
    ("hesaffnet", "HAN + HN++", "orange", "-"),
    ("lf-net", "LF-Net", "brown", "-"),
    ("superpoint", "SuperPoint", "blue", "-"),
    ("delf", "DELF", "red", "-"),
    ("delf-new", "DELF New", "red", "--"),
    ("d2-net", "D2 SS", "purple", "-"),
    ("d2-net-ms", "D2 MS", "green", "-"),
    ("d2-net-trained", "D2 SS Trained", "purple", "--"),
    ("d2-net-trained-ms", "D2 MS Trained", "green", "--"),
]
# Legend -> MMA overall at 1, 3, 5, 10 px, then illumination and viewpoint at 3 and 10 px.
SPOT_CHECKS = {
    "D2 MS Trained": (
        [0.1024, 0.4002, 0.6395, 0.8636], [0.4394, 0.9135], [0.3638, 0.8173]
    ),
    "D2 SS": ([0.1269, 0.4057, 0.5995, 0.7864], [0.5021, 0.8636], [0.3162, 0.7148]),
    "DELF": ([0.4369, 0.4895, 0.5719, 0.7364], [0.8956, 0.9152], [0.1124, 0.5704]),
    "SuperPoint": ([0.3393, 0.6446, 0.7289, 0.7898], [0.6938, 0.8403], [0.5988, 0.7428]),
}  # fmt: skip


@pytest.fixture(scope="module")
def published_panels() -> list[Axes]:
    """To be looked at only."""
    return draw(published_curves(PAPER, FIGURE["line_width"]), SHOWN).axes


def measured_labels(runs: Path) -> list[str]:
    return [curve.label for curve in run_curves(load_runs(runs)[0])]


def line_of(axes: Axes, label: str) -> Line2D:
    return next(line for line in axes.get_lines() if line.get_label() == label)


def test_panels_are_the_papers(published_panels: list[Axes]) -> None:
    assert [axes.get_title() for axes in published_panels] == [
        "Overall",
        "Illumination",
        "Viewpoint",
    ]
    for axes in published_panels:
        assert axes.get_xlabel() == "threshold [px]"
        assert (axes.get_xlim(), axes.get_ylim()) == ((1, 10), (0, 1))
        assert list(axes.get_xticks()) == list(range(1, 11))
    assert published_panels[0].get_ylabel() == "MMA"


def test_published_curves_are_the_csv(published_panels: list[Axes]) -> None:
    path = bundled("results/published") / "hpatches_curves.csv"
    with path.open(newline="") as file:
        rows = {
            (row["method"], row["split"]): row
            for row in csv.DictReader(file)
            if row["source"] == "official-cache via ASLFeat repo"
        }
    for axes, split in zip(published_panels, ("overall", "i", "v"), strict=True):
        lines = axes.get_lines()
        assert [
            (line.get_label(), line.get_color(), line.get_linestyle()) for line in lines
        ] == [style[1:] for style in STYLES]  # fmt: skip
        for line, (name, *_) in zip(lines, STYLES, strict=True):
            assert list(line.get_xdata()) == list(range(1, 11))
            assert list(line.get_ydata()) == [
                float(rows[name, split][f"mma_{t}px"]) for t in range(1, 11)
            ]
            assert line.get_linewidth() == 3
            assert line.get_marker() in ("", "None")


@pytest.mark.parametrize("legend", SPOT_CHECKS)
def test_published_curves_at_known_points(legend: str, published_panels: list[Axes]) -> None:
    overall, *splits = SPOT_CHECKS[legend]
    y = line_of(published_panels[0], legend).get_ydata()
    assert [y[t - 1] for t in (1, 3, 5, 10)] == pytest.approx(overall, abs=6e-5)
    for axes, values in zip(published_panels[1:], splits, strict=True):
        y = line_of(axes, legend).get_ydata()
        assert [y[t - 1] for t in (3, 10)] == pytest.approx(values, abs=6e-5)


def test_a_measured_curve_lies_on_top_and_is_told_apart(runs: Path, write_run) -> None:
    write_run("d2_ms", "d2_ms", dataset=PARTIAL, weights="bundled stand-in", empty=("i",))
    found, _ = load_runs(runs)
    curves = published_curves(PAPER, 3) + run_curves(found)
    panels = draw(curves, SHOWN).axes
    label = "d2_ms, 7 of 108, stand-in"
    published, own = line_of(panels[0], "D2 MS"), line_of(panels[0], label)
    assert own.get_color() == published.get_color() == "green"
    assert own.get_linestyle() == published.get_linestyle()
    assert own.get_linewidth() < published.get_linewidth()
    assert own.get_marker() == "o"
    assert own.get_zorder() > published.get_zorder()
    assert list(own.get_ydata()) == pytest.approx([0.1 + 0.02 * t for t in range(1, 11)])
    assert line_of(panels[2], label).get_ydata()[0] == pytest.approx(0.32)
    assert len(panels[1].get_lines()) == 10  # it has no illumination pairs


def test_legend_entries_say_what_was_measured(runs: Path, write_run) -> None:
    write_run("a", "d2_ss", weights="official d2_ots.pth")
    write_run("b", "d2_ss", top_k=2000)
    write_run("disk", "precomputed")
    write_run("rootsift", "rootsift", dataset=PARTIAL)
    assert measured_labels(runs) == [
        "a (D2 SS)",
        "b (D2 SS), top 2000",
        "disk (precomputed)",
        "rootsift, 7 of 108",
    ]


def test_runs_of_one_method_differ_in_their_marker(runs: Path, write_run) -> None:
    for label in "abc":
        write_run(label, "d2_ss")
    found, _ = load_runs(runs)
    assert len({curve.marker for curve in run_curves(found)}) == 3


def test_legends_cover_no_panel(runs: Path, write_run) -> None:
    for number in range(7):
        write_run(f"a_rather_long_label_{number}", "d2_ss", weights="file a_$long$_name.pth")
    found, _ = load_runs(runs)
    figure = draw(published_curves(PAPER, 3) + run_curves(found), SHOWN)
    published, measured = [legend.get_window_extent() for legend in figure.legends]
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    assert published.y1 <= lowest
    assert measured.y1 < published.y0
    for box in (published, measured):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.slow
def test_sample_runs_have_a_figure_of_their_own(
    runs: Path, write_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}

    def keep(figure, folder, stem):
        drawn[stem] = figure
        return write_figure(figure, folder, stem)

    monkeypatch.setattr("d2eval.hpatches.report.curves.write_figure", keep)
    write_run("sample", "d2_ms", dataset="sample", weights="bundled stand-in", empty=("i",))
    paths, _ = plot_mma(runs, tmp_path / "plots")
    assert names(paths) == ["mma.png", "mma.svg", "mma_sample.png", "mma_sample.svg"]
    assert len(drawn["mma"].axes[0].get_lines()) == 10  # published ones alone
    sample = drawn["mma_sample"]
    # no panel for illumination, of which there is nothing
    assert [axes.get_title() for axes in sample.axes] == ["Overall", "Viewpoint"]
    assert [len(axes.get_lines()) for axes in sample.axes] == [1, 1]
    label = sample.axes[0].get_lines()[0].get_label()
    assert label == "sample (D2 MS), stand-in"
    assert sample.get_suptitle().startswith("Embedded sample (not HPatches)")

    paths, _ = plot_mma(runs, tmp_path / "only", sample_only=True)
    assert names(paths) == ["mma_sample.png", "mma_sample.svg"]


def test_without_published_curves(runs: Path, write_run, tmp_path: Path) -> None:
    with pytest.raises(D2EvalError, match="leave out --no-published"):
        plot_mma(runs, tmp_path, published=False)
    with pytest.raises(D2EvalError, match="leave out --sample"):
        plot_mma(runs, tmp_path, sample_only=True)
    write_run("rootsift", "rootsift")
    paths, _ = plot_mma(runs, tmp_path, published=False)
    assert names(paths) == ["mma.png", "mma.svg"]


def test_svg_is_deterministic(tmp_path: Path) -> None:
    curves = published_curves(PAPER, FIGURE["line_width"])
    (first,), (second,) = (
        write_figure(draw(curves, SHOWN), tmp_path / name, "mma", ["svg"])
        for name in ("first", "second")
    )
    first, second = first.read_bytes(), second.read_bytes()
    assert first == second
    assert b"<dc:date>" not in first


def test_command_writes_the_figure(
    runs: Path, write_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (write_run("half", "d2_ss") / "summary.csv").unlink()
    output = tmp_path / "plots"
    assert main(["plot", "mma", "--runs", str(runs), "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert f"wrote {output / 'mma.png'}" in printed.out
    assert "half: skipped, summary.csv missing" in printed.err
    assert (output / "mma.png").read_bytes().startswith(b"\x89PNG")


def test_command_exits_2_for_mistakes(
    runs: Path, write_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plots = ["--output", str(tmp_path / "plots")]
    assert main(["plot", "mma", "--runs", str(runs), "--no-published", *plots]) == 2
    assert "nothing to draw" in capsys.readouterr().err
    (write_run("run", "d2_ss") / "manifest.json").write_text("{")
    assert main(["plot", "mma", "--runs", str(runs), *plots]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "manifest.json" in error
