"""Write docs/ anew: a page for each group of options, from conf/, the docstrings and the settings' kinds.

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
from dlfound.options import groups
from dlfound.options.configure import full_catalog

DOCS = Path(__file__).parent.parent / "docs"
MARK = "<!-- Written by scripts/docs.py from conf/ and the docstrings: change those, and run it again. -->"
UP = "[All groups](README.md)"

INDEX = """\
`group=option` chooses, `group.setting=value` sets; what a command leaves out keeps its default. Each page says what the
group decides, and for each of its options what it does, where it is from, which settings it has, and a command to try.

    dlfound train optim=momentum optim.lr=0.05 'model.hidden=[64,64]'

`--cfg` behind a command shows every value that it stands for, and trains nothing; `dlfound options GROUP` is a group's
page in short, in a terminal."""
EXPERIMENTS = """\
Whole settings under one name: what a paper or the lecture claims, to be seen on one's own machine. What an experiment
sets can be changed by further words, as everything else."""
SHARED = "Every option has these settings, with other values where its own table shows them:"
SETTINGS = "What belongs to no group: how a net is trained, where the run lies, and what it computes on."

# What stands on an option's command beside it: what it needs, or what shows it best.
BESIDE = {
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
    "search=gp": "optim.lr='tag(log, interval(1e-4, 1e-1))' 'dropout.hidden=interval(0,0.8)' dropout=standard",
    "train": "train.epochs=30 train.batch_size=32 train.monitor=accuracy",
    "run": "run.name=first run.seed=1",
}


def pages() -> dict[str, str]:
    """File name in docs/ -> text, of every page."""
    known = full_catalog()
    made = {"README.md": _index(known)}
    made |= {f"{group}.md": _group_page(known, group) for group in known.groups}
    made |= {f"{EXPERIMENT}.md": _experiment_page(known), "settings.md": _settings_page(known)}
    return {name: "\n\n".join(filter(None, [MARK, *blocks])) + "\n" for name, blocks in made.items()}


def written(folder: Path) -> dict[str, str]:
    """The pages in a folder that carry this script's mark, also those of groups that are gone."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return {name: text for name, text in texts.items() if text.startswith(MARK)}


def write(folder: Path) -> None:
    """Every page anew, and no others that carry the mark."""
    made = pages()
    for name in written(folder).keys() - made.keys():
        (folder / name).unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


# ---- pages, as lists of blocks; an empty block is none


def _index(known: Catalog) -> list[str]:
    rows = [[f"[{g}]({g}.md)", _sentence(_about(g)), f"`{known.defaults[g]}`"] for g in known.groups]
    rows.append([f"[{EXPERIMENT}]({EXPERIMENT}.md)", _sentence(EXPERIMENTS), ""])
    rows += [[f"[{n}](settings.md#{n})", _sentence(_doc(o.callable)), ""] for n, o in known.plain.items()]
    return ["# Options", INDEX, _table(["group", "what it decides", "default"], rows)]


def _group_page(known: Catalog, group: str) -> list[str]:
    word = known.defaults[group]
    why = _beside(group).get(f"defaults.{group}")
    default = f"The default is `{group}={word}`{f': {escaped(why)}' if why else ''}."
    described = describe(known, group)
    common = {name: described[word]["settings"][name] for name in known.common(group)}
    shared = f"{SHARED}\n\n{_settings(group, common, _root_reasons(group))}" if common else ""
    links = " · ".join(f"[{w}](#{group}{w})" for w in known.groups[group])
    options = [b for w in known.groups[group] for b in _option(known, group, w, described[w]["settings"])]
    files = f"The values and their reasons stand in [conf/{group}/](../conf/{group}/). {UP}."
    return [f"# {group}", escaped(_about(group)), default, shared, links, *options, "---", files]


def _option(known: Catalog, group: str, word: str, settings: dict[str, Any]) -> list[str]:
    """An option's section; settings that it shares with the whole group stand above, but for values of its own."""
    beside = reasons(known.paths[group][word])
    own = {name: told for name, told in settings.items() if name not in known.common(group) or name in beside}
    text = _prose(_doc(known.option(group, word).callable))
    command = _command(f"{group}={word}", default=word == known.defaults[group])
    return [f"## `{group}={word}`", text, _settings(group, own, beside), *command]


def _settings_page(known: Catalog) -> list[str]:
    blocks = ["# settings", SETTINGS]
    for node, option in known.plain.items():
        told = {
            n: {"type": k.description, "default": known.common(node)[n]} for n, k in option.settings.items()
        }
        table = _settings(node, told, _root_reasons(node))
        blocks += [f"## {node}", _prose(_doc(option.callable)), table, f"    dlfound train {BESIDE[node]}"]
    return [
        *blocks,
        "---",
        f"The values and their reasons stand in [conf/config.yaml](../conf/config.yaml). {UP}.",
    ]


def _experiment_page(known: Catalog) -> list[str]:
    paths = known.paths[EXPERIMENT]
    links = " · ".join(f"[{word}](#{EXPERIMENT}{word})" for word in paths)
    sections = [block for word, path in paths.items() for block in _experiment(word, path)]
    files = f"Each file in [conf/{EXPERIMENT}/](../conf/{EXPERIMENT}/) opens with what is told here. {UP}."
    return [f"# {EXPERIMENT}", EXPERIMENTS, links, *sections, "---", files]


