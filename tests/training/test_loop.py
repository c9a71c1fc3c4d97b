"""The loop: each row once per epoch, the reported numbers, and reproducible bits."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from support.loops import CE, MSE, make, part, train

from dlfound.training.device import DeviceData
from dlfound.training.metrics import evaluate

# ---- rows and batches


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("rows", [2, 3, 8, 9, 10, 11, 13])
@pytest.mark.parametrize("batch_size", [2, 3, 4, 8, 13])
def test_an_epoch_visits_every_row_once(rows, batch_size, norm):
    """In each of three epochs, with a last batch of any size, in an order of its own."""
    batch_size = min(rows, batch_size)
    network, step = make(norm=norm)
    train(network, step, CE, part(rows), epochs=3, batch_size=batch_size)
    expected = [batch_size] * (rows // batch_size)
    if rows % batch_size:
        expected.append(rows % batch_size)
    if norm and expected[-1] == 1:  # a batch of one row has no statistics
        expected[-2:] = [batch_size + 1]
    assert [len(batch) for batch in step.seen] == 3 * expected
    n = len(expected)
    epochs = [list(itertools.chain(*step.seen[k * n : (k + 1) * n])) for k in range(3)]
    assert all(sorted(order) == list(range(rows)) for order in epochs)
    if rows > 8:
        assert len({tuple(order) for order in epochs}) == 3
        assert list(range(rows)) not in epochs


def test_a_last_batch_of_one_row_is_merged_only_with_batch_statistics():
    """With batch statistics, a single last row joins the batch before it; two last rows do not."""
    for norm, rows, sizes in (
        (False, 9, [4, 4, 1]),
        (True, 9, [4, 5]),
        (True, 10, [4, 4, 2]),
        (True, 5, [5]),
    ):
        network, step = make(norm=norm)
        train(network, step, CE, part(rows), epochs=1)
        assert [len(batch) for batch in step.seen] == sizes


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 11), (11, 1)])
def test_batches_of_one_row_and_of_all_rows(batch_size, steps):
    """SGD on single examples, and on the full batch."""
    network, step = make()
    results = train(network, step, CE, part(11), epochs=3, batch_size=batch_size)
    assert [len(batch) for batch in step.seen] == [batch_size] * 3 * steps
    assert step.t.item() == 3 * steps
    assert [epoch.number for epoch in results] == [1, 2, 3]


def test_rows_keep_their_targets():
    """Inputs and targets are shuffled together: a linear net learns the exact map."""
    rows = part(40, MSE)
    x = torch.cat([rows.inputs[:, :1] / 40, rows.inputs[:, 1:]], 1)
    y = x @ torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0], [1.0, 1.0]]) + 1
    network, step = make(MSE, hidden=(), optim="sgd", lr=0.1)
    results = train(network, step, MSE, DeviceData(x, y, y), epochs=280, batch_size=8)
    assert results[-1].train["loss"] < 1e-6
    assert results[-1].train["rmse"] < 1e-3


# ---- reported numbers


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 10])
def test_the_training_loss_is_the_mean_over_rows(batch_size, norm):
    """It is taken from the batches in training mode; the short last batch counts by its rows."""
    if norm and batch_size == 1:
        batch_size = 3
    network, step = make(norm=norm, drop=True, lr=0.2)
    results = train(network, step, CE, part(10), epochs=3, batch_size=batch_size)
    n = len(step.seen) // 3
    for k, epoch in enumerate(results):
        values = step.values[k * n : (k + 1) * n]
        sizes = [len(batch) for batch in step.seen[k * n : (k + 1) * n]]
        assert epoch.train["loss"] == pytest.approx(np.average(values, weights=sizes), rel=1e-5)
    if 10 % batch_size:
        assert abs(results[0].train["loss"] - np.mean(step.values[:n])) > 1e-4


def test_every_epoch_is_in_training_mode():
    """Also after an evaluation: dropout is applied (the losses agree with NumPy) and averages move."""
    network, step = make(hidden=(), drop=True, lr=1e-12)
    results = train(network.eval(), step, CE, part(10), epochs=3)
    w, b = (p.detach().double().numpy() for p in network.body.parameters())
    rows = part(10)
    batches = list(zip(step.seen, step.noise, strict=True))
    for k, epoch in enumerate(results):
        total = 0.0
        for batch, (mask,) in batches[3 * k : 3 * k + 3]:
            o = (rows.inputs[batch].double().numpy() * mask.double().numpy()) @ w.T + b
            total += (logsumexp(o, 1) - o[np.arange(len(batch)), rows.targets[batch].numpy()]).sum()
        assert epoch.train["loss"] == pytest.approx(total / 10, rel=1e-5)
    network, step = make(norm=True)
    train(network.eval(), step, CE, part(10), epochs=3)
    assert len({buffers for _, buffers, *_ in step.after}) == len(step.after)


def test_an_epoch_in_numpy():
    """A linear net with SGD and a short last batch: the losses and weights of three epochs."""
    network, step = make(MSE, hidden=(), optim="sgd", lr=0.01)
    rows = part(10, MSE)
    x, y = rows.inputs.double().numpy(), rows.targets.double().numpy()
    w, b = (p.detach().double().numpy().copy() for p in network.body.parameters())
    results = train(network, step, MSE, rows, epochs=3)
    batches = iter(step.seen)
    for epoch in results:
        squares = 0.0
        for batch in itertools.islice(batches, 3):
            error = x[batch] @ w.T + b - y[batch]
            squares += (error**2).sum()
            w = w - 0.01 * error.T @ x[batch] / len(batch)
            b = b - 0.01 * error.sum(0) / len(batch)
        assert epoch.train["loss"] == pytest.approx(squares / 20, rel=1e-4)
        assert epoch.train["rmse"] == pytest.approx(math.sqrt(squares / 20), rel=1e-4)
    assert np.allclose(network.body.output.weight.detach().numpy(), w, rtol=1e-4, atol=1e-5)
    assert np.allclose(network.body.output.bias.detach().numpy(), b, rtol=1e-4, atol=1e-5)


def test_validation_uses_the_weights_after_the_epoch():
    """In evaluation mode, on the validation rows, by NumPy."""
    network, step = make(hidden=(), drop=True)

    def check(epoch):
        held_out = part(5, CE, seed=9)
        o = held_out.inputs.double().numpy() @ network.body.output.weight.detach().double().numpy().T
        o += network.body.output.bias.detach().numpy()
        c = held_out.targets.numpy()
        assert epoch.val["loss"] == pytest.approx((logsumexp(o, 1) - o[np.arange(5), c]).mean(), rel=1e-5)
        assert epoch.val["accuracy"] == pytest.approx((o.argmax(1) == c).mean())

    assert len(train(network, step, CE, part(10), epochs=3, between=check)) == 3


def test_training_accuracy_is_that_of_the_batches():
    """With a rate near zero it is the accuracy of the net itself on all rows."""
    network, step = make(hidden=(), lr=1e-12)
    rows = part(11)
    (epoch,) = train(network, step, CE, rows, epochs=1)
    with torch.no_grad():
        right = (network.body(rows.inputs).argmax(1) == rows.targets).double().mean().item()
    assert 0 < right < 1
    assert epoch.train["accuracy"] == pytest.approx(right)


class Halving:
    """A decay that halves the rate after each epoch, and keeps the arguments of its calls."""

    def __init__(self):
        self.asked = []

    def rate(self, lr: float, epoch: float, share: float) -> float:
        self.asked.append((lr, epoch, share))
        return lr * 0.5**epoch


def test_each_step_has_the_rate_of_the_decay():
    """The decay gets the configured rate, the epochs done and the step's share of an epoch."""
    network, step = make(MSE, hidden=(), optim="sgd", lr=0.5)
    rows = part(11, MSE)
    decay = Halving()
    rates = []
    start = step.params.clone()
    results = train(
        network, step, MSE, rows, epochs=3, decay=decay, between=lambda epoch: rates.append(step.lr)
    )
    done = [k / 3 for k in range(9)]
    assert decay.asked == [(0.5, pytest.approx(at), pytest.approx(1 / 3)) for at in done]
    assert [epoch.lr for epoch in results] == rates == pytest.approx([0.5 * 0.5**at for at in done[2::3]])
    first = step.seen[0]
    step.params.copy_(start)
    g = step.loss_grad(step.params, step.buffers, rows.inputs[first], rows.encoded[first], []).grads
    after = torch.frombuffer(bytearray(step.after[0][0]), dtype=torch.float32)
    assert torch.allclose(after, start - 0.5 * g, rtol=1e-6)


