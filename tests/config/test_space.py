"""A space from override words: what varies, how, and what makes no sense."""

import pytest

from dlfound.config.catalog import SEARCH, SPACE
from dlfound.config.compose import Composer, compose
from dlfound.config.space import Choice, Interval, check_space, experiment_words, read_space
from dlfound.errors import Error
from dlfound.options.configure import catalog
from dlfound.options.rules import RULES


def space(*words):
    found, problems = read_space(words, catalog())
    assert problems == []
    return found


def problems(*words):
    found, wrong = read_space(words, catalog())
    known = catalog()
    return [p.what for p in wrong + check_space(found, Composer(known, (), (SPACE, SEARCH)).compose)]


@pytest.mark.parametrize(
    ("word", "dimension"),
    [
        ("optim=adam,sgd", Choice("optim", ("adam", "sgd"))),
        ("optim=choice(adam,sgd)", Choice("optim", ("adam", "sgd"))),
        ("optim=adam,sgd,adam", Choice("optim", ("adam", "sgd"))),
        ("model.hidden=choice([256],[256,256])", Choice("model.hidden", ("[256]", "[256,256]"))),
        ("optim.lr=1,2", Choice("optim.lr", ("1", "2"))),
        ("optim.lr=interval(0.1, 0.5)", Interval("optim.lr", 0.1, 0.5)),
        ("optim.lr=tag(log, interval(1e-4, 1e-1))", Interval("optim.lr", 1e-4, 0.1, log=True)),
        ("train.batch_size=int(interval(16,256))", Interval("train.batch_size", 16, 256, integer=True)),
        (
            "train.batch_size=tag(log, int(interval(16,256)))",
            Interval("train.batch_size", 16, 256, True, True),
        ),
        ("train.epochs=range(5,20,5)", Interval("train.epochs", 5, 15, integer=True, step=5)),
        ("train.epochs=range(3)", Interval("train.epochs", 0, 2, integer=True, step=1)),
        ("dropout.hidden=range(0.1,0.5,0.1)", Interval("dropout.hidden", 0.1, 0.4, step=0.1)),
        ("batchnorm=glob(*)", Choice("batchnorm", ("batch", "layer", "none"))),
        ("optim=glob(ada*, exclude=*m)", Choice("optim", ("adadelta", "adagrad", "adamw"))),
    ],
)
def test_the_grammar(word, dimension):
    (found,) = space(word).dimensions
    if isinstance(dimension, Interval):
        assert (found.low, found.high) == pytest.approx((dimension.low, dimension.high), rel=1e-12)
        assert (found.key, found.log, found.integer, found.step) == (
            dimension.key, dimension.log, dimension.integer, dimension.step,
        )  # fmt: skip
    else:
        assert found == dimension


@pytest.mark.parametrize(
    "word", ["optim=adam,sgd", "optim.lr=interval(0.1,0.5)", "train.epochs=range(5,20,5)",
             "dropout.hidden=range(0.1,0.5,0.1)", "train.batch_size=tag(log,int(interval(16,256)))",
             "optim.lr=tag(log,interval(1e-4,0.1))"],
)  # fmt: skip
def test_what_is_told_is_read_again(word):
    (found,) = space(word).dimensions
    (again,) = space(f"{found.key}={found.told}").dimensions
    assert again.texts == found.texts and again.told == found.told


def test_the_values_of_a_range():
    assert space("train.epochs=range(1,10,2)").dimensions[0].texts == ("1", "3", "5", "7", "9")
    assert space("dropout.hidden=range(0.1,0.5,0.1)").dimensions[0].texts == ("0.1", "0.2", "0.3", "0.4")


def test_numbers_are_short_and_stay_within():
    d = space("optim.lr=interval(0.0001234564,0.1)").dimensions[0]
    assert d.text(0.01234567891) == "0.0123457"
    assert d.text(0.0001234564) == "0.0001234564" and d.text(0.09999999999) == "0.1"


def test_the_last_word_for_a_key_counts():
    found = space("optim.lr=0.1,0.2", "optim.lr=0.3")
    assert found.dimensions == () and found.words({}) == ["optim.lr=0.3"]
    found = space("optim.lr=0.3", "optim.lr=0.1,0.2")
    assert found.fixed == () and found.dimensions[0].texts == ("0.1", "0.2")


