"""The gradient check against derivatives known by hand, at kinks, and for what a configuration can choose."""

import pytest
import torch

import dlfound
from dlfound.checks.context import CheckContext, parameter_names
from dlfound.checks.gradients import TOLERANCE, relative_error
from dlfound.options.configure import configure
from dlfound.runs.train import load_data
from dlfound.training.assemble import resolve

QUICK = ["data=moons", "data.rows=120", "run.threads=1"]
ONE = torch.tensor([1.0], dtype=torch.float64)


def at(x):
    return torch.tensor([x], dtype=torch.float64)


def relu(factor=1.0):
    return lambda a: (a.clamp(min=0).sum(), factor * (a > 0).double())


@pytest.mark.parametrize("x", [-3.0, 0.02, 1.0, 40.0])
def test_a_correct_gradient_has_a_small_error(x):
    def smooth(a):
        return (a**3 - 2 * a).sum(), 3 * a**2 - 2

    assert relative_error(smooth, at(x), ONE) < 1e-6
    assert relative_error(relu(), at(x), ONE) < 1e-6


@pytest.mark.parametrize("factor", [1.001, 2.0, 0.0, -1.0])
def test_the_error_of_a_wrong_gradient_is_its_factor(factor):
    def cubed(a):
        return (a**3).sum(), factor * 3 * a**2

    error = relative_error(cubed, at(2.0), ONE)
    assert error == pytest.approx(abs(1 - factor) / max(1, abs(factor)), rel=1e-3) and error > TOLERANCE
    assert relative_error(relu(factor), at(2.0), ONE) > TOLERANCE


@pytest.mark.parametrize("x", [0.0, 3e-7, -3e-7])
def test_a_kink_is_distinguished_from_a_wrong_gradient(x):
    error = relative_error(relu(), at(x), ONE)
    assert error is None or error < TOLERANCE, "a correct gradient at a kink"
    wrong = relative_error(relu(-1.0), at(x), ONE)
    assert wrong > TOLERANCE if x >= 0 else wrong == 0, "a wrong gradient"


def test_rounding_of_a_large_value_is_no_error():
    def steep(a):
        return 1e9 + (a * 1e-2).sum(), torch.full_like(a, 1e-2)

    assert relative_error(steep, at(1.0), ONE) < TOLERANCE


def check(*words):
    return dlfound.check([*QUICK, *words], only=["gradients"]).checks["gradients"]


@pytest.mark.parametrize(
    "words",
    [
        "batchnorm=batch dropout=standard dropout.input=0.2 regularizer=l2 activation=tanh",
        "batchnorm=layer dropout=gaussian regularizer=l1 activation=gelu",
        "activation=maxout loss=hinge",
        "loss=cross_entropy loss.label_smoothing=0.1 loss.class_weight=balanced",
        "initializer=zeros", "initializer=constant", "model=perceptron", "optim=lbfgs", "activation=selu",
        "data=sine loss=huber regularizer=l1_l2", "data=sine loss=mae",
    ],
)  # fmt: skip
def test_the_gradient_of_each_option_is_correct(words):
    result = check(*words.split())
    assert result.verdict == "pass" and result.findings[0].number < 1e-5, result
    assert result.numbers["points"] >= 15
    assert result.numbers["kinks"] <= result.numbers["points"] / 4


def test_parameter_names_are_unique_and_readable():
    config = configure([*QUICK, "batchnorm=batch"])
    data = load_data(config)
    context = CheckContext(resolve(config, data.task)[0], data, torch.device("cpu"))
    names = parameter_names(context.base)
    assert {"layer1.weight", "layer2.weight", "output.bias"} <= set(names) and len(names) == len(set(names))
    assert len(names) == len(list(context.base.network.named_parameters()))
