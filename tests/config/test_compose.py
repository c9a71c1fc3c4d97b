"""Composing: every option and experiment, which value wins, references; Hydra itself is the oracle."""

import inspect
from functools import cache

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from dlfound.config.catalog import EXPERIMENT, conf_folder
from dlfound.config.compose import compose
from dlfound.config.config import FORMAT, check_tree, reopen
from dlfound.config.setting_types import MISSING
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Code, Error
from dlfound.options.configure import catalog, configure
from dlfound.runs.resume import differences

HEAD = "# @package _global_\n"


@cache
def all_options():
    return catalog()


def required(group, word):
    """An override, of any valid value, for each setting of an option that a person must give."""
    option = all_options().option(group, word)
    for name, value in all_options().node(group, word).items():
        if value == MISSING:
            yield f"{group}.{name}={valid_value(option.settings[name])}"


def valid_value(setting_type):
    for value in ("x", 1, 0.5, [1], True):
        try:
            setting_type.read(value)
        except (ValueError, OverflowError):
            continue
        return value
    raise AssertionError(f"no value for {setting_type.description}")


def lines():
    """Lists of overrides that together choose every option of every group, and the options of each."""
    words = {group: all_options().words(group) for group in all_options().groups}
    for i in range(max(map(len, words.values()))):
        chosen = {group: options[i % len(options)] for group, options in words.items()}
        choices = [f"{group}={word}" for group, word in chosen.items()]
        yield chosen, choices + [override for choice in chosen.items() for override in required(*choice)]


# ---- options and experiments


def test_every_option_composes_to_the_settings_of_its_callable(tmp_path):
    seen = set()
    for chosen, line in lines():
        config = compose(line, all_options())
        seen |= set(chosen.items())
        for group, word in chosen.items():
            option = all_options().groups[group][word]
            parameters = inspect.signature(option.callable).parameters.values()
            keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
            assert list(config[group]) == ["name", *keywords] and config.name(group) == word
            built = config.build(group)
            assert built.func is option.callable
            inspect.signature(built.func).bind_partial(**built.keywords)
        for node, option in all_options().plain.items():
            assert list(config[node]) == list(option.settings)
        check_saving(config, tmp_path / "config.yaml")
    assert seen == {(group, word) for group in all_options().groups for word in all_options().words(group)}
    assert len(seen) > 40


def check_saving(config, file):
    """What is saved is plain YAML, and reopens as the same configuration."""
    file.write_text(config.saved(), encoding="utf-8")
    again = reopen(file, all_options())
    assert again.tree == config.tree and differences(again, config) == []
    assert yaml.safe_load(file.read_text(encoding="utf-8")) == {"format": FORMAT, **config.tree}
    assert yaml.safe_load(config.shown()) == config.tree
    assert "${" not in config.saved()


def test_a_setting_that_must_be_given_is_asked_for():
    options = [(group, word) for group in all_options().groups for word in all_options().words(group)]
    needed = {option: list(required(*option)) for option in options if list(required(*option))}
    assert len(needed) >= 2
    for (group, word), overrides in needed.items():
        with pytest.raises(Error) as caught:
            compose([f"{group}={word}"], all_options())
        assert caught.value.code == Code.CONFIG
        keys = [problem.what.partition(" is required: ")[0] for problem in caught.value.problems]
        assert keys == [override.partition("=")[0] for override in overrides]
        assert all(problem.fix.startswith(f"give it as {group}.") for problem in caught.value.problems)


@pytest.mark.parametrize("word", all_options().words(EXPERIMENT))
def test_every_experiment_composes_and_its_values_count(word):
    config = configure([f"experiment={word}"])
    file = read_yaml(all_options().paths[EXPERIMENT][word])
    label = f"conf/experiment/{word}.yaml"
    for entry in file.pop("defaults", []):
        ((key, option),) = entry.items()
        group = key.removeprefix("override /")
        assert config.name(group) == option and config.origins[f"{group}.name"] == label
    for node, settings in file.items():
        for key, value in settings.items():
            assert config[node][key] == value and config.origins[f"{node}.{key}"] == label
    assert config.warnings == []


def test_the_defaults_are_those_of_the_root_file():
    config = configure([])
    assert {group: config.name(group) for group in all_options().groups} == all_options().defaults
    assert set(all_options().defaults) == set(all_options().groups)
    for group in all_options().groups:
        for key, value in config[group].items():
            assert value == (all_options().common(group) | all_options().node(group, config.name(group)))[key]


