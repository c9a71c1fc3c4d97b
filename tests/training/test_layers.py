"""A look into a net: its numbers against torch.nn and NumPy, flat ends by formula, no side effects."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import nn

from dlfound.nn import activation, batchnorm, dropout, initializer
from dlfound.nn.modules import Dropout, Maxout, Network, build_mlp
from dlfound.nn.preprocessing import Standardise, empty
from dlfound.objective import loss, regularizer
from dlfound.optim.lr_decay import TABLE as DECAYS
from dlfound.optim.optimizers import TABLE
from dlfound.streams import stream
from dlfound.training.device import Part
from dlfound.training.layers import SAMPLE_ROWS, Probe, flat_ends
from dlfound.training.loop import fit
from dlfound.training.metrics import evaluate
from dlfound.training.step import Step

INPUTS = 4
STRENGTH = 0.03
LOSSES = {
    "cross_entropy": loss.TABLE["cross_entropy"]((), label_smoothing=0.0, class_weight="none"),
    "binary_cross_entropy": loss.TABLE["binary_cross_entropy"]((), label_smoothing=0.0, class_weight="none"),
    "mse": loss.TABLE["mse"](),
}
OUTPUTS = {"cross_entropy": 3, "binary_cross_entropy": 1, "mse": 2}
PLAIN_LOSSES = {
    "cross_entropy": nn.functional.cross_entropy,
    "binary_cross_entropy": nn.functional.binary_cross_entropy_with_logits,
    "mse": nn.functional.mse_loss,
}
OPTIMIZERS = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.05, "momentum": 0.9},
    "adam": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8},
    "lbfgs": {"lr": 1.0, "history": 5, "line_search": "armijo"},
}


def make_part(rows: int, of: str = "cross_entropy", dtype=torch.float64) -> Part:
    x = torch.randn(rows, INPUTS, generator=stream(1, "x"), dtype=torch.float64).to(dtype)
    columns = OUTPUTS[of]
    if of == "mse":
        y = torch.randn(rows, columns, generator=stream(2, "y"), dtype=torch.float64).to(dtype)
        return Part(x, y, y)
    c = torch.randint(0, max(2, columns), (rows,), generator=stream(2, "y"))
    return Part(x, c if of == "cross_entropy" else c[:, None].to(dtype), c)


def normalise(width):
    return batchnorm.batch(width, momentum=0.1, eps=1e-5, statistics="exact")


def option(g):
    """An activation by its name, or the given factory."""
    return partial(activation.TABLE[g], **({"alpha": 1.0} if g == "elu" else {})) if isinstance(g, str) else g


def make(
    g="tanh", *, of="cross_entropy", hidden=(6, 5), norm=False, drop=False, penalty=False, std=0.8,
    optim="sgd", dtype=torch.float64,
) -> tuple[Network, Step]:  # fmt: skip
    """A net and a step, with biases, gains, shifts and moving averages away from their initial values."""
    body = build_mlp(
        INPUTS, OUTPUTS[of], list(hidden), activation=option(g),
        initialize=lambda w, generator: initializer.normal(w, generator, std=std),
        norm=normalise if norm else batchnorm.none,
        noise=dropout.standard(input=0.2, hidden=0.5) if drop else None, generator=stream(0, "test"),
    ).to(dtype)  # fmt: skip
    with torch.no_grad():
        for i, t in enumerate([*body.parameters(), *body.buffers()]):
            if t.ndim == 1:
                t += torch.rand(t.shape, generator=stream(i, "shift"), dtype=torch.float64).to(dtype) / 3
    omega = (lambda weights: regularizer.l2(weights, strength=STRENGTH)) if penalty else regularizer.none
    step = Step(body, LOSSES[of], omega, None, TABLE[optim](**OPTIMIZERS[optim]))
    target = empty(OUTPUTS[of], image=True) if of == "mse" else None
    return Network(empty(INPUTS, image=True), body, target), step


def by_torch(
    body, x: torch.Tensor, y: torch.Tensor, of: str, penalty: bool = False
) -> tuple[float, list[dict]]:
    """The loss and the tensors of each layer by torch.nn.Linear, BatchNorm1d and `backward`."""
    h, layers = x, []
    for layer in [*body.hidden, None]:
        own = body.output if layer is None else layer.linear
        linear = nn.Linear(own.in_features, own.out_features, own.bias is not None, dtype=x.dtype)
        linear.load_state_dict(own.state_dict())
        a = linear(h)
        if layer is not None and layer.norm is not None:
            normalised = nn.BatchNorm1d(a.shape[1], eps=1e-5, dtype=x.dtype).train()
            normalised.load_state_dict(
                {"weight": layer.norm.gain.detach(), "bias": layer.norm.shift.detach()}, strict=False
            )
            a = normalised(a)
        a.retain_grad()
        h = a if layer is None else layer.activation(a)
        layers.append({"linear": linear, "a": a, "h": h})
    value = PLAIN_LOSSES[of](h, y)
    omega = STRENGTH * sum((layer["linear"].weight ** 2).sum() for layer in layers) if penalty else 0.0
    (value + omega).backward()
    return value.item(), layers


# ---- numbers


@pytest.mark.parametrize("g", ["tanh", "relu", "sigmoid", "elu", "identity"])
@pytest.mark.parametrize(
    ("of", "penalty"), [("cross_entropy", False), ("binary_cross_entropy", True), ("mse", True)]
)
@pytest.mark.parametrize("norm", [False, True])
def test_a_look_against_torch_nn(g, of, penalty, norm):
    """Every number of every layer, with and without batch statistics."""
    network, step = make(g, of=of, penalty=penalty, norm=norm)
    rows = make_part(40, of)
    value, states = Probe(network, step, rows).look()
    expected, layers = by_torch(network.body, rows.inputs, rows.encoded, of, penalty)
    assert value == pytest.approx(expected, rel=1e-12)
    assert [state.name for state in states] == ["layer1", "layer2", "output"]
    for state, layer in zip(states, layers, strict=True):
        gradient, h = layer["linear"].weight.grad, layer["h"].detach().numpy()
        assert torch.equal(state.weights, layer["linear"].weight)
        assert np.allclose(state.gradient, gradient, rtol=1e-10, atol=1e-14)
        assert state.grad_norm == pytest.approx(math.sqrt((gradient.numpy() ** 2).sum()), rel=1e-10)
        assert np.allclose(state.activations, h, rtol=1e-12, atol=1e-14)
        assert state.backprop == pytest.approx(
            40 * math.sqrt((layer["a"].grad.numpy() ** 2).mean()), rel=1e-10
        )
        assert (state.zero, state.dead) == pytest.approx(((h == 0).mean(), (h == 0).all(0).mean()), rel=1e-6)
    assert (states[0].zero > 0.1) == (g == "relu")


def test_backprop_by_central_differences():
    """Moving a bias for one row alone gives the gradient of the mean loss by a pre-activation."""
    network, step = make(hidden=(3,))
    rows = make_part(5)
    w, b = (
        t.detach().numpy() for t in (network.body.hidden[0].linear.weight, network.body.hidden[0].linear.bias)
    )
    v, c = (t.detach().numpy() for t in (network.body.output.weight, network.body.output.bias))
    x, y = rows.inputs.numpy(), rows.encoded.numpy()

    def mean_loss(moved: np.ndarray) -> float:
        o = np.tanh(x @ w.T + b + moved) @ v.T + c
        return float((np.log(np.exp(o).sum(1)) - o[np.arange(5), y]).mean())

    slopes = [(mean_loss(1e-5 * e) - mean_loss(-1e-5 * e)) / 2e-5 for e in np.eye(15).reshape(15, 5, 3)]
    (_, (state, _)) = Probe(network, step, rows).look()
    assert state.backprop == pytest.approx(5 * math.sqrt(np.mean(np.square(slopes))), rel=1e-7)


def test_backprop_does_not_depend_on_the_number_of_rows():
    """If each row occurs twice, each gets half of the gradient, and the number stays."""
    network, step = make()
    rows = make_part(20)
    twice = Part(*(torch.cat([t, t]) for t in rows))
    once, again = (Probe(network, step, part).look()[1] for part in (rows, twice))
    for first, second in zip(once, again, strict=True):
        assert first.backprop == pytest.approx(second.backprop, rel=1e-12)


def fill(network: Network, *values) -> None:
    """Set weights and biases, in the order of the net's parameters."""
    with torch.no_grad():
        for parameter, value in zip(network.body.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))