def _experiment(word: str, path: Path) -> list[str]:
    what, *entries = _opening(path)
    content, beside = read_yaml(path), reasons(path)
    chosen = [pair for entry in content.pop("defaults") for pair in entry.items()]
    choices = ", ".join(f"`{group.removeprefix('override /')}={option}`" for group, option in chosen)
    values = {
        f"{node}.{name}": value for node, settings in content.items() for name, value in settings.items()
    }
    rows = [[f"`{key}`", _value(value), escaped(beside[key])] for key, value in values.items()]
    told = [block for entry in entries for block in _entry(entry)]
    table = _table(["setting", "value", "reason"], rows)
    return [f"## `{EXPERIMENT}={word}`", escaped(what), *told, f"It chooses {choices}, and sets:", table]


# ---- blocks


_TABLES = groups.GROUPS | groups.SWEEP_GROUPS


def _about(group: str) -> str:
    """The first paragraph of the module that has the group's table."""
    modules = [m for m in vars(groups).values() if inspect.ismodule(m)]
    return _doc(next(m for m in modules if getattr(m, "TABLE", None) is _TABLES[group])).split("\n\n")[0]


def _doc(documented: Any) -> str:
    return inspect.getdoc(documented) or ""


def _sentence(text: str) -> str:
    return escaped(re.split(r"(?<=\.)\s", text)[0].replace("\n", " "))


def _prose(doc: str) -> str:
    """A docstring as Markdown: paragraphs, indented lines as code, the source in a paragraph of its own."""
    blocks = re.split(r"\n\n+|\n(?=Source:)", doc)
    return "\n\n".join(block if block.startswith("    ") else escaped(block) for block in blocks)


def _command(choice: str, default: bool) -> list[str]:
    verb = "sweep" if choice.partition("=")[0] in groups.SWEEP_GROUPS else "train"
    words = [f"    dlfound {verb}", "" if default else choice, BESIDE.get(choice, "")]
    return ["This is the default, and needs no word:" if default else "", " ".join(filter(None, words))]


def _settings(node: str, settings: dict[str, Any], beside: dict[str, str]) -> str:
    rows = [
        [f"`{node}.{name}`", escaped(told["type"]), _value(told["default"]), escaped(beside[name])]
        for name, told in settings.items()
    ]
    return _table(["setting", "what it may be", "default", "meaning and reason"], rows) if rows else ""


def _value(value: Any) -> str:
    if value == MISSING:
        return "must be given"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text that Markdown shows as it stands; what is between backticks stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    special = r"[\\*~$]|<(?=[\w/!?])|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|&(?=#?\w+;)"
    opening = r"(?m:^[-+#>=]|^\d+[.)](?=\s))"  # of a line: would make a list, a heading or a quotation
    parts[::2] = [
        re.sub(f"{special}|{opening}", lambda m: f"{m[0][:-1]}\\{m[0][-1]}", part) for part in parts[::2]
    ]
    return "".join(parts)


# ---- the comments in conf/


def reasons(path: Path) -> dict[str, str]:
    """Key (`lr`, or with its node `train.epochs`, `defaults.optim`) -> the comment beside its value in a YAML file."""
    found, node = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = re.match(r"( *)(?:- )?(\w+):(?: +([^#]+?))?(?: +# *(.*))?$", line)
        if entry is None:
            continue
        indent, key, value, reason = entry.groups()
        node = node if indent else "" if value else f"{key}."
        if value:
            found[node + key] = reason or ""
    return found


def _beside(node: str) -> dict[str, str]:
    """The reasons in the file that chooses and sets what no option of the group does."""
    return reasons(conf_folder() / ("sweep.yaml" if node in groups.SWEEP_GROUPS else "config.yaml"))


def _root_reasons(node: str) -> dict[str, str]:
    beside = _beside(node)
    return {key.removeprefix(f"{node}."): why for key, why in beside.items() if key.startswith(f"{node}.")}


def _opening(path: Path) -> list[str]:
    """The comments that open an experiment's file: what it shows, its source, what was measured, its commands."""
    lines = takewhile(lambda line: line.startswith("# "), path.read_text(encoding="utf-8").splitlines())
    entries: list[str] = []
    for line in (line.removeprefix("# ") for line in list(lines)[1:]):  # the first one is Hydra's
        if not entries or re.match(r"Source:|Measured:|.*\bdlfound train ", line):
            entries.append(line)
        else:
            entries[-1] += f"\n{line}"
    return entries


def _entry(entry: str) -> list[str]:
    """A line of the opening: a paragraph, or a command with what is said of it before it."""
    command = re.fullmatch(r"(?:(.*): )?(dlfound train [^(]+?)(?: (\(.*\)))?", entry)
    if command is None:
        return [re.sub(r"python scripts/measure\.py \w+", r"`\g<0>`", escaped(entry))]
    lead, words, aside = command.groups()
    said = escaped(" ".join(filter(None, [lead, aside])))
    return [f"{said[0].upper()}{said[1:]}:" if said else "", f"    {words}"]


if __name__ == "__main__":
    write(DOCS)
