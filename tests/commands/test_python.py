"""The same thing from Python."""

import numpy as np
import pytest
import torch

import dlfound
from dlfound.config import options

QUICK = ["train.epochs=3", "early_stopping=none", "lr_decay=none", "model.hidden=[16]", "logger=none"]


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten after it."""
    from hydra.core.config_store import ConfigStore

    monkeypatch.setattr(options, "_registered", {})
    monkeypatch.setattr(ConfigStore.instance(), "repo", {**ConfigStore.instance().repo})


def blobs(rows: int = 120, classes: int = 3):
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, rows)
    return rng.standard_normal((rows, 4)) + 3 * y[:, None], y


def test_train_returns_the_run_that_the_folder_holds():
    run = dlfound.train(QUICK)
    again = dlfound.open_run(run.path)
    assert again.report == run.report
    assert torch.equal(again.model.body.output.weight, run.model.body.output.weight)


def test_arrays_train_as_classes_or_numbers():
    x, y = blobs()
    run = dlfound.train(["train.epochs=30"], data=(x, y))
    assert run.report["task"] == "multiclass" and run.report["train"]["accuracy"] > 0.9
    assert set(run.predict(x)) == {"0", "1", "2"}
    named = dlfound.train(["train.epochs=30"], data=(x, np.array(["ant", "bee", "cat"])[y]))
    assert set(named.predict(x)) == {"ant", "bee", "cat"}
    number = dlfound.train(["train.epochs=30"], data=(x, x @ [1.0, 2, 3, 4]))
    assert number.report["task"] == "regression" and number.report["test"]["r2"] > 0.9
    asked = dlfound.train(["train.epochs=5", "data.task=regression"], data=(x, y))
    assert asked.report["task"] == "regression"
    two = dlfound.train(["train.epochs=5"], data=(x, y > 0))
    assert two.report["task"] == "binary" and two.schema["classes"] == ["False", "True"]
    several = dlfound.train(["train.epochs=5"], data=(x, x[:, :2] + 0.5))
    assert several.predict(x).shape == (120, 2)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([1.0, 2.0], [1, 2], "shape"),
        ([[1.0], [2.0]], [1], "rows"),
        ([[np.nan]] * 4, [0, 1, 0, 1], "missing or infinite"),
        ([["a"]] * 4, [0, 1, 0, 1], "not numbers"),
        ([[1.0]] * 4, [1, 1, 1, 1], "single class"),
        ([[1.0], [2.0]], [0, 1], "2 rows"),
    ],
)
def test_bad_arrays_are_told(x, y, words):
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train(QUICK, data=(np.array(x), np.array(y)))
    problem = caught.value.problems[0]
    assert caught.value.code == 3 and words in problem.what + problem.fix


def test_failures_carry_the_exit_code():
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train(["optim=sdg", "model.hiden=[3]"])
    assert caught.value.code == 2 and len(caught.value.problems) == 2
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train([*QUICK, "optim=sgd", "optim.lr=1e6"])
    assert caught.value.code == 5
    with pytest.raises(dlfound.Error) as caught:
        dlfound.open_run("nowhere")
    assert caught.value.code == 4


def test_training_is_silent_and_gives_the_thread_count_back(capfd):
    before = torch.get_num_threads()
    dlfound.train([*QUICK, "run.threads=2"])
    assert torch.get_num_threads() == before
    assert capfd.readouterr() == ("", "")


def test_training_leaves_the_global_generators_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    dlfound.train([*QUICK, "dropout=standard"])
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_a_registered_activation_is_an_option_like_any_other(registry):
    class Cube(torch.nn.Module):
        def __init__(self, scale: float):
            super().__init__()
            self.scale = scale

        def forward(self, a):
            return self.scale * a**3

    dlfound.register("activation", "cube", Cube, scale=0.1)
    run = dlfound.train([*QUICK, "activation=cube", "activation.scale=0.2"])
    assert run.config["activation"] == {"name": "cube", "scale": 0.2}
    assert run.predict(np.zeros((1, 64))).shape == (1,)
    with pytest.raises(dlfound.Error):
        dlfound.train([*QUICK, "activation=cube", "activation.scael=0.2"])


def test_a_registered_optimizer_without_a_kernel_trains(registry):
    class SignSGD:
        slots = ()

        def __init__(self, *, lr):
            self.lr = lr

        def rule(self, w, g, slots, t):
            return w - self.lr * g.sign(), ()

    dlfound.register("optim", "sign", SignSGD, lr=0.001)
    run = dlfound.train(["optim=sign", "train.epochs=20"])
    assert run.report["test"]["accuracy"] > 0.9