def look_at_small_net(g: str, weights, x) -> list:
    """The look at a net of one input, two units, and three outputs without effect."""
    body = build_mlp(
        1, 3, [2], activation=option(g), initialize=lambda w, _: w.zero_(), norm=lambda _: None, noise=None,
        generator=stream(0, "test"),
    )  # fmt: skip
    network = Network(empty(1, image=True), body, None)
    fill(network, *weights, [[1.0, 2.0], [0.5, 0.0], [0.0, 1.0]], [0.1, 0.2, 0.3])
    step = Step(body, LOSSES["cross_entropy"], regularizer.none, None, TABLE["sgd"](lr=0.1))
    x = torch.tensor(x)[:, None]
    return Probe(network, step, Part(x, torch.zeros(len(x), dtype=torch.long), x)).look()[1]


@pytest.mark.parametrize(
    ("biases", "zero", "dead"),
    [([0.0, 0.0], 4 / 8, 0.0), ([0.0, -9.0], 6 / 8, 0.5), ([-9.0, -9.0], 1.0, 1.0), ([9.0, 9.0], 0.0, 0.0)],
)
def test_zero_and_dead_by_counting(biases, zero, dead):
    """Two rectified units of opposite sign on four rows."""
    layer, output = look_at_small_net("relu", ([[1.0], [-1.0]], biases), [-2.0, -1.0, 1.0, 2.0])
    assert (layer.zero, layer.dead, layer.saturated) == (zero, dead, None)
    assert (output.zero, output.dead, output.saturated) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    ("g", "share"),
    [("tanh", 4 / 10), ("sigmoid", 1 / 10), ("softsign", 2 / 10), ("elu", 1 / 10), ("relu", None)],
)
def test_saturated_by_counting(g, share):
    """Pre-activations -6 -1 0 2.5 4 in one unit, and two fifths of that in the other."""
    layer, output = look_at_small_net(g, ([[1.0], [0.4]], [0.0, 0.0]), [-6.0, -1.0, 0.0, 2.5, 4.0])
    assert layer.saturated == (None if share is None else pytest.approx(share)) and output.saturated is None


