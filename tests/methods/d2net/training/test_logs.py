"""What a training writes down: rows, also after it was cut off, curves, pictures and events."""

import math
import resource
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from d2eval.foundation.errors import D2EvalError
from methods.d2net.training import curves, logs
from methods.d2net.training.curves import draw_curves
from methods.d2net.training.data.pairs import TrainingPair
from methods.d2net.training.logs import EpochRow, RunLog
from methods.d2net.training.pictures import draw_pair
from methods.d2net.training.validation import Matching

EPOCH_COLUMNS = [
    "epoch", "train_loss", "pairs", "skipped", "validation_loss", "mma_1", "mma_3", "mma_5",
    "mma_10", "features", "matches", "learning_rate", "seconds",
]  # fmt: skip


def epoch_row(epoch):
    matching = Matching((0.1, 0.3 + epoch / 100, 0.5, 0.75), 812.5, 300.25)
    loss = 0.9 - epoch / 10 if epoch else math.nan
    return EpochRow(epoch, loss, 7, 2, 0.8 - epoch / 10, matching, 1e-3 if epoch else 0.0, 12.5)


@pytest.fixture
def without_events(monkeypatch):
    """As where TensorBoard is not installed."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture
def without_curves(monkeypatch):
    """They take their time."""
    monkeypatch.setattr(logs, "draw_curves", lambda *_: None)


@pytest.fixture
def rows_only(without_events, without_curves):
    """Neither curves nor events."""


def write(folder, epochs=2, steps=3):
    """Epoch 0 and some more, as a training does, without closing in between."""
    with RunLog(folder, 0, 0) as log:
        log.epoch(epoch_row(0))
        for epoch in range(1, epochs + 1):
            for step in range((epoch - 1) * steps + 1, epoch * steps + 1):
                log.step(step, epoch, step / 8)
            log.epoch(epoch_row(epoch))


def steps_in(folder):
    return pd.read_csv(folder / "steps.csv")


def epochs_in(folder):
    return pd.read_csv(folder / "epochs.csv")


def read_image(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_rows_are_written(tmp_path, rows_only):
    write(tmp_path)
    steps = steps_in(tmp_path)
    assert list(steps) == ["step", "epoch", "loss"]
    assert steps["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert steps["epoch"].tolist() == [1, 1, 1, 2, 2, 2]
    assert steps["loss"].tolist() == [step / 8 for step in range(1, 7)]
    epochs = epochs_in(tmp_path)
    assert list(epochs) == EPOCH_COLUMNS
    assert epochs["epoch"].tolist() == [0, 1, 2]
    assert np.isnan(epochs.loc[0, "train_loss"])
    assert epochs.loc[2].tolist() == [2, 0.7, 7, 2, 0.8 - 0.2, 0.1, 0.32, 0.5, 0.75, 812.5, 300.25,
                                      1e-3, 12.5]  # fmt: skip
    assert not (tmp_path / "tensorboard").exists()


def test_flushed_rows_are_on_the_disk(tmp_path, rows_only):
    with RunLog(tmp_path, 0, 1) as log:
        log.step(1, 1, 0.5)
        log.step(2, 1, 0.25)
        log.flush()
        assert steps_in(tmp_path)["loss"].tolist() == [0.5, 0.25]


def test_going_on_drops_what_the_checkpoint_does_not_hold(tmp_path, rows_only):
    write(tmp_path, epochs=3)
    with RunLog(tmp_path, 5, 2) as log:  # within epoch 2
        assert steps_in(tmp_path)["step"].tolist() == [1, 2, 3, 4, 5]
        log.step(6, 2, 0.125)
        log.epoch(epoch_row(2))
    assert steps_in(tmp_path)["loss"].tolist() == [0.125, 0.25, 0.375, 0.5, 0.625, 0.125]
    epochs = epochs_in(tmp_path)
    assert epochs["epoch"].tolist() == [0, 1, 2]
    assert epochs.loc[1].tolist() == pytest.approx([*epoch_row(1).columns().values()], rel=1e-15)


def test_going_on_after_the_end_keeps_everything(tmp_path, rows_only):
    write(tmp_path, epochs=2)
    before = [(tmp_path / name).read_bytes() for name in ("steps.csv", "epochs.csv")]
    with RunLog(tmp_path, 6, 3):
        pass
    assert [(tmp_path / name).read_bytes() for name in ("steps.csv", "epochs.csv")] == before


@pytest.mark.parametrize("cut", ["", "7", "7,3", "7,3,0.1", "step"])
def test_a_line_that_was_cut_off_is_no_row(tmp_path, rows_only, cut):
    write(tmp_path, epochs=2)
    with (tmp_path / "steps.csv").open("a") as file:
        file.write(cut)
    with RunLog(tmp_path, 7, 3) as log:
        log.step(8, 3, 0.5)
    assert steps_in(tmp_path)["step"].tolist() == [1, 2, 3, 4, 5, 6, 8]
    assert len((tmp_path / "steps.csv").read_text().splitlines()) == 8


def test_a_folder_that_can_not_be_written(tmp_path, rows_only):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(D2EvalError, match=r"steps\.csv: can't be written"):
        RunLog(tmp_path / "run", 0, 0)


@pytest.mark.parametrize("steps", [20, 2000])  # more than a buffer holds
def test_a_full_disk_is_said_when_rows_are_flushed(tmp_path, rows_only, steps):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(D2EvalError, match=r"steps\.csv: can't be written"):  # noqa: SIM117
        with RunLog(tmp_path, 0, 0) as log:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            try:
                for step in range(steps):
                    log.step(step + 1, 1, 0.5)
                log.flush()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with RunLog(tmp_path, 3, 1):
        pass
    assert (tmp_path / "steps.csv").read_text() == "step,epoch,loss\n1,1,0.5\n2,1,0.5\n3,1,0.5\n"


# Curves


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    made = []

    class Kept(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(curves, "Figure", Kept)
    return made


def lines(axes):
    """(x, y) of the lines by label."""
    return {line.get_label(): np.array(line.get_data()) for line in axes.get_lines()}


def test_curves_of_the_start_alone(tmp_path, without_events, figures):
    with RunLog(tmp_path, 0, 0) as log:
        log.epoch(epoch_row(0))
    pixels = read_image(tmp_path / "curves.png")
    assert pixels.shape[1] > 2 * pixels.shape[0] > 400
    assert (pixels < 128).any()
    losses, accuracy, counts = (lines(axes) for axes in figures[0].axes)
    assert losses["validation"].tolist() == [[0], [0.8]]
    assert list(losses) == ["training", "validation"]
    assert sorted(float(y[0]) for _, y in accuracy.values()) == [0.1, 0.3, 0.5, 0.75]
    assert counts["features of an image"].tolist() == [[0], [812.5]]
    assert counts["matches of a pair"].tolist() == [[0], [300.25]]


@pytest.mark.slow
def test_curves_show_steps_within_their_epochs(tmp_path, without_events, figures):
    write(tmp_path, epochs=2, steps=40)
    assert len(figures) == 3  # anew after each epoch
    losses = lines(figures[-1].axes[0])
    place, mean = losses["mean of 50 steps"]
    # Step 50 of 80, the tenth of epoch 2, is the first whose mean is of fifty steps.
    assert place == pytest.approx(np.arange(50, 81) / 40)
    assert mean == pytest.approx([np.mean(np.arange(n - 49, n + 1) / 8) for n in range(50, 81)])
    assert losses["training"][0].tolist() == [0, 1, 2]
    assert losses["training"][1, 1:] == pytest.approx([0.8, 0.7])
    assert losses["validation"][1] == pytest.approx([0.8, 0.7, 0.6])
    shares = [y for _, y in lines(figures[-1].axes[1]).values()]
    assert any(y == pytest.approx([0.3, 0.31, 0.32]) for y in shares)


@pytest.mark.slow
def test_curves_go_on_from_rows_that_were_read(tmp_path, without_events, figures):
    write(tmp_path / "whole", epochs=2, steps=5)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / "curves.png").unlink()
    with RunLog(tmp_path / "cut", 7, 2) as log:
        for step in range(8, 11):
            log.step(step, 2, step / 8)
        log.epoch(epoch_row(2))
    whole, cut = (lines(figures[number].axes[0]) for number in (2, -1))
    for label, line in whole.items():
        np.testing.assert_array_equal(cut[label], line)
    drawn = [read_image(tmp_path / name / "curves.png") for name in ("whole", "cut")]
    np.testing.assert_array_equal(*drawn)


def test_curves_of_a_single_step(tmp_path):
    row = {"step": "1", "epoch": "1", "loss": "0.5"}
    draw_curves(tmp_path / "curves.png", [row], [epoch_row(n).columns() for n in range(2)])
    assert read_image(tmp_path / "curves.png").std() > 5


# TensorBoard


@pytest.fixture
def events(without_curves):
    """Reads the scalars of a training's folder: name to a list of (step, value)."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        accumulator = EventAccumulator(str(folder / "tensorboard"))
        accumulator.Reload()
        names = accumulator.Tags()["scalars"]
        return {
            name: [(event.step, event.value) for event in accumulator.Scalars(name)]
            for name in names
        }

    return read


