"""Options and experiments in folders that a person adds: what they can do, and what is refused."""

import pytest

from dlfound.cli import main
from dlfound.config.catalog import conf_folder
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Code, Error
from dlfound.options.configure import configure

HEAD = "# @package _global_\n"


def write(folder, files):
    """Write the files of a folder of options."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def reported(capsys, folder, *overrides):
    """What `dlfound train --cfg --config-dir` reports, exit code 2: (message, fix) pairs."""
    assert main(["train", "--cfg", "--config-dir", str(folder), *overrides]) == Code.CONFIG
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err and "cannot be composed" not in err
    lines = err.splitlines()
    assert all(line.startswith("dlfound: error[config]: ") for line in lines[::2]), err
    return list(zip(lines[::2], lines[1::2], strict=True))


def test_an_own_option_names_only_what_differs(tmp_path):
    write(tmp_path, {"optim/mine.yaml": "name: momentum\nlr: 0.5  # why\n"})
    config = configure(["optim=mine"], [tmp_path])
    momentum = read_yaml(conf_folder() / "optim" / "momentum.yaml")
    assert config["optim"] == {**momentum, "lr": 0.5}
    assert config.origins["optim.lr"] == str(tmp_path / "optim" / "mine.yaml")
    assert config.origins["optim.momentum"] == "conf/optim/momentum.yaml"
    assert config.origins["optim.name"] == "optim=mine"


def test_what_an_own_option_leaves_out_can_be_set_and_referred_to(tmp_path):
    write(tmp_path, {"optim/mine.yaml": "name: adam\nlr: ${optim.eps}\n", "optim/other.yaml": "name: adam\n"})
    assert configure(["optim=mine", "optim.eps=0.25"], [tmp_path])["optim"]["lr"] == 0.25
    assert configure(["optim=other"], [tmp_path])["optim"] == configure(["optim=adam"])["optim"]


def test_own_files_are_read_as_a_person_means_them(tmp_path):
    text = "name: passfail\ntarget: no\nrows: 012\nnoise: 1e1\n"
    write(tmp_path, {"data/mine.yaml": text})
    with pytest.raises(Error, match=r"data.target must be .*, got 'no'"):
        configure(["data=mine"], [tmp_path])
    config = configure(["data=mine", "data.target=grade"], [tmp_path])
    assert config["data"]["rows"] == 12 and config["data"]["noise"] == 10.0


def test_options_from_several_folders(tmp_path):
    experiment = f"{HEAD}train: {{epochs: 3}}\n"
    first = write(tmp_path / "a", {"optim/one.yaml": "name: sgd\nlr: 1\n"})
    second = write(
        tmp_path / "b", {"optim/two.yaml": "name: sgd\nlr: 2\n", "experiment/both.yaml": experiment}
    )
    assert configure(["optim=one"], [first, second])["optim"]["lr"] == 1.0
    config = configure(["optim=two", "experiment=both"], [first, second])
    assert config["optim"]["lr"] == 2.0 and config["train"]["epochs"] == 3


def test_an_own_experiment_with_an_own_option(tmp_path):
    choice = f"{HEAD}defaults:\n  - override /optim: mine\n  - _self_\n"
    values = "train:\n  epochs: 77\nrun:\n  name: ${data.name}_try\n"
    files = {"optim/mine.yaml": "name: momentum\nlr: 0.3\n", "experiment/try.yaml": choice + values}
    write(tmp_path, files)
    config = configure(["experiment=try"], [tmp_path])
    assert config["optim"]["name"] == "momentum" and config["optim"]["lr"] == 0.3
    assert config["train"]["epochs"] == 77 and config["run"]["name"] == "digits_try"
    label = str(tmp_path / "experiment" / "try.yaml")
    assert config.origins["optim.name"] == config.origins["run.name"] == label
    assert configure(["experiment=try", "optim=sgd"], [tmp_path]).name("optim") == "sgd"


def test_an_own_file_may_not_hide_another(tmp_path, capsys):
    write(tmp_path / "a", {"optim/adam.yaml": "name: adam\nlr: 0.5\n"})
    ((message, fix),) = reported(capsys, tmp_path / "a")
    assert f"{tmp_path}/a/optim/adam.yaml: optim=adam already exists" in message and "another name" in fix
    for name in ("b", "c"):
        write(tmp_path / name, {"optim/mine.yaml": "name: adam\n"})
    with pytest.raises(Error, match=r"c/optim/mine\.yaml: optim=mine already exists"):
        configure([], [tmp_path / "b", tmp_path / "c"])


# ---- files that are refused; behind >>, part of the fix


OPTION_FILES = [
    ("name: adam\nlrr: 1\n", "unknown key 'optim.lrr' ({file}) >> did you mean optim.lr=1?"),
    ("name: adam\n_target_: os.system\n", "unknown key 'optim._target_' ({file}) >> choose from: optim.lr, "),
    ("name: adam\nhydra: x\n", "unknown key 'optim.hydra' ({file}) >> choose from: optim.lr, "),
    ("name: adam\nlr: abc\n", "optim.lr must be a finite number > 0, got 'abc' ({file})"),
    ("name: adam\nlr: no\n", "optim.lr must be a finite number > 0, got 'no' ({file})"),
    ("name: adam\nlr: -1\n", "optim.lr must be a finite number > 0, got -1 ({file})"),
    ("name: adam\nlr: 1_0\n", "optim.lr must be a finite number > 0, got '1_0' ({file})"),
    ("name: adam\nlr: 12:30:00\n", "optim.lr must be a finite number > 0, got '12:30:00' ({file})"),
    ("name: adam\nbetas: [0.9, [1]]\n",
    "optim.betas must be a list of two numbers in [0, 1), got [0.9, [1]] ({file})"),
    ("name: adam\nlr: ???\n", "optim.lr is required: a finite number > 0 >> give it as optim.lr=..."),
    ("name: adam\nlr: ${nope.x}\n", "optim.lr refers to 'nope.x', which does not exist ({file})"),
    ("name: adam\nlr: ${optim.lr}\n", "optim.lr: '${optim.lr}' leads back to itself, "),
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
]  # fmt: skip


def test_a_bad_option_file_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", "/canary")
    file = tmp_path / "optim" / "mine.yaml"
    for content, expected in OPTION_FILES:
        write(tmp_path, {"optim/mine.yaml": content})
        pairs = reported(capsys, tmp_path, "optim=mine")
        message, _, fix = expected.partition(">> ")
        message = message.strip().replace("{file}", str(file))
        assert any(message in m and fix in f for m, f in pairs), f"{content[:50]}\n{pairs}"
        assert "canary" not in str(pairs)


EXPERIMENT_FILES = [
    ("train:\n  epochs: 3\n", "{file} must begin with the line '# @package _global_'"),
    (HEAD + "trian:\n  epochs: 3\n", "unknown key 'trian' ({file})"),
    (HEAD + "train:\n  epohcs: 3\n", "unknown key 'train.epohcs' ({file})"),
    (HEAD + "train:\n  name: x\n", "unknown key 'train.name' ({file})"),
    (HEAD + "train:\n  epochs: 0\n", "train.epochs must be a whole number >= 1, got 0 ({file})"),
    (HEAD + "train: 3\n", "train must be a mapping of settings ({file})"),
    (HEAD + "train: [1]\n", "train must be a mapping of settings ({file})"),
    (HEAD + "train: null\n", "train must be a mapping of settings ({file})"),
    (HEAD + "optim: sgd\n", "optim must be a mapping of settings ({file})"),
    (HEAD + "optim: {name: sgd}\n", "{file}: optim.name is set by choosing an option"),
    (HEAD + "optim: {momentum: 0.5}\n", "unknown key 'optim.momentum' ({file})"),
    (HEAD + "defaults:\n  - override /optim: nope\n",
     "{file}: no such choice in defaults: override /optim: nope"),
    (HEAD + "defaults:\n  - override /optm: sgd\n",
     "{file}: no such choice in defaults: override /optm: sgd"),
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
    (HEAD + "run: {name: '${oc.env:HOME}'}\n",
     "{file}: resolvers are not allowed in a configuration: run.name"),
    (HEAD + "optim: {betas: ['${oc.env:HOME}', 1]}\n",
     "{file}: resolvers are not allowed in a configuration"),
    (HEAD + "optim: {sub: {x: '${oc.env:HOME}'}}\n", "{file}: optim.sub is not allowed"),
    (HEAD + "run: {name: '${data.nmae}'}\n", "run.name refers to 'data.nmae', which does not exist ({file})"),
    (HEAD + "train:\n\tepochs: 3\n", "{file}:3:1: tabs are not allowed"),
    (HEAD, "{file} must be a mapping of names to values"),
    (b"\xff\xfe", "{file} is not UTF-8"),
]  # fmt: skip


def test_a_bad_experiment_file_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", "/canary")
    file = tmp_path / "experiment" / "mine.yaml"
    for content, expected in EXPERIMENT_FILES:
        write(tmp_path, {"experiment/mine.yaml": content})
        pairs = reported(capsys, tmp_path, "experiment=mine")
        assert any(expected.replace("{file}", str(file)) in message for message, _ in pairs), (
            f"{content}\n{pairs}"
        )
        assert "canary" not in str(pairs)


def test_mistakes_in_files_and_overrides_are_reported_together(tmp_path, capsys):
    write(tmp_path, {"optim/mine.yaml": "name: adm\n", "dropout/odd.yaml": "name: standard\nhiden: 1\n"})
    pairs = reported(capsys, tmp_path, "optim=mine", "dropout=odd", "train.epohcs=1", "lr_decay.factor=2")
    messages = "\n".join(message for message, _ in pairs)
    parts = ("optim/mine.yaml: name must be", "'dropout.hiden'", "'train.epohcs'", "lr_decay.factor must be")
    assert [part for part in parts if part not in messages] == []


def test_a_broken_file_that_is_not_chosen_is_ignored(tmp_path, capsys):
    write(tmp_path, {"dropout/broken.yaml": "name: [\n", "nothing/x.yaml": "a: [", "optim/notes.txt": "x"})
    assert configure(["dropout=standard"], [tmp_path]).name("dropout") == "standard"
    pairs = reported(capsys, tmp_path, "dropout.hidden=0.5", "optm=1")
    assert "dropout=none has no setting 'dropout.hidden'" in pairs[0][0]
    assert "unknown key 'optm'" in pairs[1][0]


def test_a_config_dir_that_is_not_a_folder(tmp_path, capsys):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file"):
        ((message, _),) = reported(capsys, folder)
        assert f"--config-dir {folder} is not a folder" in message
