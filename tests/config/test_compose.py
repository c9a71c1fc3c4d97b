"""From words to a configuration: every option, options of one's own, who wins, what is shown, what is saved."""

import inspect
import re
from dataclasses import replace
from functools import cache

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from dlfound.cli import main
from dlfound.config.catalog import EXPERIMENT, conf_folder
from dlfound.config.check import MISSING
from dlfound.config.compose import compose, reopen
from dlfound.config.config import FORMAT
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Code, Error
from dlfound.options.configure import catalog, configure
from dlfound.runs.resume import differences

HEAD = "# @package _global_\n"


@cache
def known():
    return catalog()


@cache
def default():
    return compose([], known())


def with_run(**settings):
    """The default configuration with other settings of `run`."""
    return replace(default(), tree=default().tree | {"run": default()["run"] | settings})


def required(group, word):
    """Overrides for the settings that a person must give: values of whatever kind they are."""
    option, node = known().option(group, word), known().node(group, word)
    for name in [name for name, value in node.items() if value == MISSING]:
        yield f"{group}.{name}={_some(option.settings[name])}"


def _some(kind):
    for value in ("x", 1, 0.5, [1], True):
        try:
            kind.read(value)
        except (ValueError, OverflowError):
            continue
        return value
    raise AssertionError(f"what does {kind.says} accept?")


def rows():
    """Lines of overrides that together choose every option of every group."""
    words = {group: known().words(group) for group in known().groups}
    for i in range(max(map(len, words.values()))):
        chosen = {group: each[i % len(each)] for group, each in words.items()}
        yield (
            chosen,
            [f"{g}={w}" for g, w in chosen.items()] + [o for g, w in chosen.items() for o in required(g, w)],
        )