def test_events_are_written(tmp_path, events):
    write(tmp_path)
    found = events(tmp_path)
    assert found.keys() == {"loss/step", *(f"epoch/{name}" for name in EPOCH_COLUMNS[1:])}
    assert found["loss/step"] == [(step, step / 8) for step in range(1, 7)]
    assert found["epoch/matches"] == [(0, 300.25), (3, 300.25), (6, 300.25)]
    steps, shares = zip(*found["epoch/mma_3"], strict=True)
    assert steps == (0, 3, 6)
    assert shares == pytest.approx([0.3, 0.31, 0.32])
    assert math.isnan(found["epoch/train_loss"][0][1])


def test_going_on_drops_later_events(tmp_path, events):
    write(tmp_path)
    (before,) = (tmp_path / "tensorboard").iterdir()
    before.rename(before.with_name("events.out.tfevents.0000000001"))  # read in order of name
    with RunLog(tmp_path, 4, 2) as log:
        log.step(5, 2, 0.125)
        log.flush()
        assert events(tmp_path)["loss/step"][-1] == (5, 0.125)
    found = events(tmp_path)
    assert found["loss/step"] == [(1, 0.125), (2, 0.25), (3, 0.375), (4, 0.5), (5, 0.125)]
    assert [step for step, _ in found["epoch/mma_3"]] == [0, 3]


