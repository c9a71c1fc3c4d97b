"""Training, opening runs and registering options from Python."""

import numpy as np
import pytest
import torch
from support.trained import DIGITS, MOONS, SHORT

import dlfound
from dlfound.cli import main

QUICK = [*DIGITS, "train.batch_size=64", "logger=none"]


def blobs(rows: int = 120, classes: int = 3):
    """Return rows of 4 numbers around a centre for each class, and the classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, rows)
    return rng.standard_normal((rows, 4)) + 3 * y[:, None], y


def test_train_returns_the_run_in_the_folder():
    run = dlfound.train(MOONS)
    again = dlfound.open_run(run.path)
    assert again.report == run.report
    assert torch.equal(again.model.body.output.weight, run.model.body.output.weight)


def test_the_type_of_the_targets_decides_the_task():
    words = ["early_stopping=none", "lr_decay=none", "model.hidden=[16]", "optim.lr=0.03", "logger=none"]
    long = [*words, "train.epochs=30"]
    short = [*words, "train.epochs=2"]
    x, y = blobs()
    run = dlfound.train(long, data=(x, y))
    assert run.report["task"] == "multiclass" and run.report["train"]["accuracy"] > 0.9
    assert set(run.predict(x)) == {"0", "1", "2"}
    named = dlfound.train(long, data=(x, np.array(["ant", "bee", "cat"])[y]))
    assert set(named.predict(x)) == {"ant", "bee", "cat"}
    number = dlfound.train(long, data=(x, x @ [1.0, 2, 3, 4]))
    assert number.report["task"] == "regression" and number.report["test"]["r2"] > 0.9
    asked = dlfound.train([*short, "data.task=regression"], data=(x, y))
    assert asked.report["task"] == "regression"
    two = dlfound.train(short, data=(x, y > 0))
    assert two.report["task"] == "binary" and two.schema["classes"] == ["False", "True"]
    several = dlfound.train(short, data=(x, x[:, :2] + 0.5))
    assert several.predict(x).shape == (120, 2)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([1.0, 2.0], [1, 2], "shape"),
        ([[1.0], [2.0]], [1], "rows"),
        ([[np.nan]] * 4, [0, 1, 0, 1], "missing, infinite"),
        ([["a"]] * 4, [0, 1, 0, 1], "not numbers"),
        ([[1.0]] * 4, [1, 1, 1, 1], "single class"),
        ([[1.0], [2.0]], [0, 1], "2 rows"),
    ],
)
def test_unusable_arrays_are_refused_with_the_reason(x, y, words):
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train(SHORT, data=(np.array(x), np.array(y)))
    problem = caught.value.problems[0]
    assert caught.value.code == 3 and words in problem.what + problem.fix


def test_anything_else_than_two_arrays_is_refused():
    x = np.random.default_rng(0).standard_normal((30, 2))
    y = np.arange(30) % 2
    mixed = np.array(["a", None] * 15, dtype=object)
    bad = [(x, 1), (x,), ([[1.0], [1.0, 2.0]], y), (x, mixed), (x, np.zeros((30, 0))), (x * 1e200, y)]
    for data in bad:
        with pytest.raises(dlfound.Error) as caught:
            dlfound.train(SHORT, data=data)
        assert caught.value.code == 3, data
    with pytest.raises(dlfound.Error, match="data=digits are given") as caught:
        dlfound.train([*SHORT, "data=digits"], data=(x, y))
    assert caught.value.code == 2


def test_lists_columns_and_object_arrays_are_accepted():
    x = np.random.default_rng(0).standard_normal((30, 2))
    column = dlfound.train(SHORT, data=(x.tolist(), (np.arange(30) % 2)[:, None]))
    assert column.report["task"] == "binary"
    numbers = dlfound.train(SHORT, data=(x, np.array(list(x[:, 0]), dtype=object)))
    assert numbers.report["task"] == "regression"


def test_an_error_carries_the_exit_code():
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train(["optim=sdg", "model.hiden=[3]"])
    assert caught.value.code == 2 and len(caught.value.problems) == 2
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train([*QUICK, "optim=sgd", "optim.lr=1e6"])
    assert caught.value.code == 5
    with pytest.raises(dlfound.Error) as caught:
        dlfound.open_run("nowhere")
    assert caught.value.code == 4


def test_training_is_silent_and_restores_the_number_of_threads(capfd):
    before = torch.get_num_threads()
    dlfound.train([*MOONS, "run.threads=2"])
    assert torch.get_num_threads() == before
    assert capfd.readouterr() == ("", "")


def test_training_does_not_touch_the_global_generators():
    torch_before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    dlfound.train([*MOONS, "dropout=standard"])
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_predict_takes_any_layout_and_refuses_an_overflow(trained):
    run = dlfound.open_run(trained.path("adam"))
    x = np.random.default_rng(0).standard_normal((6, 2))
    expected = run.predict(x)
    for same in (x[::-1][::-1], np.asfortranarray(x), x.astype(">f8"), x.tolist(), x.astype(object)):
        assert (run.predict(same) == expected).all()
    with pytest.raises(dlfound.Error, match="far beyond those of the training") as caught:
        run.predict(x * 1e300)
    assert caught.value.code == 3


def test_a_run_whose_first_step_fails_keeps_the_initial_weights(capsys):
    words = ["regularizer=l2", "regularizer.strength=1e30", "initializer=normal", "initializer.std=1e20"]
    for _ in range(2):  # the second time from the folder
        assert main(["train", *MOONS, *words, "run.dir=here"]) == 5
        assert "very first step" in capsys.readouterr().err
    assert dlfound.open_run("here").report["best_epoch"] == 0


def test_a_name_that_the_file_system_refuses_is_an_error():
    assert main(["train", *MOONS, f"run.dir={'x' * 300}"]) == 6


def test_settings_that_do_nothing_are_warnings(capsys):
    steady = ["train.epochs=3", "early_stopping=none", "logger=none", "data=moons", "data.rows=60"]
    for words, warning in (
        (["lr_decay=step", "lr_decay.step_size=50"], "step_size=50 can never act"),
        (["lr_decay=plateau", "lr_decay.min_lr=1"], "lr_decay.min_lr (1) keeps"),
        (["model=perceptron", "batchnorm=batch", "train.batch_size=1"], "does nothing in a perceptron"),
    ):
        assert main(["train", *steady, *words]) == 0
        assert warning in capsys.readouterr().err


# Registered options.


class Cube(torch.nn.Module):
    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, a):
        return self.scale * a**3


class SignSGD:
    slots = ()

    def __init__(self, *, lr):
        self.lr = lr

    def rule(self, w, g, slots, t):
        return w - self.lr * g.sign(), ()


def test_a_registered_activation_is_an_option_like_any_other(registry):
    dlfound.register("activation", "cube", Cube, scale=0.1)
    run = dlfound.train([*MOONS, "activation=cube", "activation.scale=0.2"])
    assert run.config["activation"] == {"name": "cube", "scale": 0.2}
    assert run.predict(np.zeros((1, 2))).shape == (1,)
    with pytest.raises(dlfound.Error):
        dlfound.train([*MOONS, "activation=cube", "activation.scael=0.2"])


def test_a_registered_optimizer_needs_only_a_rule(registry):
    dlfound.register("optim", "sign", SignSGD, lr=0.001)
    run = dlfound.train(["optim=sign", "train.epochs=20", "logger=none"])
    assert run.report["test"]["accuracy"] > 0.9


def test_the_defaults_of_a_registered_callable_are_settings(registry):
    def steep(*, slope: float = 2.0, shift):
        return torch.nn.LeakyReLU(slope + shift)

    dlfound.register("activation", "steep", steep)
    with pytest.raises(dlfound.Error, match=r"activation\.shift is required"):
        dlfound.train([*MOONS, "activation=steep"])
    run = dlfound.train([*MOONS, "activation=steep", "activation.shift=1"])
    assert run.config["activation"] == {"name": "steep", "slope": 2.0, "shift": 1}


def test_a_registered_module_may_have_counters(registry):
    dlfound.register("batchnorm", "torchs", torch.nn.BatchNorm1d, momentum=0.1)
    run = dlfound.train([*QUICK, "batchnorm=torchs", "train.epochs=15"])
    assert run.report["test"]["accuracy"] > 0.7


def test_an_exception_in_a_file_of_the_user_names_its_line(registry, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "import dlfound\n\ndef bad():\n    return {}['mine']\n\ndlfound.register('activation', 'bad', bad)\n"
    )
    assert main(["train", "--with", str(file), "activation=bad", *MOONS]) == 2
    assert f"{file}:4: KeyError" in capsys.readouterr().err


def test_a_registered_loss_without_probabilities_predicts_classes(registry):
    class Squared:
        def __init__(self, counts):
            pass

        def outputs(self, classes, columns):
            return classes

        def encode(self, target):
            return target.long()

        def __call__(self, outputs, encoded):
            return (outputs - torch.nn.functional.one_hot(encoded, outputs.shape[1])).square().mean()

        def classes(self, outputs):
            return outputs.argmax(1)

    dlfound.register("loss", "squared", Squared)
    x, y = blobs()
    run = dlfound.train([*SHORT, "loss=squared"], data=(x, y))
    assert run.predict(x).shape == y.shape
    with pytest.raises(dlfound.Error, match="scores, not probabilities") as caught:
        run.probabilities(x)
    assert caught.value.code == 2
