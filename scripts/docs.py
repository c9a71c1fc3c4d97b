"""Write the pages of options in docs/: one for each group, from conf/, docstrings and the types of settings.

python scripts/docs.py
"""

import inspect
import json
import re
from itertools import takewhile
from pathlib import Path
from typing import Any

from dlfound.commands.options import describe
from dlfound.config.catalog import EXPERIMENT, Catalog, conf_folder
from dlfound.config.setting_types import MISSING
from dlfound.config.yaml_files import read_yaml
from dlfound.options import configure
from dlfound.options.configure import GROUPS, SWEEP_GROUPS, full_catalog

DOCS = Path(__file__).parent.parent / "docs"
MARK = "<!-- Written by scripts/docs.py from conf/ and the docstrings: change those and run the script. -->"
UP = "[All groups](README.md)"

INDEX = """\
[Guide](guide.md): all verbs · [Tables](tables.md) · [Checks](check.md) · [Sweeps](sweep.md) ·
[Python](python.md) · [Reliability](reliability.md) · [Measurements](measured.md) ·
[Log](LOG.md): what was tried and dropped

`group=option` chooses an option, and `group.setting=value` gives a value; everything else keeps its default.
Each page below says what its group decides. For each option it gives the effect, the source, the settings and
a command to try.

    dlfound train optim=momentum optim.lr=0.05 'model.hidden=[64,64]'

With `--cfg` a command prints every value and trains nothing. `dlfound options GROUP` prints a short form of
the page of a group."""
EXPERIMENTS = """\
An experiment is a set of options and values under one name. It shows on your machine what a paper or the
lecture claims.
Further overrides change its values."""
SHARED = "Every option has these settings; the table of an option shows its own values:"
SETTINGS = (
    "Settings that belong to no group: how a net is trained, the folder of the run, its seed and its device."
)

# Overrides in the command of an option: those that it needs, or that show it best.
WITH = {
    "data=image_folder": "data.path=my_images",
    "data=arrays": "--cfg",
    "data=table": "data.path=houses.csv data.target=price --dry-run",
    "model=mlp": "'model.hidden=[64,64,64]'",
    "model=perceptron": "data=xor",
    "activation=identity": "data=circles",
    "initializer=lecun_normal": "activation=selu",
    "loss=binary_cross_entropy": "data=moons",
    "loss=mse": "data=sine",
    "loss=mae": "data=sine data.noise=0.3",
    "loss=huber": "data=sine data.noise=0.3",
    "optim=lbfgs": "data=moons",
    "lr_decay=step": "lr_decay.step_size=10 train.epochs=30 early_stopping=none",
    "lr_decay=linear": "train.epochs=30 early_stopping=none",
    "lr_decay=cosine": "train.epochs=30 early_stopping=none",
    "lr_decay=one_cycle": "train.epochs=30 early_stopping=none",
    "early_stopping=none": "train.epochs=30",
    "search=random": "optim.lr='tag(log, interval(1e-4, 1e-1))'",
    "search=grid": "optim=adam,sgd optim.lr=0.001,0.01,0.1",
    "search=sobol": "optim.lr='tag(log, interval(1e-4, 1e-1))' 'train.batch_size=int(interval(16,256))'",
    "search=tpe": "optim=adam,sgd optim.lr='tag(log, interval(1e-4, 1e-1))'",
    "search=gp": "optim.lr='tag(log,interval(1e-4,1e-1))' dropout=standard dropout.hidden='interval(0,0.8)'",
    "train": "train.epochs=30 train.batch_size=32 train.monitor=accuracy",
    "run": "run.name=first run.seed=1",
}


def pages() -> dict[str, str]:
    """File name in docs/ -> text of the page."""
    catalog = full_catalog()
    pages = {"README.md": _index(catalog)}
    pages |= {f"{group}.md": _group_page(catalog, group) for group in catalog.groups}
    pages |= {f"{EXPERIMENT}.md": _experiment_page(catalog), "settings.md": _settings_page(catalog)}
    return {name: "\n\n".join(filter(None, [MARK, *blocks])) + "\n" for name, blocks in pages.items()}