def test_the_saturated_share_is_that_beyond_the_exact_ends():
    """For many pre-activations, the share lies between those beyond the grid's end and the exact end."""
    network, step = make("tanh", std=2.0)
    rows = make_part(200)
    a = [
        layer["a"].detach().numpy()
        for layer in by_torch(network.body, rows.inputs, rows.encoded, "cross_entropy")[1]
    ]
    for state, pre in zip(Probe(network, step, rows).look()[1][:-1], a, strict=False):
        certain, possible = (np.abs(pre) > 2.2001).mean(), (np.abs(pre) > np.arccosh(np.sqrt(20))).mean()
        assert certain - 1e-6 <= state.saturated <= possible + 1e-6
        assert 0.3 < state.saturated < 0.9


# ---- flat ends

CPU = torch.device("cpu")


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def silu_end() -> float:
    """Where silu's slope, coming from far below, first reaches a twentieth of its steepest slope."""

    def slope(a: float) -> float:
        s = 1 / (1 + math.exp(-a))
        return abs(s + a * s * (1 - s))

    steepest = max(slope(a) for a in np.linspace(0, 20, 20_001))
    return brentq(lambda a: slope(a) - 0.05 * steepest, -20, -3)


ENDS = {
    "tanh": (nn.Tanh(), -math.acosh(math.sqrt(20)), math.acosh(math.sqrt(20))),
    "sigmoid": (nn.Sigmoid(), logit((1 - math.sqrt(0.95)) / 2), logit((1 + math.sqrt(0.95)) / 2)),
    "softsign": (nn.Softsign(), 1 - math.sqrt(20), math.sqrt(20) - 1),
    "elu": (nn.ELU(1.0), math.log(0.05), math.inf),
    "elu 0.1": (nn.ELU(0.1), math.log(0.5), math.inf),
    "elu 3": (nn.ELU(3.0), math.log(0.05), math.inf),
    "selu": (nn.SELU(), math.log(0.05), math.inf),
    "softplus": (nn.Softplus(), logit(0.05), math.inf),
    "silu": (nn.SiLU(), silu_end(), math.inf),
    "relu6": (nn.ReLU6(), -math.inf, 6.0),
    "hardtanh": (nn.Hardtanh(), -1.0, 1.0),
}


@pytest.mark.parametrize("width", [1, 7])
@pytest.mark.parametrize("name", ENDS)
def test_the_ends_are_where_the_slope_is_a_twentieth(name, width):
    """They are never too near to zero, and at most 0.1 too far, which is a step of the grid."""
    g, low, high = ENDS[name]
    found = flat_ends(g, width, CPU)
    assert found == pytest.approx((low, high), abs=0.11)
    assert found[0] <= low + 1e-5 and found[1] >= high - 1e-5


class WithBuffer(nn.Tanh):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))


class Cube(nn.Module):
    def forward(self, a):
        return a**3


class Sine(nn.Module):
    def forward(self, a):
        return a.sin()