# ---- the same bits again


def run_bits(*, norm: bool, drop: bool = True, seed: int = 0, disturb=None) -> tuple[list, list[bytes]]:
    """The batches and the final bits of a run; `disturb(network)` is called between epochs."""
    network, step = make(norm=norm, drop=drop)
    train(
        network, step, CE, part(10), epochs=3, seed=seed, between=lambda epoch: disturb and disturb(network)
    )
    return step.seen, step.after[-1]


@pytest.mark.parametrize("norm", [False, True])
def test_same_seed_same_bits(norm):
    """The seed decides weights, averages and slots; torch's global generator has no effect."""
    torch.manual_seed(1)
    first = run_bits(norm=norm, seed=3)
    torch.manual_seed(2)
    assert run_bits(norm=norm, seed=3) == first
    other = run_bits(norm=norm, seed=4)
    assert other[0] != first[0] and other[1][0] != first[1][0]


def test_the_seed_also_decides_the_noise():
    """With one batch of all rows, another seed still gives other masks."""
    first = make(drop=True)
    other = make(drop=True)
    for (network, step), seed in zip((first, other), (3, 4), strict=True):
        train(network, step, CE, part(10), epochs=2, batch_size=10, seed=seed)
    assert not torch.equal(first[1].noise[0][1], other[1].noise[0][1])


