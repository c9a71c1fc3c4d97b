"""Gaussian dropout, layer normalisation and the elastic net against NumPy; every option trains a net."""

import numpy as np
import pytest
import torch

import dlfound
from dlfound.nn.batchnorm import TABLE as NORMS
from dlfound.nn.dropout import TABLE as NOISES
from dlfound.objective.regularization import REGULARIZERS as PENALTIES
from dlfound.options.configure import catalog
from dlfound.streams import stream


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_gaussian_noise_has_the_mean_and_variance_of_dropout(rate):
    sigma = np.sqrt(rate / (1 - rate))
    for name in ("gaussian", "standard"):
        noise = NOISES[name](input=rate, hidden=rate)
        factors = noise.draw((2000, 100), rate, stream(0, "noise")).double()
        assert abs(factors.mean() - 1) < 5 * sigma / np.sqrt(factors.numel())
        assert factors.std().item() == pytest.approx(sigma, rel=0.02)
        if name == "gaussian":
            fourth_moment = ((factors - 1) ** 4).mean().item()
            assert fourth_moment / sigma**4 == pytest.approx(3, rel=0.05)  # of a normal distribution


def test_layer_normalisation_is_row_by_row():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((6, 9)) * 5 + 2
    module = NORMS["layer"](9, eps=0.01).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(rng.standard_normal(9)))
        module.bias.copy_(torch.tensor(rng.standard_normal(9)))
    expected = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 0.01)
    expected = expected * module.weight.detach().numpy() + module.bias.detach().numpy()
    for mode in (True, False):
        np.testing.assert_allclose(module.train(mode)(torch.tensor(a)).detach().numpy(), expected, rtol=1e-9)


def test_elastic_net():
    rng = np.random.default_rng(0)
    ws = [rng.standard_normal((3, 4)), rng.standard_normal((2, 3))]
    value = PENALTIES["l1_l2"]([torch.tensor(w) for w in ws], l1=0.3, l2=0.7).item()
    assert value == pytest.approx(sum(0.3 * np.abs(w).sum() + 0.7 * (w**2).sum() for w in ws))


# ---- every option

SKIPPED = ("data", "logger")
FITTING = {
    "loss=binary_cross_entropy": ["data=moons"],
    "loss=mse": ["data=passfail", "data.target=grade"],
    "loss=mae": ["data=passfail", "data.target=grade"],
    "loss=huber": ["data=passfail", "data.target=grade"],
    "lr_decay=one_cycle": ["data=digits", "lr_decay.warmup=2", "lr_decay.max_lr=0.02"],
}


FAST = ["train.epochs=5", "optim.lr=0.01"]


def options_by_group():
    all_options = catalog()
    return {
        group: [word for word in all_options.words(group) if word != "auto"]
        for group in all_options.groups
        if group not in SKIPPED
    }


@pytest.mark.parametrize("group", options_by_group())
def test_every_option_trains(group):
    """The net is much better than guessing after a few epochs; with equal weights it must not be."""
    for word in options_by_group()[group]:
        option = f"{group}={word}"
        overrides = [*FITTING.get(option, ["data=digits"]), option, "logger=none", "run.threads=1"]
        overrides += ["train.epochs=15"] if group == "optim" else FAST
        if group != "early_stopping":
            overrides.append("early_stopping=none")
        if group != "model":
            overrides.append("model.hidden=[64]")
        test = dlfound.train(overrides).report["test"]
        if option in ("initializer=zeros", "initializer=constant"):
            assert test["accuracy"] < 0.6, option
        else:
            assert test.get("accuracy", test.get("r2")) > 0.8, (option, test)
