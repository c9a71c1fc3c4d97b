"""The search space from overrides: what varies, over which values, and what is refused."""

from functools import partial

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dlfound.config.catalog import SEARCH, SPACE
from dlfound.config.compose import compose
from dlfound.errors import Error
from dlfound.options.configure import catalog
from dlfound.options.rules import RULES
from dlfound.sweeps.space import check_space, experiment_words, read_space

CATALOG = catalog()


def space(*words):
    result, problems = read_space(words, CATALOG)
    assert problems == []
    return result


def problems(*words):
    result, problems = read_space(words, CATALOG)
    return problems + check_space(result, partial(compose, catalog=CATALOG, ignored=(SPACE, SEARCH)))


@pytest.mark.parametrize(
    ("word", "texts"),
    [
        ("optim=adam,sgd", ("adam", "sgd")),
        ("optim=choice(adam,sgd)", ("adam", "sgd")),
        ("optim=adam,sgd,adam", ("adam", "sgd")),
        ("model.hidden=choice([256],[256,256])", ("[256]", "[256,256]")),
        ("optim.lr=1,2", ("1", "2")),
        ("batchnorm=glob(*)", ("batch", "layer", "none")),
        ("optim=glob(ada*, exclude=*m)", ("adadelta", "adagrad", "adamw")),
    ],
)
def test_the_grammar_of_choices(word, texts):
    (dimension,) = space(word).dimensions
    assert (dimension.key, dimension.texts, dimension.within) == (word.partition("=")[0], texts, None)
    assert dimension.distribution == CategoricalDistribution(texts)


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("optim.lr=interval(0.1, 0.5)", FloatDistribution(0.1, 0.5)),
        ("optim.lr=tag(log, interval(1e-4, 1e-1))", FloatDistribution(1e-4, 0.1, log=True)),
        ("train.batch_size=int(interval(16,256))", IntDistribution(16, 256)),
        ("train.batch_size=tag(log, int(interval(16,256)))", IntDistribution(16, 256, log=True)),
    ],
)
def test_the_grammar_of_intervals(word, distribution):
    (dimension,) = space(word).dimensions
    assert (dimension.key, dimension.texts) == (word.partition("=")[0], ())
    assert dimension.distribution == distribution


@pytest.mark.parametrize(
    ("word", "texts"),
    [
        ("train.epochs=range(5,20,5)", ("5", "10", "15")),
        ("train.epochs=range(3)", ("0", "1", "2")),
        ("train.epochs=range(1,10,2)", ("1", "3", "5", "7", "9")),
        ("dropout.hidden=range(0.1,0.5,0.1)", ("0.1", "0.2", "0.3", "0.4")),
    ],
)
def test_the_values_of_a_range(word, texts):
    """Optuna draws the index of a value: adding up the steps would round."""
    (dimension,) = space(word).dimensions
    assert dimension.texts == texts and dimension.distribution == IntDistribution(0, len(texts) - 1)
    assert [dimension.text(index) for index in range(len(texts))] == list(texts)


@pytest.mark.parametrize(
    "word", ["optim=adam,sgd", "optim.lr=interval(0.1,0.5)", "train.epochs=range(5,20,5)",
             "dropout.hidden=range(0.1,0.5,0.1)", "train.batch_size=tag(log,int(interval(16,256)))",
             "optim.lr=tag(log,interval(1e-4,0.1))"],
)  # fmt: skip
def test_the_expression_of_a_dimension_gives_the_same_dimension(word):
    (dimension,) = space(word).dimensions
    (again,) = space(f"{dimension.key}={dimension.expression}").dimensions
    assert again.texts == dimension.texts and again.expression == dimension.expression


def test_drawn_numbers_have_six_digits_and_stay_within_the_interval():
    d = space("optim.lr=interval(0.0001234564,0.1)").dimensions[0]
    assert d.text(0.01234567891) == "0.0123457"
    assert d.text(0.0001234564) == "0.0001234564" and d.text(0.09999999999) == "0.1"