def test_noise_is_new_at_every_step():
    """No two steps of three epochs share a mask, and no two rows of a step."""
    network, step = make(drop=True, hidden=(40,))
    train(network, step, CE, part(12), epochs=3)
    masks = [n[1].numpy() for n in step.noise]
    assert len(masks) == 9 and all(mask.shape == (4, 40) for mask in masks)
    rows = [row.tobytes() for mask in masks for row in mask]
    assert len(set(rows)) == 36


def test_no_global_random_numbers_are_drawn():
    """Training and evaluation leave torch's and NumPy's global generators as they are."""
    network, step = make(norm=True, drop=True)
    np.random.seed(0)
    state_of_torch = torch.get_rng_state()
    state_of_numpy = np.random.get_state()[1].copy()
    train(network, step, CE, part(10), epochs=3)
    assert torch.equal(state_of_torch, torch.get_rng_state())
    assert np.array_equal(state_of_numpy, np.random.get_state()[1])


@pytest.mark.parametrize("norm", [False, True])
def test_evaluation_does_not_change_a_run(norm):
    """More evaluations and global random draws between the epochs give the same bits."""

    def disturb(network):
        torch.rand(7)
        evaluate(network, CE, part(50, CE, seed=5))

    assert run_bits(norm=norm, disturb=disturb) == run_bits(norm=norm)


def test_a_shorter_run_is_the_beginning_of_a_longer_one():
    """Epoch k does not depend on the number of epochs."""
    short = make(drop=True)
    long = make(drop=True)
    train(*short, CE, part(10), epochs=2)
    train(*long, CE, part(10), epochs=5)
    assert long[1].after[: len(short[1].after)] == short[1].after