def written(folder: Path) -> dict[str, str]:
    """The pages in a folder that this script wrote, including those of groups that no longer exist."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return {name: text for name, text in texts.items() if text.startswith(MARK)}


def write(folder: Path) -> None:
    """Write every page, and remove pages of this script that no longer have a group."""
    texts = pages()
    for name in written(folder).keys() - texts.keys():
        (folder / name).unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


# ---- pages, as lists of blocks; empty blocks are dropped


def _index(catalog: Catalog) -> list[str]:
    rows = [[f"[{g}]({g}.md)", _sentence(_about(g)), f"`{catalog.defaults[g]}`"] for g in catalog.groups]
    rows.append([f"[{EXPERIMENT}]({EXPERIMENT}.md)", _sentence(EXPERIMENTS), ""])
    rows += [[f"[{n}](settings.md#{n})", _sentence(_doc(o.callable)), ""] for n, o in catalog.plain.items()]
    return ["# Options", INDEX, _table(["group", "what it decides", "default"], rows)]


def _group_page(catalog: Catalog, group: str) -> list[str]:
    word = catalog.defaults[group]
    reason = _root_comments(group).get(f"defaults.{group}")
    default = f"The default is `{group}={word}`{f': {escaped(reason)}' if reason else ''}."
    described = describe(catalog, group)
    common = {name: described[word]["settings"][name] for name in catalog.common(group)}
    shared = f"{SHARED}\n\n{_settings(group, common, _root_reasons(group))}" if common else ""
    links = " · ".join(f"[{w}](#{group}{w})" for w in catalog.groups[group])
    options = [b for w in catalog.groups[group] for b in _option(catalog, group, w, described[w]["settings"])]
    files = f"[conf/{group}/](../conf/{group}/) has the values and the reasons for them. {UP}."
    return [f"# {group}", escaped(_about(group)), default, shared, links, *options, "---", files]


def _option(catalog: Catalog, group: str, word: str, settings: dict[str, Any]) -> list[str]:
    """The section of an option, without settings that all options of the group share at the same value."""
    comments = reasons(catalog.paths[group][word])
    special = {n: s for n, s in settings.items() if n not in catalog.common(group) or n in comments}
    text = _prose(_doc(catalog.option(group, word).callable))
    command = _command(f"{group}={word}", default=word == catalog.defaults[group])
    return [f"## `{group}={word}`", text, _settings(group, special, comments), *command]


def _settings_page(catalog: Catalog) -> list[str]:
    blocks = ["# settings", SETTINGS]
    for node, option in catalog.plain.items():
        defaults = catalog.values(node)
        described = {n: {"type": s.description, "default": defaults[n]} for n, s in option.settings.items()}
        table = _settings(node, described, _root_reasons(node))
        blocks += [f"## {node}", _prose(_doc(option.callable)), table, f"    dlfound train {WITH[node]}"]
    files = f"[conf/config.yaml](../conf/config.yaml) has the values and the reasons for them. {UP}."
    return [*blocks, "---", files]


def _experiment_page(catalog: Catalog) -> list[str]:
    paths = catalog.paths[EXPERIMENT]
    links = " · ".join(f"[{word}](#{EXPERIMENT}{word})" for word in paths)
    sections = [block for word, path in paths.items() for block in _experiment(word, path)]
    files = f"This page is made from the files in [conf/{EXPERIMENT}/](../conf/{EXPERIMENT}/). {UP}."
    return [f"# {EXPERIMENT}", EXPERIMENTS, links, *sections, "---", files]


def _experiment(word: str, path: Path) -> list[str]:
    claim, *entries = _opening(path)
    content = read_yaml(path)
    comments = reasons(path)
    chosen = [pair for entry in content.pop("defaults") for pair in entry.items()]
    choices = ", ".join(f"`{group.removeprefix('override /')}={option}`" for group, option in chosen)
    values = {
        f"{node}.{name}": value for node, settings in content.items() for name, value in settings.items()
    }
    rows = [[f"`{key}`", _value(value), escaped(comments[key])] for key, value in values.items()]
    blocks = [block for entry in entries for block in _entry(entry)]
    table = _table(["setting", "value", "reason"], rows)
    return [f"## `{EXPERIMENT}={word}`", escaped(claim), *blocks, f"It chooses {choices}, and sets:", table]


# ---- blocks


_TABLES = GROUPS | SWEEP_GROUPS


def _about(group: str) -> str:
    """What the docstring of the group's module says after "group:", or in its first paragraph."""
    modules = [m for m in vars(configure).values() if inspect.ismodule(m)]
    table = _TABLES[group]
    paragraphs = _doc(next(m for m in modules if any(v is table for v in vars(m).values()))).split("\n\n")
    about = next((text for text in paragraphs if text.startswith(f"{group}:")), paragraphs[0])
    return about.removeprefix(f"{group}:").strip()


