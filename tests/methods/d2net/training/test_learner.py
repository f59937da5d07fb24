"""Steps of the optimizer: Adam by hand on a plain network's gradients, and what they leave."""

import io

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from methods.d2net.training.data.batches import Batch
from methods.d2net.training.data.pairs import TrainingPair
from methods.d2net.training.learner import Learner
from methods.d2net.training.options import TrainingConfig

PREFIX = "dense_feature_extraction.model."
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)  # of the convolutions, conv4_3 last
POOLED = (2, 7, 14)
CONV4_3 = (f"{PREFIX}21.weight", f"{PREFIX}21.bias")
SIZE = (48, 88)  # pixels; cells are an eighth
RATE = 1e-3


@pytest.fixture
def start(narrow):
    """The weights before the first step."""
    return narrow


def batch_of(*seeds, size=SIZE):
    """Pairs of smooth noise with random correspondences."""
    images, pairs = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        coarse = rng.normal(0, 60, (2, 3, size[0] // 4, size[1] // 4)).astype(np.float32)
        images.append(F.interpolate(torch.from_numpy(coarse), size, mode="bilinear"))
        cells = [rng.integers(0, [size[0] // 8, size[1] // 8], (30, 2)) for _ in range(2)]
        blank = np.zeros((*size, 3), np.uint8)
        pairs.append(TrainingPair(str(seed), blank, blank, *cells))
    return Batch(pairs, torch.cat([torch.stack(side) for side in zip(*images, strict=True)]), 0)


EMPTY = Batch([], torch.empty(0), 1)


def learner_of(start, **options):
    return Learner(start, TrainingConfig(**options), torch.device("cpu"), 1)


def copied(learner):
    """State as it comes back from a file."""
    buffer = io.BytesIO()
    torch.save(learner.state(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


# The loss once more, plainly and in float64


def plain_features(state, x):
    for index in INDICES:
        x = F.conv2d(x, state[f"{PREFIX}{index}.weight"], state[f"{PREFIX}{index}.bias"], padding=1)
        x = x if index == 21 else F.relu(x)
        x = F.max_pool2d(x, 2, 2) if index in POOLED else x
    return x


def plain_scores(features):
    """(C, h, w) to (h, w)."""
    r = F.relu(features)
    e = F.pad(torch.exp(r / r.max()), (1, 1, 1, 1), value=1)
    _, height, width = features.shape
    around = sum(e[:, a : a + height, b : b + width] for a in range(3) for b in range(3))
    alpha, beta = e[:, 1:-1, 1:-1] / around, r / r.max(dim=0).values
    score = (alpha * beta).max(dim=0).values
    return score / score.sum()


def plain_loss(one, two, cells_1, cells_2):
    scores_1, scores_2 = plain_scores(one), plain_scores(two)
    one, two = one / one.norm(dim=0), two / two.norm(dim=0)

    def hardest(descriptor, others, at):
        rows, columns = torch.meshgrid(*map(torch.arange, others.shape[1:]), indexing="ij")
        beyond = ((rows - at[0]).abs() > 4) | ((columns - at[1]).abs() > 4)
        return (2 - 2 * torch.einsum("c,chw->hw", descriptor, others))[beyond].min()

    total, weights = 0, 0
    for (i, j), (k, m) in zip(cells_1, cells_2, strict=True):
        first, second = one[:, i, j], two[:, k, m]
        negative = torch.minimum(hardest(first, two, (k, m)), hardest(second, one, (i, j)))
        weight = scores_1[i, j] * scores_2[k, m]
        total = total + weight * F.relu(1 + 2 - 2 * first @ second - negative)
        weights = weights + weight
    return total / weights


def plain_step(state, batch, names=CONV4_3):
    """The pairs' losses, and the gradients of their mean by name, in float64."""
    tensors = {name: state[name].double().requires_grad_(name in names) for name in state}
    features = plain_features(tensors, batch.images.double())
    count = len(batch.pairs)
    losses = torch.stack(
        [
            plain_loss(features[n], features[count + n], pair.cells_1, pair.cells_2)
            for n, pair in enumerate(batch.pairs)
        ]
    )
    wanted = torch.autograd.grad(losses.mean(), [tensors[name] for name in names])
    return losses.tolist(), dict(zip(names, wanted, strict=True))


def gradients(learner):
    layer = learner.network.layers["conv4_3"]
    return {name: getattr(layer, name.rpartition(".")[2]).grad.clone() for name in CONV4_3}


def assert_moved_by(before, after, expected, gradient):
    """Weights moved as expected, where the gradient is above its rounding error."""
    moved = after.double() - before.double()
    certain = gradient.abs() > 1e-3 * gradient.abs().max()
    assert certain.double().mean() > 0.4
    error = (moved - expected).abs()[certain] / RATE
    assert error.max() < 5e-3
    assert error.median() < 1e-5  # no weight decay


@pytest.mark.parametrize("seeds", [(0,), (1, 2)])
def test_losses_and_gradients_are_a_plain_networks(start, seeds):
    learner, batch = learner_of(start), batch_of(*seeds)
    expected, wanted = plain_step(start, batch)
    assert learner.step(batch, RATE) == pytest.approx(expected, rel=1e-5)
    for name, gradient in gradients(learner).items():
        assert (gradient - wanted[name]).abs().max() < 1e-4 * wanted[name].abs().max()


def test_two_steps_are_adams(start):
    learner = learner_of(start)
    state, (m, v) = start, ({}, {})
    for number, rate in ((1, RATE), (2, RATE / 4)):
        batch = batch_of(number)
        _, gradient = plain_step(state, batch)
        learner.step(batch, rate)
        after = learner.network.weights()
        for name, g in gradient.items():
            m[name] = 0.9 * m.get(name, 0) + 0.1 * g
            v[name] = 0.999 * v.get(name, 0) + 0.001 * g**2
            mean, square = m[name] / (1 - 0.9**number), v[name] / (1 - 0.999**number)
            step = -rate * mean / (square.sqrt() + 1e-8)
            if number == 1:
                torch.testing.assert_close(step, -rate * g / (g.abs() + 1e-8))
            assert_moved_by(state[name], after[name], step, g)
        for name in start.keys() - gradient.keys():
            assert torch.equal(after[name], start[name])
        state = after


def test_more_layers_learn(start):
    learner, batch = learner_of(start, finetune_layers=2), batch_of(0)
    names = (f"{PREFIX}19.weight", *CONV4_3)
    _, gradient = plain_step(start, batch, names)
    learner.step(batch, RATE)
    after = learner.network.weights()
    for name, g in gradient.items():
        assert_moved_by(start[name], after[name], -RATE * g / (g.abs() + 1e-8), g)
    assert torch.equal(after[f"{PREFIX}17.weight"], start[f"{PREFIX}17.weight"])


def test_a_batch_of_two_goes_down_their_mean(start):
    alone = []
    for seed in (3, 4):
        learner = learner_of(start)
        alone.append((learner.step(batch_of(seed), RATE), gradients(learner)))
    learner = learner_of(start)
    losses = learner.step(batch_of(3, 4), RATE)
    assert losses == pytest.approx([*alone[0][0], *alone[1][0]], rel=1e-6)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    for name, gradient in gradients(learner).items():
        mean = (alone[0][1][name] + alone[1][1][name]) / 2
        assert (gradient - mean).abs().max() < 1e-5 * mean.abs().max()
        assert (gradient - alone[0][1][name]).abs().max() > 0.1 * mean.abs().max()


def test_steps_go_down(start):
    learner, batch = learner_of(start), batch_of(5)
    losses = [learner.step(batch, 1e-4)[0] for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.99 * losses[0]


def test_nothing_is_learned_from_a_batch_without_pairs(start):
    learner = learner_of(start)
    learner.step(batch_of(0), RATE)
    before = copied(learner)
    assert learner.step(EMPTY, RATE) == []
    assert learner.evaluate(EMPTY) == []
    assert same(learner.state(), before)


@pytest.mark.parametrize("broken", [0, 1])
def test_nothing_is_learned_from_a_loss_that_is_not_finite(start, broken):
    learner, batch = learner_of(start), batch_of(0, 1)
    learner.step(batch, RATE)
    before = copied(learner)
    batch.images[2 + broken, 1, 20, 30] = torch.nan
    with pytest.raises(FloatingPointError):
        learner.step(batch, RATE)
    assert same(learner.state(), before)
    other = learner_of(start)
    other.load_state(before)
    assert learner.step(batch_of(2), RATE) == other.step(batch_of(2), RATE)
    assert same(learner.state(), copied(other))


def test_a_state_goes_on_as_if_nothing_had_happened(start):
    whole = learner_of(start, finetune_layers=2)
    whole.step(batch_of(0), RATE)
    state = copied(whole)
    expected = whole.step(batch_of(1), RATE / 2)
    other = learner_of(start, finetune_layers=2)
    assert other.step(batch_of(1), RATE / 2) != expected
    other = learner_of(start, finetune_layers=2)
    other.load_state(state)
    assert other.step(batch_of(1), RATE / 2) == expected
    assert same(copied(other), copied(whole))
    assert same(other.network.weights(), whole.network.weights())
    assert set(state["layers"]) == {"conv4_2", "conv4_3"}


def test_evaluating_learns_nothing(start):
    learner, batch, graphs = learner_of(start), batch_of(0, 1), []
    hook = learner.network.register_forward_hook(lambda *a: graphs.append(a[-1].requires_grad))
    before = copied(learner)
    losses = learner.evaluate(batch)
    assert losses == learner.evaluate(batch)
    learner.scores(batch)
    assert graphs == [False] * 3
    hook.remove()
    assert same(learner.state(), before)
    assert all(p.grad is None for p in learner.network.parameters())
    assert losses == pytest.approx(learner.step(batch, RATE), rel=1e-6)
    assert learner.evaluate(batch) != pytest.approx(losses, rel=1e-6)


def test_scores_are_those_of_the_first_pair(start):
    batch = batch_of(0, 1)
    features = plain_features({k: v.double() for k, v in start.items()}, batch.images.double())
    for found, number in zip(learner_of(start).scores(batch), (0, 2), strict=True):
        expected = plain_scores(features[number]).numpy()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_mixed_precision_is_near(start):
    batch = batch_of(0, 1)
    exact = learner_of(start).evaluate(batch)
    learner = learner_of(start, precision="bf16")
    before = copied(learner)
    mixed = learner.step(batch, RATE)
    assert mixed == pytest.approx(exact, rel=0.03)
    assert mixed != pytest.approx(exact, rel=1e-6)
    assert not same(learner.state()["layers"], before["layers"])
    assert {weight.dtype for weight in learner.network.weights().values()} == {torch.float32}


def test_half_precision_scales_its_gradients(start):
    batch = batch_of(0, size=(16, 80))  # a CPU takes long
    exact, half = learner_of(start), learner_of(start, precision="fp16")
    losses = exact.step(batch, RATE)
    assert half.step(batch, RATE) == pytest.approx(losses, rel=0.01)
    for name, gradient in gradients(half).items():
        wanted = gradients(exact)[name]
        assert F.cosine_similarity(gradient.flatten(), wanted.flatten(), dim=0) > 0.99
        # They come back to their own size before Adam, whose epsilon is one of them.
        assert gradient.norm() == pytest.approx(float(wanted.norm()), rel=0.05)
    resumed = learner_of(start, precision="fp16")
    resumed.load_state(copied(half))
    resumed.step(batch, RATE)
    half.step(batch, RATE)
    assert same(resumed.state(), half.state())


def test_gradients_beyond_half_precision_are_not_learned_from(start):
    learner, batch = learner_of(start, precision="fp16"), batch_of(0, size=(16, 80))
    state = copied(learner)
    state["scaler"]["scale"] = 2.0**100
    learner.load_state(state)
    learner.step(batch, RATE)
    after = learner.state()
    assert same(after["layers"], state["layers"])
    assert after["scaler"]["scale"] == 2.0**99
