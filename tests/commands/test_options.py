"""`dlfound options`: every group, option and setting, for people and as JSON."""

import json
import re
from pathlib import Path

from support.commands import printed, reported

from dlfound.config.catalog import EXPERIMENT
from dlfound.config.setting_types import MISSING
from dlfound.config.yaml_files import read_yaml
from dlfound.options.configure import GROUPS, SWEEP_GROUPS, catalog, full_catalog

CONF = Path(__file__).parents[2] / "conf"
EVERY = GROUPS | SWEEP_GROUPS


def yamls(group):
    return {path.stem: path for path in (CONF / group).glob("*.yaml")}


def test_options_as_json(capsys):
    shown = json.loads(printed(capsys, "options", "--json"))
    assert list(shown) == [*EVERY, EXPERIMENT]
    known = full_catalog()
    count = 0
    for group, words in shown.items():
        assert list(words) == sorted(yamls(group))
        for word, about in words.items():
            count += 1
            assert set(about) == {"summary", "source", "settings"}
            assert isinstance(about["source"], str)
            assert len(about["summary"]) > 10 and "\n" not in about["summary"], (
                f"{group}={word} has no summary"
            )
            for setting in about["settings"].values():
                assert set(setting) == {"type", "default"}
                assert isinstance(setting["type"], str) and setting["type"]
            if group != EXPERIMENT:
                assert list(about["settings"]) == list(known.option(group, word).settings)
                values = known.common(group) | read_yaml(CONF / group / f"{word}.yaml")
                defaults = {name: setting["default"] for name, setting in about["settings"].items()}
                assert defaults == {name: values[name] for name in about["settings"]}
    assert count > 40
    assert shown["optim"]["adam"]["settings"]["lr"] == {"type": "a finite number > 0", "default": 0.001}
    assert "Kingma" in shown["optim"]["adam"]["source"]


def test_the_json_of_one_group_is_its_part(capsys):
    shown = json.loads(printed(capsys, "options", "--json"))
    for group in shown:
        assert json.loads(printed(capsys, "options", group, "--json")) == {group: shown[group]}


def test_the_overview_names_every_word_and_stars_the_defaults(capsys):
    rows = printed(capsys, "options").splitlines()
    found = {row.split()[0]: row.split()[1:] for row in rows if row and row[0].isalpha()}
    for group in [*GROUPS, EXPERIMENT]:
        default = catalog().defaults.get(group)
        assert found[group] == [f"{word}*" if word == default else word for word in sorted(yamls(group))]
    for node, option in catalog().plain.items():
        assert found[node] == list(option.settings)


def test_a_group_in_detail(capsys):
    for group in (*GROUPS, EXPERIMENT):
        text = printed(capsys, "options", group)
        heads = re.findall(rf"^{group}=(\S+)(  \(default\))?$", text, re.MULTILINE)
        assert [word for word, _ in heads] == sorted(yamls(group))
        assert [word for word, default in heads if default] == [
            w for w in [catalog().defaults.get(group)] if w
        ]
        described = json.loads(printed(capsys, "options", group, "--json"))[group]
        for about in described.values():
            assert about["summary"] in text and about["source"] in text
            for name, setting in about["settings"].items():
                assert f"    {group}.{name}={json.dumps(setting['default'])}  ({setting['type']})" in text


def test_a_setting_that_must_be_given_has_no_default(capsys):
    shown = json.loads(printed(capsys, "options", "--json"))
    for group, words in shown.items():
        for word, about in words.items():
            file = read_yaml(CONF / group / f"{word}.yaml")
            needed = [name for name, setting in about["settings"].items() if setting["default"] == MISSING]
            assert needed == [name for name, value in file.items() if value == MISSING]


def test_a_group_that_does_not_exist(capsys):
    words = {
        "optm": "optim", "scheduler": "lr_decay", "trian": "train", "lr": "optim", "optimizer.lr": "optim",
        "patience": "early_stopping", "adam": "optim", "tpe": "search", "moons": "data",
        "l2": "regularizer", "layer": "batchnorm", "normal": "initializer", "gaussian": "dropout",
        "linear": "lr_decay", "spirals_depth": "experiment",
    }  # fmt: skip
    for word, group in words.items():
        ((message, fix),) = reported(capsys, "options", word)
        assert f"no group '{word}'; choose from: data, model, " in message
        assert fix == f"  fix: did you mean dlfound options {group}?"
    assert (
        "did you mean dlfound options batchnorm or dropout or " in reported(capsys, "options", "none")[0][1]
    )
    assert reported(capsys, "options", "zebra")[0][1] == "  fix: see dlfound options"
    ((message, fix),) = reported(capsys, "options", "optim", "data")
    assert "unexpected argument: data" in message and "dlfound options --help" in fix
    reported(capsys, "options", "optim", " ")


def test_a_setting_or_an_option_shows_its_group(capsys):
    for word in (
        "optim.lr",
        "optim=adam",
        "search.workers",
        "search=tpe",
        "train.epochs",
        "experiment=adam_vs",
    ):
        group = re.split("[.=]", word)[0]
        for flags in ([], ["--json"]):
            assert printed(capsys, "options", word, *flags) == printed(capsys, "options", group, *flags)


def test_an_added_option_is_listed_with_the_values_that_it_inherits(capsys, tmp_path):
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("name: momentum\nlr: 0.5\n")
    shown = json.loads(printed(capsys, "options", "optim", "--json", "--config-dir", str(tmp_path)))["optim"]
    assert set(shown) == {*yamls("optim"), "mine"}
    assert shown["mine"]["summary"] == shown["momentum"]["summary"]
    assert {name: s["default"] for name, s in shown["mine"]["settings"].items()} == {
        "lr": 0.5,
        "momentum": 0.9,
    }
    (tmp_path / "optim" / "mine.yaml").write_text("name: momentun\n")
    ((message, fix),) = reported(capsys, "options", "optim", "--config-dir", str(tmp_path))
    assert "optim/mine.yaml: name must be one of" in message and "did you mean name: momentum?" in fix