# Damage

STEPS_DAMAGE = {
    "no number": ("1,1,0.125", "1,1,abc"),
    "no whole number": ("2,1,", "2.5,1,"),
    "a column too many": ("1,1,0.125", "1,1,0.125,7"),
    "a column too few": ("1,1,0.125", "1,1"),
    "an empty value": ("1,1,0.125", "1,1,"),
    "other columns": ("step,epoch,loss", "step,loss,epoch"),
    "no header": ("step,epoch,loss\n", ""),
    "a step twice": ("2,1,", "1,1,"),
    "out of order": ("2,1,", "5,1,"),
    "an epoch to come": ("4,2,", "4,1000000000000,"),
    "an earlier epoch": ("4,2,", "4,0,"),
    "digits without end": ("1,1,0.125", "1,1," + "9" * 5000 + "x"),
    "a number without end": ("2,1,", "9" * 5000 + ",1,"),
    "underscores": ("1,1,0.125", "1,1,0_1"),
    "a quote": ("1,1,0.125", '1,1,"0.125'),
    "a long value": ("1,1,0.125", '1,1,"' + "0" * 200_000 + '"'),
}


@pytest.mark.parametrize("kind", STEPS_DAMAGE)
def test_damaged_steps_are_one_line(tmp_path, rows_only, kind):
    write(tmp_path)
    path = tmp_path / "steps.csv"
    text = path.read_text()
    old, new = STEPS_DAMAGE[kind]
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(D2EvalError, match=r"steps\.csv: .*remove it, the training") as caught:
        RunLog(tmp_path, 4, 2)
    assert "\n" not in str(caught.value)
    path.unlink()
    with RunLog(tmp_path, 4, 2):
        assert steps_in(tmp_path).empty