def own(folder, files):
    """A folder of options of one's own."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [folder]


def refused(capsys, folder, *overrides):
    """What `dlfound train --cfg --config-dir` tells, exit 2: (what, fix) pairs."""
    assert main(["train", "--cfg", "--config-dir", str(folder), *overrides]) == Code.CONFIG
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err and "cannot be composed" not in err
    lines = err.splitlines()
    assert all(line.startswith("dlfound: error[config]: ") for line in lines[::2]), err
    return list(zip(lines[::2], lines[1::2], strict=True))


# ---- what is there


@pytest.mark.parametrize(("chosen", "line"), list(rows()), ids=lambda value: "")
def test_every_option_composes_to_its_callables_settings(chosen, line, tmp_path):
    config = compose(line, known())
    for group, word in chosen.items():
        option = known().groups[group][word]
        parameters = inspect.signature(option.callable).parameters.values()
        assert list(config[group]) == ["name", *(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)], (
            group,
            word,
        )
        assert config.name(group) == word
        built = config.build(group)
        assert built.func is option.callable
        inspect.signature(built.func).bind_partial(**built.keywords)
    for node, option in known().plain.items():
        assert list(config[node]) == list(option.settings)
    file = tmp_path / "config.yaml"
    file.write_text(config.saved(), encoding="utf-8")
    again = reopen(file, known())
    assert again.tree == config.tree and differences(again, config) == []
    assert yaml.safe_load(file.read_text(encoding="utf-8")) == {"format": FORMAT, **config.tree}
    assert yaml.safe_load(config.shown()) == config.tree
    assert "${" not in config.saved()


def test_the_lines_choose_every_option():
    seen = {(g, w) for chosen, _ in rows() for g, w in chosen.items()}
    assert seen == {(g, w) for g in known().groups for w in known().words(g)}
    assert len(seen) > 40


def test_what_a_person_must_give_is_asked_for(capsys):
    asked = [(g, w, list(required(g, w))) for g in known().groups for w in known().words(g)]
    asked = [(g, w, overrides) for g, w, overrides in asked if overrides]
    for group, word, overrides in asked:
        with pytest.raises(Error) as caught:
            compose([f"{group}={word}"], known())
        assert caught.value.code == Code.CONFIG
        told = [p.what.partition(" is required: ")[0] for p in caught.value.problems]
        assert told == [o.partition("=")[0] for o in overrides]
        assert all(p.fix.startswith(f"give it as {group}.") for p in caught.value.problems)


@pytest.mark.parametrize("word", known().words(EXPERIMENT))
def test_every_experiment_composes_and_its_values_count(word):
    config = configure([f"experiment={word}"])
    file = read_yaml(known().paths[EXPERIMENT][word])
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
    assert {g: config.name(g) for g in known().groups} == known().defaults
    assert set(known().defaults) == set(known().groups)
    for group in known().groups:
        for key, value in config[group].items():
            assert value == (known().common(group) | known().node(group, config.name(group)))[key]


def test_hydra_and_our_own_reader_read_the_same_in_every_file():
    files = sorted(conf_folder().rglob("*.yaml"))
    assert len(files) > 40
    for file in files:
        theirs, ours = OmegaConf.to_container(OmegaConf.load(file)), read_yaml(file)
        assert theirs == ours, file
        assert repr(theirs) == repr(ours), f"{file}: a value of another type"


# ---- options of one's own


def test_an_own_option_names_only_what_differs(tmp_path):
    own(tmp_path, {"optim/mine.yaml": "name: momentum\nlr: 0.5  # why\n"})
    config = configure(["optim=mine"], [tmp_path])
    momentum = read_yaml(conf_folder() / "optim" / "momentum.yaml")
    assert config["optim"] == {**momentum, "lr": 0.5}
    assert config.origins["optim.lr"] == str(tmp_path / "optim" / "mine.yaml")
    assert config.origins["optim.momentum"] == "conf/optim/momentum.yaml"
    assert config.origins["optim.name"] == "optim=mine"


def test_what_an_own_option_leaves_out_can_be_set_and_referred_to(tmp_path):
    own(tmp_path, {"optim/mine.yaml": "name: adam\nlr: ${optim.eps}\n", "optim/other.yaml": "name: adam\n"})
    assert configure(["optim=mine", "optim.eps=0.25"], [tmp_path])["optim"]["lr"] == 0.25
    assert configure(["optim=other"], [tmp_path])["optim"] == configure(["optim=adam"])["optim"]


def test_own_files_are_read_as_a_person_means_them(tmp_path):
    text = "name: passfail\ntarget: no\nrows: 012\nnoise: 1e1\n"
    own(tmp_path, {"data/mine.yaml": text})
    with pytest.raises(Error, match=r"data.target must be .*, got 'no'"):
        configure(["data=mine"], [tmp_path])
    config = configure(["data=mine", "data.target=grade"], [tmp_path])
    assert config["data"]["rows"] == 12 and config["data"]["noise"] == 10.0


def test_options_from_several_folders(tmp_path):
    first, second = (
        own(tmp_path / "a", {"optim/one.yaml": "name: sgd\nlr: 1\n"}),
        own(
            tmp_path / "b",
            {"optim/two.yaml": "name: sgd\nlr: 2\n", "experiment/both.yaml": f"{HEAD}train: {{epochs: 3}}\n"},
        ),
    )
    assert configure(["optim=one"], [*first, *second])["optim"]["lr"] == 1.0
    config = configure(["optim=two", "experiment=both"], [*first, *second])
    assert config["optim"]["lr"] == 2.0 and config["train"]["epochs"] == 3


def test_an_own_experiment_with_an_own_option(tmp_path):
    files = {
        "optim/mine.yaml": "name: momentum\nlr: 0.3\n",
        "experiment/try.yaml": f"{HEAD}defaults:\n  - override /optim: mine\n  - _self_\ntrain:\n  epochs: 77\n"
        "run:\n  name: ${data.name}_try\n",
    }
    own(tmp_path, files)
    config = configure(["experiment=try"], [tmp_path])
    assert config["optim"]["name"] == "momentum" and config["optim"]["lr"] == 0.3
    assert config["train"]["epochs"] == 77 and config["run"]["name"] == "digits_try"
    assert (
        config.origins["optim.name"]
        == config.origins["run.name"]
        == str(tmp_path / "experiment" / "try.yaml")
    )
    assert configure(["experiment=try", "optim=sgd"], [tmp_path]).name("optim") == "sgd"


def test_an_own_file_may_not_hide_another(tmp_path, capsys):
    own(tmp_path / "a", {"optim/adam.yaml": "name: adam\nlr: 0.5\n"})
    ((what, fix),) = refused(capsys, tmp_path / "a")
    assert f"{tmp_path}/a/optim/adam.yaml: optim=adam exists already" in what and "another name" in fix
    for name in ("b", "c"):
        own(tmp_path / name, {"optim/mine.yaml": "name: adam\n"})
    with pytest.raises(Error, match=r"c/optim/mine\.yaml: optim=mine exists already"):
        configure([], [tmp_path / "b", tmp_path / "c"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name: adam\nlrr: 1\n", "unknown key 'optim.lrr' ({file}) >> did you mean optim.lr?"),
        ("name: adam\n_target_: os.system\n", "unknown key 'optim._target_' ({file}) >> did you mean optim."),
        ("name: adam\nhydra: x\n", "unknown key 'optim.hydra' ({file}) >> did you mean optim."),
        ("name: adam\nlr: abc\n", "optim.lr must be a finite number > 0, got 'abc' ({file})"),
        ("name: adam\nlr: no\n", "optim.lr must be a finite number > 0, got 'no' ({file})"),
        ("name: adam\nlr: -1\n", "optim.lr must be a finite number > 0, got -1 ({file})"),
        ("name: adam\nlr: 1_0\n", "optim.lr must be a finite number > 0, got '1_0' ({file})"),
        ("name: adam\nlr: 12:30:00\n", "optim.lr must be a finite number > 0, got '12:30:00' ({file})"),
        ("name: adam\nbetas: [0.9, [1]]\n",
        "optim.betas must be a list of two numbers in [0, 1), got [0.9, [1]] ({file})"),
        ("name: adam\nlr: ???\n", "optim.lr is required: a finite number > 0 >> give it as optim.lr=..."),
        ("name: adam\nlr: ${nope.x}\n", "optim.lr refers to 'nope.x', which does not exist ({file})"),
        ("name: adam\nlr: ${optim.lr}\n", "interpolation loop at 'optim.lr'"),
        ("name: adam\nlr: ${oc.env:HOME}\n", "{file}: resolvers are not allowed in a configuration: optim.lr"),
        ("name: adam\nbetas: ['${oc.env:HOME}', 1]\n",
        "{file}: resolvers are not allowed in a configuration: optim.betas"),
        ("name: adam\nbetas: [[['${oc.env:HOME}']]]\n",
        "{file}: resolvers are not allowed in a configuration: optim.betas"),
        ("name: adam\nlr: '${'\n", "{file}: resolvers are not allowed in a configuration: optim.lr"),
        ("name: adam\nlr: {a: 1}\n", "{file}: optim.lr is not allowed"),
        ("name: adam\nlr: 1e400\n", "{file}: optim.lr is not allowed"),
        ("name: adam\n<<: {lr: 1}\n", "{file}: optim.<< is not allowed"),
        ("name: adam\ndefaults: [sgd]\n", "{file}: defaults is not allowed"),
        ("lr: 0.5\n", "{file}: name must be one of: "),
        ("name: adm\nlr: 0.5\n", "{file}: name must be one of: "),
        ("name: adm\n", ">> did you mean name: adam?"),
        ("name: mine\n", "{file}: name must be one of: "),
        ("name: [adam]\n", "{file}: name must be one of: "),
        ("name: 3\n", "{file}: name must be one of: "),
        ("name: null\n", "{file}: name must be one of: "),
        ("name: {a: 1}\n", "{file}: name must be one of: "),
        ("name: adam\n\tlr: 1\n", "{file}:2:1: tabs are not allowed"),
        ("name: adam\nlr: 1\nlr: 2\n", "{file}:3:1: duplicate key 'lr'"),
        (b"name: adam\n#\xff\n", "{file} is not UTF-8 (byte 0xff at 12)"),
        ("name: adam\x00\n", "{file}:1: control characters are not allowed"),
        ("a: &a [x, x]\nb: [*a, *a]\n", "{file}:1:4: too complex (anchors and aliases are not allowed)"),
        ("name: adam\nlr: " + "[" * 500 + "]" * 500, "{file}:2:24: too complex (nested more than 20 deep)"),
        ("#" * 10_000_000, "{file} is too complex (more than 256 KiB)"),
        ("name: adam\nlr: " + "9" * 5000, "{file}:2:5: too complex (a number of 5000 digits)"),
        ("name: adam\nlr: !!python/name:os.system\n", "{file}:2:5: tags are not allowed"),
        ("- name\n", "{file} must be a mapping of names to values"),
        ("", "{file} must be a mapping of names to values"),
    ],
)  # fmt: skip
def test_a_bad_option_file(content, told, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", "/canary")
    own(tmp_path, {"optim/mine.yaml": content})
    pairs = refused(capsys, tmp_path, "optim=mine")
    wanted = told.format(file=tmp_path / "optim" / "mine.yaml") if "{file}" in told else told
    what, _, fix = wanted.partition(">> ")
    assert any(what.strip() in w and fix in f for w, f in pairs), pairs
    assert "canary" not in str(pairs)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("train:\n  epochs: 3\n", "{file} must begin with the line '# @package _global_'"),
        (HEAD + "trian:\n  epochs: 3\n", "unknown key 'trian' ({file})"),
        (HEAD + "train:\n  epohcs: 3\n", "unknown key 'train.epohcs' ({file})"),
        (HEAD + "train:\n  name: x\n", "unknown key 'train.name' ({file})"),
        (HEAD + "train:\n  epochs: 0\n", "train.epochs must be a whole number >= 1, got 0 ({file})"),
        (HEAD + "train: 3\n", "{file}: train must be a mapping of settings"),
        (HEAD + "train: [1]\n", "{file}: train must be a mapping of settings"),
        (HEAD + "train: null\n", "{file}: train must be a mapping of settings"),
        (HEAD + "optim: sgd\n", "{file}: optim must be a mapping of settings"),
        (HEAD + "optim: {name: sgd}\n", "{file}: optim.name is set by choosing an option"),
        (HEAD + "optim: {momentum: 0.5}\n", "unknown key 'optim.momentum' ({file})"),
        (HEAD + "defaults:\n  - override /optim: nope\n", "{file}: no such choice in defaults: override /optim: nope"),
        (HEAD + "defaults:\n  - override /optm: sgd\n", "{file}: no such choice in defaults: override /optm: sgd"),
        (HEAD + "defaults:\n  - optim: sgd\n", "{file}: no such choice in defaults: optim: sgd"),
        (HEAD + "defaults:\n  - override /experiment: other\n", "{file}: no such choice in defaults"),
        (HEAD + "defaults:\n  - /hydra/launcher: x\n", "{file}: no such choice in defaults: /hydra/launcher: x"),
        (HEAD + "defaults:\n  - override /hydra/launcher: x\n", "{file}: no such choice in defaults"),
        (HEAD + "defaults:\n  - override /optim: [sgd]\n", "{file}: no such choice in defaults"),
        (HEAD + "defaults:\n  - override /model: ../../evil\n", "{file}: no such choice in defaults"),
        (HEAD + "defaults: 3\n", "{file}: no such choice in defaults: 3"),
        (HEAD + "defaults: sgd\n", "{file}: no such choice in defaults: sgd"),
        (HEAD + "defaults:\n  - [a]\n", "{file}: no such choice in defaults"),
        (HEAD + "hydra:\n  run: {dir: x}\n", "{file}: hydra.run is not allowed"),
        (HEAD + "hydra: x\n", "{file}: hydra is not allowed"),
        (HEAD + "_target_: os.system\n", "unknown key '_target_' ({file})"),
        (HEAD + "train: {_target_: os.system}\n", "unknown key 'train._target_' ({file})"),
        (HEAD + "run: {name: '${oc.env:HOME}'}\n", "{file}: resolvers are not allowed in a configuration: run.name"),
        (HEAD + "optim: {betas: ['${oc.env:HOME}', 1]}\n", "{file}: resolvers are not allowed in a configuration"),
        (HEAD + "optim: {sub: {x: '${oc.env:HOME}'}}\n", "{file}: optim.sub is not allowed"),
        (HEAD + "run: {name: '${data.nmae}'}\n", "run.name refers to 'data.nmae', which does not exist ({file})"),
        (HEAD + "train:\n\tepochs: 3\n", "{file}:3:1: tabs are not allowed"),
        (HEAD, "{file} must be a mapping of names to values"),
        (b"\xff\xfe", "{file} is not UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_experiment_file(content, told, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", "/canary")
    own(tmp_path, {"experiment/mine.yaml": content})
    pairs = refused(capsys, tmp_path, "experiment=mine")
    assert any(told.format(file=tmp_path / "experiment" / "mine.yaml") in what for what, _ in pairs), pairs
    assert "canary" not in str(pairs)


def test_mistakes_of_files_and_words_are_told_together(tmp_path, capsys):
    own(tmp_path, {"optim/mine.yaml": "name: adm\n", "dropout/odd.yaml": "name: standard\nhiden: 1\n"})
    pairs = refused(capsys, tmp_path, "optim=mine", "dropout=odd", "train.epohcs=1", "lr_decay.factor=2")
    told = "\n".join(what for what, _ in pairs)
    names = ("optim/mine.yaml: name must be", "'dropout.hiden'", "'train.epohcs'", "lr_decay.factor must be")
    assert [name for name in names if name not in told] == []


def test_a_broken_file_that_is_not_chosen_does_no_harm(tmp_path, capsys):
    own(tmp_path, {"dropout/broken.yaml": "name: [\n", "nothing/x.yaml": "a: [", "optim/notes.txt": "x"})
    assert configure(["dropout=standard"], [tmp_path]).name("dropout") == "standard"
    pairs = refused(capsys, tmp_path, "dropout.hidden=0.5", "optm=1")
    assert (
        "dropout=none has no setting 'dropout.hidden'" in pairs[0][0] and "unknown key 'optm'" in pairs[1][0]
    )


def test_a_config_dir_that_is_none(tmp_path, capsys):
    for folder in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").touch()
        ((what, _),) = refused(capsys, folder)
        assert f"--config-dir {folder} is no folder" in what


# ---- who wins


def test_root_then_option_then_experiment_then_command_line(tmp_path):
    own(
        tmp_path,
        {"data/mine.yaml": "name: sine\nseed: 11\n", "experiment/e.yaml": f"{HEAD}data: {{seed: 12}}\n"},
    )
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
        ("model.hidden=[ 64 , 32 ]", "model", "hidden", [64, 32]), ("model.hidden=64", "model", "hidden", [64]),
        ("++model.hidden=[8]", "model", "hidden", [8]),
        ("train={epochs: 3, batch_size: full}", "train", "batch_size", "full"),
        ("run.name='a, b'", "run", "name", "a, b"), ('run.name="größe"', "run", "name", "größe"),
        ("run.name='it\\'s'", "run", "name", "it's"), ("run.name='1e5'", "run", "name", "1e5"),
        ("run.name='null'", "run", "name", "null"), ("run.name=a b", "run", "name", "a b"),
        ("run.name=x-${data.name}-${model.name}", "run", "name", "x-digits-mlp"),
        ("run.dir=/tmp/x.y_z-1", "run", "dir", "/tmp/x.y_z-1"), ("run.dir=null", "run", "dir", None),
        ("optim.lr=1e-2", "optim", "lr", 0.01), ("optim.lr=${optim.eps}", "optim", "lr", 1e-8),
        ("optim.lr=${.eps}", "optim", "lr", 1e-8), ("optim.lr=${..lr_decay.factor}", "optim", "lr", 0.5),
        ("optim.betas=[${lr_decay.factor},0]", "optim", "betas", [0.5, 0.0]),
        ("train.epochs=2.0", "train", "epochs", 2), ("train.epochs=int('3')", "train", "epochs", 3),
    ],
)  # fmt: skip
def test_hydras_grammar(override, node, key, value):
    config = compose([override], known())
    assert config[node][key] == value and type(config[node][key]) is type(value)
    assert config.origins[f"{node}.{key}"] == override
    assert config.origins["train.monitor"] == "conf/config.yaml"


# ---- what is shown


def test_cfg_prints_yaml_with_the_origin_of_each_value(tmp_path, capsys):
    own(tmp_path, {"dropout/mine.yaml": "name: standard\ninput: 0.1\n"})
    line = [
        "optim.lr=0.5",
        "activation=tanh",
        "dropout=mine",
        "train={epochs: 3}",
        "experiment=sine_approximation",
    ]
    assert main(["train", "--cfg", "--config-dir", str(tmp_path), *line]) == 0
    out, err = capsys.readouterr()
    config = configure(line, [tmp_path])
    assert err == "" and yaml.safe_load(out) == config.tree
    found, node = {}, ""
    for row in out.splitlines():
        if head := re.fullmatch(r"(\w+):", row):
            node = head[1]
            continue
        key, origin = re.fullmatch(r"  (\w+): .*?  +# (.+)", row).groups()
        found[f"{node}.{key}"] = origin
    assert set(found) == {f"{n}.{k}" for n, settings in config.tree.items() for k in settings}
    wanted = {
        "optim.lr": "optim.lr=0.5",
        "optim.name": "conf/optim/adam.yaml",
        "optim.eps": "conf/optim/adam.yaml",
        "activation.name": "activation=tanh",
        "dropout.name": "dropout=mine",
        "dropout.input": str(tmp_path / "dropout" / "mine.yaml"),
        "dropout.hidden": "conf/dropout/standard.yaml",
        "train.epochs": "train={epochs: 3}",
        "train.batch_size": "conf/config.yaml",
        "data.name": "conf/experiment/sine_approximation.yaml",
        "data.rows": "conf/data/sine.yaml",
        "data.seed": "conf/config.yaml",
        "model.hidden": "conf/experiment/sine_approximation.yaml",
        "run.name": "conf/config.yaml",
    }
    assert {key: found[key] for key in wanted} == wanted


def test_cfg_is_yaml_whatever_stands_in_a_value(capsys):
    texts = ("a\nb", "a\x1b[31mb", "a # b", "a: b", "größe", "1e5", "no", "\u2028x", "'", "a\tb")
    for text in texts:
        shown = with_run(dir=text).shown()
        assert yaml.safe_load(shown)["run"]["dir"] == text
        assert all(c.isprintable() or c == "\n" for c in shown)
    assert main(["train", "--cfg", "run.dir='a\n\x1b[31m'"]) == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out)["run"]["dir"] == "a\n\x1b[31m" and "\x1b" not in out


def test_a_configuration_without_origins_can_be_shown(tmp_path):
    config = reopen(saved(tmp_path), known())
    assert yaml.safe_load(config.shown()) == config.tree and "#" not in config.shown()


# ---- beside another Hydra


def test_a_program_with_a_hydra_of_its_own_keeps_it(tmp_path):
    (tmp_path / "config.yaml").write_text("theirs: 1\n")
    own(tmp_path / "own", {"optim/mine.yaml": "name: adam\n"})
    store = ConfigStore.instance()
    store.store(group="optim", name="mine", node={"theirs": 2})
    try:
        with initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"):
            before = GlobalHydra.instance().hydra
            assert configure(["optim=mine"], [tmp_path / "own"]).name("optim") == "adam"
            with pytest.raises(Error):
                configure(["optim=nope", "optim.lr=x"])
            assert GlobalHydra.instance().hydra is before
            assert hydra_compose("config") == {"theirs": 1}
            assert hydra_compose("config", overrides=["+optim=mine"])["optim"] == {"theirs": 2}
        configure([])
        assert not GlobalHydra.instance().is_initialized()
    finally:
        del store.repo["optim"]


def test_nothing_of_ones_own_stays_in_hydras_store(tmp_path):
    own(tmp_path, {"optim/mine.yaml": "name: adam\n", "experiment/e.yaml": f"{HEAD}train: {{epochs: 3}}\n"})
    configure([])
    before = set(ConfigStore.instance().repo)
    configure(["optim=mine", "experiment=e"], [tmp_path])
    assert set(ConfigStore.instance().repo) == before and not {"optim", "experiment"} & before
    with pytest.raises(Error, match="no optim named 'mine'"):
        configure(["optim=mine"])


# ---- saved and opened again


def saved(tmp_path, change=lambda text: text, config=None):
    file = tmp_path / "config.yaml"
    text = change((config or default()).saved())
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_any_name_survives_saving(tmp_path):
    for name in (
        "1e5",
        "012",
        "no",
        "null",
        "tRUE",
        "12:30",
        "a: b",
        "größe 日本",
        "x'y",
        '"',
        " a",
        "nan",
        "-",
        "~",
    ):
        assert reopen(saved(tmp_path, config=with_run(name=name)), known())["run"]["name"] == name
    config = compose(["run.name='1e5'"], known())
    assert reopen(saved(tmp_path, config=config), known())["run"]["name"] == "1e5"


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda t: t.replace(f"format: {FORMAT}", f"format: {FORMAT + 1}"), 4, "is newer than this dlfound"),
        (lambda t: t.replace(f"format: {FORMAT}", "format: 0"), 4, "config format 0 is not"),
        (lambda t: t.replace(f"format: {FORMAT}", "format: x"), 4, "config format x is not"),
        (lambda t: t.replace(f"format: {FORMAT}\n", ""), 4, "config format None is not"),
        (lambda t: t + "hydra: {run: {dir: x}}\n", 7, ": hydra: not allowed"),
        (lambda t: t + "defaults: [x]\n", 7, ": defaults: not allowed"),
        (lambda t: t + "_target_: os.system\n", 7, ": _target_: not allowed"),
        (lambda t: t.replace("optim:\n", "optim:\n  _target_: os.system\n"), 7, ": optim._target_: not allowed"),
        (lambda t: t.replace("optim:\n", "optim:\n  deep: [{_partial_: true}]\n"), 7, "_partial_: not allowed"),
        (lambda t: t.replace("name: adam", "name: ${oc.env:HOME}"), 7, ": optim.name: not allowed"),
        (lambda t: t.replace("lr: 0.001", "lr: ${data.seed}"), 7, ": optim.lr: not allowed"),
        (lambda t: t.replace("lr: 0.001", "lr: ['${data.seed}']"), 7, ": optim.lr: not allowed"),
        (lambda t: t + "more: {}\n", 4, "unknown key 'more'"),
        (lambda t: t.replace("lr: 0.001", "lrr: 0.001"), 4, "unknown key 'optim.lrr'"),
        (lambda t: t.replace("lr: 0.001", "lrr: 0.001"), 4, "optim.lr is required"),
        (lambda t: t.replace("lr: 0.001", "lr: x"), 4, "optim.lr must be a finite number > 0, got 'x'"),
        (lambda t: t.replace("name: adam", "name: adm"), 4, "no optim named 'adm'"),
        (lambda t: t.replace("name: adam", "name: [adam]"), 4, "no optim named ['adam']"),
        (lambda t: t.replace("optim:\n", "optim: 3\nold:\n"), 4, "optim must be a mapping"),
        (lambda t: t.replace("optim:\n", "xoptim:\n"), 4, "optim must be a mapping"),
        (lambda t: t + "\ttab: 1\n", 4, "tabs are not allowed"),
        (lambda t: t + "train: {}\n", 4, "duplicate key 'train'"),
        (lambda t: t + "a: &a 1\n", 4, "too complex"),
        (lambda t: b"\xff", 4, "is not UTF-8"),
        (lambda t: "[]", 4, "must be a mapping"),
    ],
)  # fmt: skip
def test_a_strangers_configuration_is_refused(change, code, told, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/canary")
    file = saved(tmp_path, change)
    with pytest.raises(Error) as caught:
        reopen(file, known())
    assert caught.value.code == code
    whats = [p.what for p in caught.value.problems]
    assert any(told in what for what in whats) and all(
        str(file) in what or "required" in what for what in whats
    ), whats
    assert "canary" not in str(whats) and all(p.fix for p in caught.value.problems)


def test_what_is_newer_asks_for_an_upgrade_and_guesses_nothing(tmp_path):  # C19
    file = saved(tmp_path, lambda text: f"format: {FORMAT + 2}\nunknown_to_us: {{a: 1}}\n")
    with pytest.raises(Error) as caught:
        reopen(file, known())
    (problem,) = caught.value.problems
    assert f"is newer than this dlfound ({FORMAT})" in problem.what and "upgrade" in problem.fix


def test_same_run_means_all_but_its_place_and_name():
    one = configure(["optim.lr=0.5"])
    assert differences(one, configure(["optim.lr=0.5", "run.name=other", "run.dir=/x"])) == []
    assert differences(one, configure(["optim.lr=0.4"])) == [("optim.lr", 0.5, 0.4)]
    assert differences(one, configure(["optim.lr=0.5", "run.seed=1"])) == [("run.seed", 0, 1)]


def test_choosing_another_option_takes_the_values_of_its_file():
    config = configure(["optim.lr=0.5"])
    other = config.choose("optim", "sgd")
    assert other["optim"] == read_yaml(conf_folder() / "optim" / "sgd.yaml")
    assert other["train"] == config["train"] and config["optim"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("words", "group", "left_out"),
    [
        (["experiment=mnist_dropout", "dropout=none"], "dropout", ["dropout.input"]),
        (["experiment=sine_approximation", "lr_decay=none"], "lr_decay", ["lr_decay.patience"]),
        (["experiment=glorot_depth", "model=perceptron"], "model", ["model.hidden"]),
    ],
)
def test_one_word_is_enough_to_leave_an_experiments_option(words, group, left_out):
    """What goes with the experiment's own option is left out, and told."""
    config = configure(words)
    assert list(config[group]) == ["name"]
    assert [w.partition(" ")[0] for w in config.warnings] == left_out


def test_what_another_option_takes_too_stays():
    config = configure(["experiment=mnist_dropout", "dropout=gaussian"])
    assert config["dropout"] == {"name": "gaussian", "input": 0.2, "hidden": 0.5} and config.warnings == []