NO_ENDS = {
    "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.01), "flat leaky_relu": nn.LeakyReLU(0.001),
    "identity": nn.Identity(), "maxout": Maxout(2), "parameters": nn.PReLU(), "buffers": WithBuffer(),
    "across units": nn.Softmax(1), "steep at the ends": Cube(), "waves": Sine(), "halves": nn.GLU(1),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ENDS)
def test_activations_without_flat_ends(name):
    assert flat_ends(NO_ENDS[name], 4, CPU) is None


# ---- from one look to the next


@pytest.mark.parametrize("optim", ["sgd", "adam"])
def test_update_ratio(optim):
    """The change of W by the last step over W before it, layer by layer."""
    network, step = make(optim=optim)
    rows = make_part(30)
    probe = Probe(network, step, rows)
    assert [state.update_ratio for state in probe.look()[1]] == [None] * 3
    before = step.params.clone()
    old = [layer.weight.detach().numpy().copy() for layer in probe.linear]
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
    first, second, output = (state.update_ratio for state in Probe(network, step, rows).look(before)[1])
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
    return [state.copies for state in Probe(network, step, make_part(30)).look()[1]]


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


# ---- the sample


def test_the_sample_is_the_first_rows():
    for rows in (1, 7, SAMPLE_ROWS, SAMPLE_ROWS + 50):
        network, step = make()
        part = make_part(rows)
        value, states = Probe(network, step, part).look()
        count = min(rows, 256)
        assert [len(state.activations) for state in states] == [count] * 3
        expected, layers = by_torch(network.body, part.inputs[:count], part.encoded[:count], "cross_entropy")
        assert value == pytest.approx(expected, rel=1e-12)
        assert states[0].backprop == pytest.approx(
            count * math.sqrt((layers[0]["a"].grad ** 2).mean()), rel=1e-10
        )


@pytest.mark.parametrize("of", LOSSES)
def test_dropout_is_off(of):
    """At the input and in the layers: the loss is that of an evaluation."""
    network, step = make(of=of, drop=True, dtype=torch.float32)
    rows = make_part(50, of, torch.float32)
    assert sum(isinstance(module, Dropout) for module in network.modules()) == 3
    value, states = Probe(network, step, rows).look()
    assert value == evaluate(network, LOSSES[of], rows)["loss"]
    assert np.allclose(states[-1].activations, network.body(rows.inputs).detach(), atol=1e-6)


def test_pixels_are_normalised():
    """Bytes are normalised as for the net."""
    network, step = make(dtype=torch.float32)
    network.preprocessing = Standardise(torch.full((INPUTS,), 100.0), torch.full((INPUTS,), 50.0))
    pixels = torch.randint(0, 256, (30, INPUTS), generator=stream(3, "x"), dtype=torch.uint8)
    _, states = Probe(network, step, Part(pixels, make_part(30).encoded, pixels)).look()
    first = network.body.hidden[0].linear
    a = ((pixels.numpy() - 100.0) / 50) @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    assert np.allclose(states[0].activations, np.tanh(a), atol=1e-5)


def test_maxout_and_activations_with_parameters():
    """Activations belong to units, backprop to pieces; parameters of the activation are left out."""
    network, step = make(lambda: Maxout(3))
    rows = make_part(25)
    _, states = Probe(network, step, rows).look()
    _, layers = by_torch(network.body, rows.inputs, rows.encoded, "cross_entropy")
    assert states[0].activations.shape == (25, 6) and states[0].weights.shape == (18, INPUTS)
    assert states[0].backprop == pytest.approx(25 * math.sqrt((layers[0]["a"].grad ** 2).mean()), rel=1e-10)
    network, step = make(lambda: nn.PReLU(dtype=torch.float64))
    _, states = Probe(network, step, rows).look()
    _, layers = by_torch(network.body, rows.inputs, rows.encoded, "cross_entropy")
    assert [state.saturated for state in states] == [None] * 3
    assert np.allclose(states[1].gradient, layers[1]["linear"].weight.grad, rtol=1e-10, atol=1e-14)


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
    probe = Probe(network, step, rows)
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
        probe, found = Probe(network, step, rows), []
        for _ in range(looks):
            probe.look()
        size = 60 if optim == "lbfgs" else 16
        loop = fit(
            network, step, LOSSES[of], DECAYS["none"](4), rows, rows, epochs=4, batch_size=size, seed=0
        )
        for epoch in loop:
            found.append((epoch.train, epoch.val, epoch.grad_norm, epoch.before.numpy().tobytes()))
            for _ in range(looks):
                probe.look(epoch.before)
        results.append((found, [v.numpy().tobytes() for v in (step.params, step.buffers, *step.slots)]))
    assert results[0] == results[1]
