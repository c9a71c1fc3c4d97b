"""Looks at the layers during a training: updates, copies, and no side effects."""

import math

import numpy as np
import pytest
import torch
from support.looks import LOSSES, OPTIMIZERS, by_torch, make, make_part

from dlfound.nn.modules import Network
from dlfound.optim.schedules import DECAYS
from dlfound.streams import stream
from dlfound.training.layers import LayerProbe
from dlfound.training.loop import fit
from dlfound.training.step import Step

# ---- from one look to the next


@pytest.mark.parametrize("optim", ["sgd", "adam"])
def test_update_ratio(optim):
    """The change of W by the last step over W before it, layer by layer."""
    network, step = make(optim=optim)
    rows = make_part(30)
    probe = LayerProbe(network, step, rows)
    assert [state.update_ratio for state in probe.look()[1]] == [None] * 3
    before = step.params.clone()
    old = [layer.weight.detach().numpy().copy() for layer in probe.body.layers().values()]
    step(rows.inputs, rows.encoded, ())
    for state, w in zip(probe.look(before)[1], old, strict=True):
        change = state.weights.numpy() - w
        assert state.update_ratio == pytest.approx(np.linalg.norm(change) / np.linalg.norm(w), rel=1e-10)
        assert state.update_ratio > 1e-3


def test_the_update_ratio_of_zero_weights_is_none():
    """W was zero before the step; it may be zero after it too."""
    network, step = make()
    rows = make_part(30)
    with torch.no_grad():
        network.body.output.weight.zero_()
        network.body.hidden[1].linear.weight.zero_()
    before = step.params.clone()
    step(rows.inputs, rows.encoded, ())
    first, second, output = (state.update_ratio for state in LayerProbe(network, step, rows).look(before)[1])
    assert (first, second) == (0.0, None)  # zeros pass no gradient
    assert output is None


def test_an_epochs_gradient_and_the_parameters_before_its_last_step():
    """By torch alone, over two epochs: the mean norm of the gradients, and the length of the last step."""
    network, step = make(of="mse", optim="sgd")
    rows = make_part(20, "mse")
    norms: list[list[float]] = [[]]
    loss_grad = step.loss_grad

    def with_norm(params, buffers, x, y, noise):
        _, layers = by_torch(network.body, x, y, "mse")
        grads = [p.grad.numpy() for layer in layers for p in layer["linear"].parameters()]
        norms[-1].append(math.sqrt(sum((g**2).sum() for g in grads)))
        return loss_grad(params, buffers, x, y, noise)

    step.loss_grad = with_norm
    decay, parts = DECAYS["none"](2), (rows, rows)
    for epoch in fit(network, step, LOSSES["mse"], decay, *parts, epochs=2, batch_size=8, seed=0):
        assert len(norms[-1]) == 3
        assert epoch.grad_norm == pytest.approx(np.mean(norms[-1]), rel=1e-10)
        length = torch.linalg.vector_norm(step.params - epoch.before).item()
        assert length == pytest.approx(0.1 * norms[-1][-1], rel=1e-10)
        norms.append([])


# ---- copies


def copies(network: Network, step: Step) -> list[bool]:
    return [state.copies for state in LayerProbe(network, step, make_part(30)).look()[1]]


def test_copies_have_equal_weights_on_both_sides():
    """Equal incoming or equal outgoing weights alone are not enough; the output layer never has copies."""
    network, step = make()
    first, second, output = (
        m.weight.data for m in (*(h.linear for h in network.body.hidden), network.body.output)
    )
    assert copies(network, step) == [False, False, False]
    first.copy_(first[:1].expand(6, -1))
    assert copies(network, step) == [False, False, False]
    second.copy_(second[:, :1].expand(-1, 6))
    assert copies(network, step) == [True, False, False]
    second.copy_(second[:1].expand(5, -1))
    assert copies(network, step) == [True, False, False]
    output.copy_(output[:, :1].expand(-1, 5))
    assert copies(network, step) == [True, True, False]
    first[3, 2] += 1e-9
    assert copies(network, step) == [False, True, False]


@pytest.mark.parametrize("value", [0.0, 0.1])
@pytest.mark.parametrize("g", ["tanh", "relu"])
def test_copies_stay_copies(g, value):
    """Units with equal weights are still copies after twenty steps."""
    network, step = make(g, optim="adam")
    rows = make_part(30)
    with torch.no_grad():
        for parameter in network.body.parameters():
            parameter.fill_(value if parameter.ndim == 2 else 0)
    for _ in range(20):
        step(rows.inputs, rows.encoded, ())
    assert copies(network, step) == [True, True, False]


def test_single_units_are_no_copies():
    """A perceptron of zeros learns."""
    for hidden in ((), (1,), (1, 1)):
        network, step = make(hidden=hidden)
        with torch.no_grad():
            step.params.zero_()
        assert not any(copies(network, step))


# ---- side effects


def bits(network: Network, step: Step) -> list:
    """Everything that a look could change."""
    vectors = [v.numpy().tobytes() for v in (step.params, step.buffers, step.t, step.skip, *step.slots)]
    modes = [module.training for module in network.modules()]
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules()
    ]
    flags = [(p.requires_grad, p.grad, p.data_ptr()) for p in network.parameters()]
    return [vectors, modes, hooks, flags, torch.get_rng_state().tolist(), torch.is_grad_enabled()]


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_a_look_changes_nothing(optim, mode):
    """Vectors, modes, hooks and random numbers stay as they are, whether the look succeeds or fails."""
    network, step = make(norm=True, drop=True, optim=optim)
    rows = make_part(30)
    probe = LayerProbe(network, step, rows)
    step(rows.inputs, rows.encoded, network.body.noise(30, stream(4, "dropout")))
    network.train(mode)
    before = bits(network, step)
    probe.look(step.params.clone())
    assert bits(network, step) == before
    probe.x = probe.x[:, 1:]
    with pytest.raises(RuntimeError, match="shapes"):
        probe.look()
    assert bits(network, step) == before


@pytest.mark.parametrize("optim", OPTIMIZERS)
@pytest.mark.parametrize("of", ["cross_entropy", "mse"])
def test_looks_do_not_change_a_training(optim, of):
    """Training with three looks per epoch gives the same bits and numbers as without."""
    results = []
    for looks in (0, 3):
        network, step = make(of=of, norm=True, drop=True, penalty=True, optim=optim, dtype=torch.float32)
        rows = make_part(60, of, torch.float32)
        probe, recorded = LayerProbe(network, step, rows), []
        for _ in range(looks):
            probe.look()
        size = 60 if optim == "lbfgs" else 16
        loop = fit(
            network, step, LOSSES[of], DECAYS["none"](4), rows, rows, epochs=4, batch_size=size, seed=0
        )
        for epoch in loop:
            recorded.append((epoch.train, epoch.val, epoch.grad_norm, epoch.before.numpy().tobytes()))
            for _ in range(looks):
                probe.look(epoch.before)
        results.append((recorded, [v.numpy().tobytes() for v in (step.params, step.buffers, *step.slots)]))
    assert results[0] == results[1]