def test_the_last_override_of_a_key_counts():
    fixed = space("optim.lr=0.1,0.2", "optim.lr=0.3")
    assert fixed.dimensions == () and fixed.words({}) == ["optim.lr=0.3"]
    varying = space("optim.lr=0.3", "optim.lr=0.1,0.2")
    assert varying.fixed == () and varying.dimensions[0].texts == ("0.1", "0.2")


def test_a_setting_goes_with_the_options_that_have_it():
    mixed = space("lr_decay.patience=2,3", "lr_decay=cosine,plateau", "lr_decay.min_lr=0.001", "optim.lr=1,2")
    assert [d.key for d in mixed.dimensions] == ["lr_decay", "lr_decay.patience", "optim.lr"]
    assert mixed.dimensions[1].within == ("plateau",) and mixed.dimensions[2].within is None
    assert mixed.words({"lr_decay": "cosine"}) == ["lr_decay=cosine"]
    assert mixed.words({"lr_decay": "plateau", "lr_decay.patience": "2"}) == [
        "lr_decay.min_lr=0.001", "lr_decay=plateau", "lr_decay.patience=2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("optim.lr=tag(log,interval(0,1))", "tag(log, ...) needs a low end > 0, got 0"),
        ("optim.lr=interval(1,0.5)", "the low end (1) must be below the high end (0.5)"),
        ("optim.lr=interval(1,1)", "must be below"),
        ("optim.lr=tag(steep,interval(0.1,1))", "unknown tag steep"),
        ("train.epochs=range(5,5)", "the range is empty"),
        ("train.epochs=range(5,1)", "the range is empty"),
        ("optim.lr=range(0,1,0.00001)", "has 100000 values; at most 10000 are allowed"),
        ("optim=glob(zz*)", "matches nothing"),
        ("optim.lr=glob(*)", "matches nothing"),
        ("run.dir=a,b", "run.dir cannot vary"),
        ("run.name=a,b", "run.name cannot vary"),
        ("~optim.lr=1,2", "optim.lr cannot be removed"),
        ("~optim.lr", "optim.lr cannot be removed"),
        ("~optim=adam,sgd", "optim cannot be removed"),
        ("optim.lr=choice()", "choice() has no values"),
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
def test_a_wrong_override_is_reported(words, message):
    reported = problems(*words.split())
    assert any(message in problem.what and problem.fix for problem in reported), reported


def test_an_interval_of_whole_numbers_is_suggested():
    (problem,) = problems("train.batch_size=interval(16,64)")
    assert problem.fix == "write train.batch_size=int(interval(16,64))"


def test_a_shuffled_choice_keeps_its_order():
    """A sampler draws the order from the seed; Hydra would draw another at each start of the sweep."""
    assert {space("optim.lr=shuffle(1,2,3,4,5)").dimensions[0].texts for _ in range(20)} == {
        ("1", "2", "3", "4", "5")
    }


def test_an_experiments_space(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nspace:\n  optim: adam,sgd\n  optim.lr: tag(log, interval(1e-4, 1e-1))\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(
        text + "search:\n  name: tpe\n  trials: 7\ntrain:\n  epochs: 3\n"
    )
    own = catalog([tmp_path])
    assert experiment_words(["experiment=mine"], own) == [
        "optim=adam,sgd", "optim.lr=tag(log, interval(1e-4, 1e-1))", "search=tpe", "search.trials=7",
    ]  # fmt: skip
    config = compose(["experiment=mine"], own, RULES, ignored=(SPACE, SEARCH))
    assert config["train"]["epochs"] == 3 and "space" not in config.tree
    with pytest.raises(Error) as caught:
        compose(["experiment=mine"], own, RULES)
    assert "space is for a sweep" in str(caught.value) and caught.value.code == 2