def _doc(documented: Any) -> str:
    return inspect.getdoc(documented) or ""


def _sentence(text: str) -> str:
    return escaped(re.split(r"(?<=\.)\s", text)[0].replace("\n", " "))


def _prose(doc: str) -> str:
    """A docstring as Markdown: paragraphs, indented lines as code, the source as a paragraph."""
    blocks = re.split(r"\n\n+|\n(?=Source:)", doc)
    return "\n\n".join(block if block.startswith("    ") else escaped(block) for block in blocks)


def _command(choice: str, default: bool) -> list[str]:
    verb = "sweep" if choice.partition("=")[0] in SWEEP_GROUPS else "train"
    words = [f"    dlfound {verb}", "" if default else choice, WITH.get(choice, "")]
    return ["This is the default; it needs no override:" if default else "", " ".join(filter(None, words))]


def _settings(node: str, settings: dict[str, Any], comments: dict[str, str]) -> str:
    rows = [
        [f"`{node}.{name}`", escaped(setting["type"]), _value(setting["default"]), escaped(comments[name])]
        for name, setting in settings.items()
    ]
    return _table(["setting", "allowed values", "default", "meaning and reason"], rows) if rows else ""


def _value(value: Any) -> str:
    if value == MISSING:
        return "required"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text that Markdown shows literally; text between backticks remains code."""
    parts = re.split(r"(`[^`]*`)", text)
    special = r"[\\*~$]|<(?=[\w/!?])|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|&(?=#?\w+;)"
    opening = r"(?m:^[-+#>=]|^\d+[.)](?=\s))"  # at the start of a line: a list, a heading or a quotation
    parts[::2] = [
        re.sub(f"{special}|{opening}", lambda m: f"{m[0][:-1]}\\{m[0][-1]}", part) for part in parts[::2]
    ]
    return "".join(parts)


# ---- the comments in conf/


def reasons(path: Path) -> dict[str, str]:
    """Key (`lr`; in a root file `train.epochs` or `defaults.optim`) -> the comment on its line."""
    comments = {}
    node = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = re.match(r"( *)(?:- )?(\w+):(?: +([^#]+?))?(?: +# *(.*))?$", line)
        if entry is None:
            continue
        indent, key, value, reason = entry.groups()
        node = node if indent else "" if value else f"{key}."
        if value:
            comments[node + key] = reason or ""
    return comments


def _root_comments(node: str) -> dict[str, str]:
    """The comments in the root file that has the node."""
    return reasons(conf_folder() / ("sweep.yaml" if node in SWEEP_GROUPS else "config.yaml"))


def _root_reasons(node: str) -> dict[str, str]:
    """Setting -> its comment in the root file."""
    comments = _root_comments(node)
    return {
        key.removeprefix(f"{node}."): text for key, text in comments.items() if key.startswith(f"{node}.")
    }


def _opening(path: Path) -> list[str]:
    """The comments at the top of an experiment's file: claim, source, measurement, commands."""
    lines = takewhile(lambda line: line.startswith("# "), path.read_text(encoding="utf-8").splitlines())
    entries: list[str] = []
    for line in (line.removeprefix("# ") for line in list(lines)[1:]):  # the first line is for Hydra
        if not entries or re.match(r"Source:|Measured:|.*\bdlfound train ", line):
            entries.append(line)
        else:
            entries[-1] += f"\n{line}"
    return entries


def _entry(entry: str) -> list[str]:
    """One of these comments: a paragraph, or a command with the text about it in front."""
    command = re.fullmatch(r"(?:(.*): )?(dlfound train [^(]+?)(?: (\(.*\)))?", entry)
    if command is None:
        return [re.sub(r"python scripts/measure\.py \w+", r"`\g<0>`", escaped(entry))]
    lead, words, aside = command.groups()
    text = escaped(" ".join(filter(None, [lead, aside])))
    return [f"{text[0].upper()}{text[1:]}:" if text else "", f"    {words}"]


if __name__ == "__main__":
    write(DOCS)