@pytest.mark.parametrize(
    ("old", "new"), [("\n1,", "\none,"), (",0.5,", ",half,"), ("mma_3", "mma_4"), ("12.5\n", "\n")]
)
def test_damaged_epochs_are_one_line(tmp_path, rows_only, old, new):
    write(tmp_path)
    path = tmp_path / "epochs.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(D2EvalError, match=r"epochs\.csv: .*remove it, the training") as caught:
        RunLog(tmp_path, 4, 2)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_a_cut_line_are_no_damage(tmp_path, rows_only):
    write(tmp_path)
    path = tmp_path / "steps.csv"
    path.write_text("\ufeff" + path.read_text().replace("\n", "\r\n") + "7,3,0.", encoding="utf-8")
    with RunLog(tmp_path, 6, 3):
        assert steps_in(tmp_path)["step"].tolist() == [1, 2, 3, 4, 5, 6]


def test_later_rows_are_left_out_whatever_their_epoch(tmp_path, rows_only):
    write(tmp_path)
    with RunLog(tmp_path, 0, 0):  # its checkpoint was removed, to start anew
        assert steps_in(tmp_path).empty


# Pictures


def pair(count):
    rng = np.random.default_rng(0)
    images = [np.full((256, 256, 3), color, np.uint8) for color in ((200, 40, 40), (40, 40, 200))]
    cells = [rng.integers(0, 32, (count, 2)) for _ in range(2)]
    return TrainingPair("red and blue.png", *images, *cells)


@pytest.mark.parametrize("count", [1, 10, pytest.param(300, marks=pytest.mark.slow)])
def test_a_picture_of_a_pair(tmp_path, count):
    scores = [np.zeros((32, 32)) for _ in range(2)]
    scores[0][:16], scores[1][:, 16:] = 1 / 512, 1 / 512
    draw_pair(tmp_path / "pictures" / "pair.png", pair(count), *scores)
    pixels = read_image(tmp_path / "pictures" / "pair.png")
    height, width = pixels.shape[:2]
    assert height > 600
    assert width > 600
    assert pixels.std() > 20
    top, left = pixels[: height // 2], slice(None, width // 2)
    right = slice(width // 2, None)
    reds, blues = ((top == color).all(axis=2) for color in ((200, 40, 40), (40, 40, 200)))
    for color, own, other in ((reds, left, right), (blues, right, left)):
        assert color[:, own].sum() > 20_000
        assert not color[:, other].any()
    # Dark where nothing is detected: the lower half of the left map, the left of the right one.
    dark = pixels[height // 2 :].max(axis=2) < 30
    assert np.argwhere(dark[:, left])[:, 0].mean() > 0.6 * height / 2
    assert np.argwhere(dark[:, right])[:, 1].mean() < 0.4 * width / 2


@pytest.mark.slow
def test_a_picture_shows_where_a_pair_corresponds(tmp_path):
    scores = np.zeros((32, 32))
    blank = pair(1)
    places = []
    for number, cell in enumerate(((4, 4), (4, 28), (28, 4))):
        cells = np.array([cell]), np.array([[16, 16]])
        path = tmp_path / f"{number}.png"
        draw_pair(path, TrainingPair("", blank.image_1, blank.image_2, *cells), scores, scores)
        pixels = read_image(path)
        rows, columns = np.nonzero((pixels == (200, 40, 40)).all(axis=2))
        crop = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        edge = np.argwhere(crop.min(axis=2) > 110)  # of the marker, white
        places.append((edge.mean(axis=0) + 0.5) * 256 / len(crop))
    expected = np.array([[4, 4], [4, 28], [28, 4]]) * 8 + 4  # from the image's corner
    assert np.array(places) == pytest.approx(expected, abs=1)