@pytest.mark.parametrize(
    ("overrides", "group", "ignored"),
    [
        (["experiment=mnist_dropout", "dropout=none"], "dropout", "dropout.input"),
        (["experiment=sine_approximation", "lr_decay=none"], "lr_decay", "lr_decay.patience"),
        (["experiment=glorot_depth", "model=perceptron"], "model", "model.hidden"),
    ],
)
def test_another_option_than_the_experiments_needs_one_word(overrides, group, ignored):
    """A setting of the experiment that only its own option has is ignored, with a warning."""
    config = configure(overrides)
    assert list(config[group]) == ["name"]
    (warning,) = config.warnings
    assert f"dlfound ignores {ignored} of {overrides[0]}" in warning


def test_a_setting_of_the_experiment_that_another_option_has_too_counts():
    config = configure(["experiment=mnist_dropout", "dropout=gaussian"])
    assert config["dropout"] == {"name": "gaussian", "input": 0.2, "hidden": 0.5} and config.warnings == []


# ---- which value wins


def test_root_then_option_then_experiment_then_command_line(tmp_path):
    for name, text in {
        "data/mine": "name: sine\nseed: 11\n",
        "experiment/e": f"{HEAD}data: {{seed: 12}}\n",
    }.items():
        (tmp_path / f"{name}.yaml").parent.mkdir()
        (tmp_path / f"{name}.yaml").write_text(text)
    seeds = [
        (["data=sine"], 0, "conf/config.yaml"),
        (["data=mine"], 11, str(tmp_path / "data" / "mine.yaml")),
        (["experiment=e", "data=mine"], 12, str(tmp_path / "experiment" / "e.yaml")),
        (["data.seed=13", "experiment=e", "data=mine"], 13, "data.seed=13"),
    ]
    for line, seed, origin in seeds:
        config = configure(line, [tmp_path])
        assert config["data"]["seed"] == seed and config.origins["data.seed"] == origin


@pytest.mark.parametrize(
    ("override", "node", "key", "value"),
    [
        ("model.hidden=[64,32]", "model", "hidden", [64, 32]),
        ("model.hidden=[ 64 , 32 ]", "model", "hidden", [64, 32]),
        ("model.hidden=64", "model", "hidden", [64]),
        ("++model.hidden=[8]", "model", "hidden", [8]),
        ("train={epochs: 3, batch_size: full}", "train", "batch_size", "full"),
        ("run.name='a, b'", "run", "name", "a, b"), ('run.name="größe"', "run", "name", "größe"),
        ("run.name='it\\'s'", "run", "name", "it's"), ("run.name='1e5'", "run", "name", "1e5"),
        ("run.name='null'", "run", "name", "null"), ("run.name=a b", "run", "name", "a b"),
        ("run.name=x-${data.name}-${model.name}", "run", "name", "x-digits-mlp"),
        ("run.dir=/tmp/x.y_z-1", "run", "dir", "/tmp/x.y_z-1"), ("run.dir=null", "run", "dir", None),
        ("run.dir=~/x, y", "run", "dir", "~/x, y"),
        ("optim.lr=1e-2", "optim", "lr", 0.01), ("optim.lr=${optim.eps}", "optim", "lr", 1e-8),
        ("optim.lr=${.eps}", "optim", "lr", 1e-8), ("optim.lr=${..lr_decay.factor}", "optim", "lr", 0.5),
        ("optim.betas=[${lr_decay.factor},0]", "optim", "betas", [0.5, 0.0]),
        ("optim.betas=[${..eps},0]", "optim", "betas", [1e-8, 0.0]),
        ("optim.lr=${optim.betas[0]}", "optim", "lr", 0.9), ("optim.lr=${optim[eps]}", "optim", "lr", 1e-8),
        ("run.dir=a${data.split}b", "run", "dir", "a[0.7, 0.15, 0.15]b"),
        ("run.dir=a${train.allow_changed}${run.dir}", "run", "dir", None),
        ("run.dir='a\\\\${data.name}'", "run", "dir", "a\\digits"),
        ("train.epochs=2.0", "train", "epochs", 2), ("train.epochs=int('3')", "train", "epochs", 3),
    ],
)  # fmt: skip
def test_overrides_have_hydras_grammar(override, node, key, value):
    if override.endswith("${run.dir}"):  # a reference to itself
        with pytest.raises(Error, match="leads back to itself"):
            compose([override], all_options())
        return
    config = compose([override], all_options())
    assert config[node][key] == value and type(config[node][key]) is type(value)
    assert config.origins[f"{node}.{key}"] == override
    assert config.origins["train.monitor"] == "conf/config.yaml"


