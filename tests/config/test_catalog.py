"""The catalog: one YAML file for each built-in option, with a reason beside each value."""

import re
from pathlib import Path

import pytest

from dlfound.config.catalog import EXPERIMENT, conf_folder
from dlfound.config.yaml_files import read_yaml
from dlfound.options.configure import GROUPS, NODES, SWEEP_GROUPS, catalog, full_catalog

CONF = Path(__file__).parents[2] / "conf"
EVERY = GROUPS | SWEEP_GROUPS


def yamls(group):
    return {path.stem: path for path in (CONF / group).glob("*.yaml")}


# ---- built-in options


def test_the_installed_files_are_those_of_the_repository():
    assert conf_folder().resolve() == CONF.resolve()


@pytest.mark.parametrize("group", EVERY)
def test_every_entry_has_a_yaml_and_every_yaml_an_entry(group):
    files = yamls(group)
    assert set(files) == set(EVERY[group])
    assert full_catalog().words(group) == sorted(files) and len(files) >= 2
    for word, path in files.items():
        content = read_yaml(path)
        assert next(iter(content)) == "name" and content["name"] == word, path
        assert not path.read_text(encoding="utf-8").startswith("\ufeff")


def test_conf_holds_nothing_but_options_and_two_root_files():
    folders = {path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml"))}
    assert folders == {*EVERY, EXPERIMENT}
    assert {path.name for path in CONF.rglob("*") if path.is_file() and "__pycache__" not in path.parts} == {
        "__init__.py",
        "config.yaml",
        "sweep.yaml",
        *(f"{word}.yaml" for group in folders for word in yamls(group)),
    }
    assert sum(len(yamls(group)) for group in EVERY) == sum(len(table) for table in EVERY.values()) > 40
    assert len(yamls(EXPERIMENT)) >= 2


def test_the_root_chooses_one_option_of_each_group():
    root = read_yaml(CONF / "config.yaml")
    chosen = [entry for entry in root["defaults"] if entry != "_self_"]
    assert root["defaults"][0] == "_self_" and chosen[-1] == {EXPERIMENT: None}
    assert {next(iter(entry)): next(iter(entry.values())) for entry in chosen[:-1]} == catalog().defaults
    assert list(catalog().defaults) == list(GROUPS)
    assert set(root) - {"defaults"} <= {*GROUPS, *NODES}
    assert {node: set(root[node]) for node in NODES} == {
        node: set(catalog().plain[node].settings) for node in NODES
    }


def test_every_value_has_its_reason_beside_it():
    files = [path for path in sorted(CONF.rglob("*.yaml")) if path.parent.name != EXPERIMENT]
    bare = set()
    seen = 0
    for path in files:
        node = ""
        covered = False
        for line in path.read_text(encoding="utf-8").splitlines():
            value = re.match(r"( *)(\w+):(?: +([^#]+?))?(?: +#(.*))?$", line)
            if value is None or value[2] in ("name", "defaults"):
                continue
            indent, key, text, reason = value.groups()
            node = "" if not indent and text else node if indent else f"{key}."
            if text is None:
                continue
            seen += 1
            covered = "below" in reason if reason else covered  # "as the three below"
            if not (reason or covered):
                bare.add((path.relative_to(CONF).with_suffix("").as_posix(), node + key))
    assert seen > 60
    assert bare == set()


@pytest.mark.parametrize("word", sorted(yamls(EXPERIMENT)))
def test_every_experiment_says_why_and_where_it_is_from(word):
    head = (CONF / EXPERIMENT / f"{word}.yaml").read_text(encoding="utf-8").split("defaults:")[0].splitlines()
    assert head[0] == "# @package _global_" and len(head[1]) > 20
    assert any(line.startswith("# Source: ") for line in head)
    assert f"# dlfound train experiment={word}" in head