def test_a_setting_goes_with_the_options_that_have_it():
    found = space("lr_decay.patience=2,3", "lr_decay=cosine,plateau", "lr_decay.min_lr=0.001", "optim.lr=1,2")
    assert [d.key for d in found.dimensions] == ["lr_decay", "lr_decay.patience", "optim.lr"]
    assert found.dimensions[1].within == ("plateau",) and found.dimensions[2].within is None
    assert found.words({"lr_decay": "cosine"}) == ["lr_decay=cosine"]
    assert found.words({"lr_decay": "plateau", "lr_decay.patience": "2"}) == [
        "lr_decay.min_lr=0.001", "lr_decay=plateau", "lr_decay.patience=2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("optim.lr=tag(log,interval(0,1))", "a logarithm needs ends > 0"),
        ("optim.lr=interval(1,0.5)", "the low end (1) must be below the high end (0.5)"),
        ("optim.lr=interval(1,1)", "must be below"),
        ("optim.lr=tag(steep,interval(0.1,1))", "there is no tag steep"),
        ("train.epochs=range(5,5)", "nothing lies in this range"),
        ("train.epochs=range(5,1)", "nothing lies in this range"),
        ("optim.lr=range(0,1,0.00001)", "has 100000 values"),
        ("optim=glob(zz*)", "matches nothing"),
        ("optim.lr=glob(*)", "matches nothing"),
        ("run.dir=a,b", "run.dir cannot vary"),
        ("run.name=a,b", "run.name cannot vary"),
        ("~optim.lr=1,2", "optim.lr cannot be removed"),
        ("~optim.lr", "optim.lr cannot be removed"),
        ("~optim=adam,sgd", "optim cannot be removed"),
        ("optim.lr=choice()", "there is nothing to choose from"),
        ("optim.lrr=0.1,0.2", "unknown key 'optim.lrr'"),
        ("optm=adam,sgd", "unknown key 'optm'"),
        ("optim=adam,sdg", "no optim named 'sdg'"),
        ("optim.lr=0.1,-0.2", "optim.lr must be a finite number > 0, got -0.2"),
        ("optim.lr=interval(-1,1)", "optim.lr must be a finite number > 0, got -1.0"),
        ("train.batch_size=interval(16,64)", "train.batch_size must be a whole number"),
        ("activation=relu,tanh activation.slope=1,2", "activation=relu has no setting 'activation.slope'"),
        ("lr_decay.nope=1,2 lr_decay=cosine,plateau", "unknown key 'lr_decay.nope'"),
        ("optim.lr=0.1,0.2 model.hidden=[0]", "model.hidden must be"),
    ],
)
def test_what_makes_no_sense(word, told):
    found = problems(*word.split())
    assert any(told in what for what in found), found


def test_whole_numbers_are_asked_for_by_int():
    found, _ = read_space(["train.batch_size=interval(16,64)"], catalog())
    (problem,) = check_space(found, Composer(catalog()).compose)
    assert problem.fix == "train.batch_size=int(interval(16,64))"


def test_an_experiments_space(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nspace:\n  optim: adam,sgd\n  optim.lr: tag(log, interval(1e-4, 1e-1))\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(
        text + "search:\n  name: tpe\n  trials: 7\ntrain:\n  epochs: 3\n"
    )
    known = catalog([tmp_path])
    assert experiment_words(["experiment=mine"], known) == [
        "optim=adam,sgd", "optim.lr=tag(log, interval(1e-4, 1e-1))", "search=tpe", "search.trials=7",
    ]  # fmt: skip
    config = compose(["experiment=mine"], known, RULES, beside=(SPACE, SEARCH))
    assert config["train"]["epochs"] == 3 and "space" not in config.tree
    with pytest.raises(Error) as caught:
        compose(["experiment=mine"], known, RULES)
    assert "space is for a sweep" in str(caught.value) and caught.value.code == 2


def test_composing_many_gives_what_composing_each_gives():
    known = catalog()
    composer = Composer(known, RULES)
    for words in (
        ["optim=sgd", "optim.lr=0.1", "early_stopping.look_ahead=5"],
        ["optim=sgd", "optim.lr=0.2", "early_stopping.look_ahead=300"],
        ["optim=adam", "optim.lr=0.2", "model.hidden=[3,3]"],
        ["optim=adam", "optim.lr=1e-3", "model.hidden=[4]"],
        ["data=moons", "run.name=${data.name}x"], ["data=xor", "run.name=${data.name}x"],
        ["optim.lr=0.1", "optim.lr=0.3"],
        ["data=image_folder", "data.path=a", "optim.lr=0.1"],
        ["data=image_folder", "data.path=b", "optim.lr=0.3"],
    ):  # fmt: skip
        for _ in range(2):
            one, other = composer.compose(words), compose(words, known, RULES)
            assert (one.tree, one.origins, one.warnings) == (other.tree, other.origins, other.warnings)
    for lr, ahead, told in (("-1", "5", "optim.lr must be"), ("1", "1", "decay could never help")):
        with pytest.raises(Error, match=told):
            composer.compose(["optim=sgd", f"optim.lr={lr}", f"early_stopping.look_ahead={ahead}"])