def test_overrides_of_a_base_change_nothing_else():
    base = compose(["optim.lr=0.5", "data=moons", "train.epochs=7"], all_options())
    assert compose([], all_options(), base=base).tree == base.tree
    same_option = compose(["optim=adam", "run.seed=3"], all_options(), base=base)
    assert same_option.tree == base.tree | {"run": base["run"] | {"seed": 3}}
    other = compose(["optim=sgd", "data=sine", "data.noise=0.25"], all_options(), base=base)
    assert other["optim"] == read_yaml(conf_folder() / "optim" / "sgd.yaml")
    assert other["data"] == compose(["data=sine", "data.noise=0.25"], all_options())["data"]
    assert other["train"]["epochs"] == 7 and base.name("optim") == "adam"
    with pytest.raises(Error, match=r"data=moons has no setting 'data\.classes'"):
        compose(["data.classes=3"], all_options(), base=base)


def test_a_configuration_shares_no_list_with_another():
    first = compose(["model.hidden=[3,4]"], all_options())
    first["model"]["hidden"].append(5)
    first["data"]["split"].append(1)
    second = compose(["model.hidden=[3,4]"], all_options())
    assert second["model"]["hidden"] == [3, 4] and len(second["data"]["split"]) == 3


# ---- Hydra as the oracle


ORACLE = [
    [],
    ["experiment=mnist_maxnorm", "optim.lr=0.5"],
    ["experiment=glorot_depth", "initializer=uniform", "initializer.low=-0.03"],
    [
        "experiment=sine_approximation",
        "data=spirals",
        "++data.turns=2",
        "train={epochs: 3, batch_size: full}",
    ],
    ["experiment=batchnorm_sigmoid", "batchnorm=layer", "run.name=${data.name}-${optim.lr}"],
    ["data=table", "data.path=~/a.csv", "data.target=[a,'b c']", "data.na=[x, null, 1e3, '1e3']"],
    ["optim=muon", "optim.betas=[${lr_decay.factor},${optim.eps}]", "optim.lr=${.momentum}"],
    ["loss=cross_entropy", "loss.class_weight=[1,2,3]", "model.hidden=[8]", "run.dir='x ${..data.seed}'"],
]


def test_values_are_those_of_hydras_own_composition():
    for line in ORACLE:
        with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3"):
            quoted = [
                word.replace("=~/a.csv", "='~/a.csv'") for word in line
            ]  # Hydra does not read a bare ~/
            composed = OmegaConf.to_container(hydra_compose("config", overrides=quoted), resolve=True)
        expected, problems = check_tree(composed, all_options(), lambda key: "")
        config = compose(line, all_options())
        assert problems == [] and config.tree == expected
        assert repr(config.tree) == repr(expected), "a value of another type, or another order"


def test_our_reader_and_omegaconf_read_the_same_from_every_file():
    files = sorted(conf_folder().rglob("*.yaml"))
    assert len(files) > 40
    for file in files:
        assert repr(OmegaConf.to_container(OmegaConf.load(file))) == repr(read_yaml(file)), file


def test_a_program_that_runs_hydra_itself_is_not_disturbed(tmp_path):
    (tmp_path / "config.yaml").write_text("theirs: 1\n")
    (tmp_path / "own" / "optim").mkdir(parents=True)
    (tmp_path / "own" / "optim" / "mine.yaml").write_text("name: adam\n")
    store = ConfigStore.instance()
    store.store(group="optim", name="mine", node={"theirs": 2})
    try:
        with initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"):
            before = GlobalHydra.instance().hydra
            assert configure(["optim=mine"], [tmp_path / "own"]).name("optim") == "adam"
            with pytest.raises(Error, match="no optim named 'mine'"):
                configure(["optim=mine"])
            assert GlobalHydra.instance().hydra is before
            assert hydra_compose("config") == {"theirs": 1}
            assert hydra_compose("config", overrides=["+optim=mine"])["optim"] == {"theirs": 2}
    finally:
        del store.repo["optim"]
