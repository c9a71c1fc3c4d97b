"""Gaussian dropout's moments; layer normalisation against NumPy; the elastic net; that every option trains."""

import numpy as np
import pytest
import torch

import dlfound
from dlfound.nn.batchnorm import TABLE as NORMS
from dlfound.nn.dropout import TABLE as NOISES
from dlfound.objective.regularizer import TABLE as PENALTIES
from dlfound.options.configure import catalog
from dlfound.streams import stream


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_gaussian_noise_has_the_mean_and_variance_of_dropout(rate):
    gaussian, standard = (NOISES[n](input=rate, hidden=rate) for n in ("gaussian", "standard"))
    g, s = (noise.draw((2000, 100), rate, stream(0, "noise")).double() for noise in (gaussian, standard))
    n, sigma = g.numel(), np.sqrt(rate / (1 - rate))
    assert abs(g.mean() - 1) < 5 * sigma / np.sqrt(n) and abs(s.mean() - 1) < 5 * sigma / np.sqrt(n)
    assert g.std().item() == pytest.approx(sigma, rel=0.02) and s.std().item() == pytest.approx(
        sigma, rel=0.02
    )
    assert ((g - 1) ** 4).mean().item() / sigma**4 == pytest.approx(3, rel=0.05)  # normal


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


def choices():
    known = catalog()
    skipped = {"data", "logger"}
    return [(g, w) for g in known.groups if g not in skipped for w in known.words(g) if w != "auto"]


@pytest.mark.parametrize(("group", "word"), choices())
def test_every_option_trains_on_digits_or_what_its_task_needs(group, word):
    """Better than guessing after a few epochs; equal weights alone must not be."""
    data = ["data=digits"]
    if group == "loss" and word == "binary_cross_entropy":
        data = ["data=moons"]
    if group == "loss" and word in ("mse", "mae", "huber"):
        data = ["data=passfail", "data.target=grade"]
    words = [*data, f"{group}={word}", "train.epochs=25", "logger=none", "run.threads=1"]
    if group != "early_stopping":
        words.append("early_stopping=none")
    words += ["model.hidden=[64]"] * (group != "model")
    test = dlfound.train(words).report["test"]
    if (group, word) in (("initializer", "zeros"), ("initializer", "constant")):
        assert test["accuracy"] < 0.6
    else:
        assert test.get("accuracy", test.get("r2")) > 0.8, test
