"""The same thing from Python."""

import numpy as np
import pytest
import torch

import dlfound
from dlfound.config import catalog as options

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
        ([[np.nan]] * 4, [0, 1, 0, 1], "missing, infinite"),
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


def test_more_arrays_that_are_no_data_are_told_as_such():
    x = np.random.default_rng(0).standard_normal((30, 2))
    y = np.arange(30) % 2
    mixed = np.array(["a", None] * 15, dtype=object)
    bad = [(x, 1), (x,), ([[1.0], [1.0, 2.0]], y), (x, mixed), (x, np.zeros((30, 0))), (x * 1e200, y)]
    for data in bad:
        with pytest.raises(dlfound.Error) as caught:
            dlfound.train(QUICK, data=data)
        assert caught.value.code == 3, data
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train([*QUICK, "data=digits"], data=(x, y))
    assert caught.value.code == 2
    column = dlfound.train(QUICK, data=(x.tolist(), y[:, None]))
    assert column.report["task"] == "binary"
    numbers = dlfound.train(QUICK, data=(x, np.array(list(x[:, 0]), dtype=object)))
    assert numbers.report["task"] == "regression"


def test_predict_takes_any_layout_and_refuses_what_overflows():
    run = dlfound.train(["data=moons", *QUICK])
    x = np.random.default_rng(0).standard_normal((6, 2))
    expected = run.predict(x)
    for same in (x[::-1][::-1], np.asfortranarray(x), x.astype(">f8"), x.tolist(), x.astype(object)):
        assert (run.predict(same) == expected).all()
    with pytest.raises(dlfound.Error) as caught:
        run.predict(x * 1e300)
    assert caught.value.code == 3


def test_a_run_that_cannot_begin_says_so_and_keeps_the_initial_weights(capsys):
    from dlfound.cli import main

    words = ["regularizer=l2", "regularizer.strength=1e30", "initializer=normal", "initializer.std=1e20"]
    assert main(["train", *QUICK, *words, "run.dir=here"]) == 5
    assert "very first step" in capsys.readouterr().err
    assert main(["train", *QUICK, *words, "run.dir=here"]) == 5  # and again, from the folder
    assert dlfound.open_run("here").report["best_epoch"] == 0


def test_a_name_that_no_file_system_takes_is_told(capsys):
    from dlfound.cli import main

    assert main(["train", *QUICK, f"run.dir={'x' * 300}"]) == 6


def test_what_cannot_act_is_told(capsys):
    from dlfound.cli import main

    for words, told in (
        (["lr_decay=step", "lr_decay.step_size=50"], "step_size=50 can never act"),
        (["lr_decay=plateau", "lr_decay.min_lr=1"], "lr_decay.min_lr (1) keeps"),
        (["model=perceptron", "batchnorm=batch", "train.batch_size=1"], "does nothing in a perceptron"),
    ):
        quick = [w for w in QUICK if not w.startswith("model.") or "model=perceptron" not in words]
        assert main(["train", "train.epochs=3", *quick[1:], *words, "data=moons", "data.rows=60"]) == 0
        assert told in capsys.readouterr().err


def test_a_registered_callables_own_defaults_count(registry):
    def steep(*, slope: float = 2.0, shift):
        return torch.nn.LeakyReLU(slope + shift)

    dlfound.register("activation", "steep", steep)
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train([*QUICK, "activation=steep"])
    assert "activation.shift is required" in str(caught.value)
    run = dlfound.train([*QUICK, "activation=steep", "activation.shift=1"])
    assert run.config["activation"] == {"name": "steep", "slope": 2.0, "shift": 1}


def test_a_module_with_counters_of_its_own_trains(registry):
    dlfound.register("batchnorm", "torchs", torch.nn.BatchNorm1d, momentum=0.1)
    run = dlfound.train([*QUICK, "batchnorm=torchs", "train.epochs=15"])
    assert run.report["test"]["accuracy"] > 0.7


def test_a_fault_in_a_file_of_ones_own_names_its_line(registry, tmp_path, capsys):
    from dlfound.cli import main

    file = tmp_path / "mine.py"
    file.write_text(
        "import dlfound\n\ndef bad():\n    return {}['mine']\n\ndlfound.register('activation', 'bad', bad)\n"
    )
    assert main(["train", "--with", str(file), "activation=bad", *QUICK]) == 2
    assert f"{file}:4: KeyError" in capsys.readouterr().err


def test_a_registered_loss_that_knows_no_probabilities(registry):
    """Its run predicts classes as one with scores does; it is asked for no more."""

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
    run = dlfound.train([*QUICK, "loss=squared"], data=(x, y))
    assert run.predict(x).shape == y.shape
    with pytest.raises(dlfound.Error, match="scores, not probabilities") as told:
        run.probabilities(x)
    assert told.value.code == 2
