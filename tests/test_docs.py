"""docs/ says all that conf/ and the docstrings say; its commands compose, and its links lead somewhere."""

import html
import inspect
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from dlfound.cli import main
from dlfound.config.catalog import EXPERIMENT
from dlfound.config.yaml_files import read_yaml
from dlfound.options.configure import full_catalog as catalog

ROOT = Path(__file__).parent.parent
CONF, DOCS = ROOT / "conf", ROOT / "docs"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
VERBS = r"^    dlfound ((?:train|sweep)\b.*)$"
# tests/test_readme.py runs those of the guide.
COMMANDS = sorted(
    {c for name, text in TEXTS.items() if name != "guide.md" for c in re.findall(VERBS, text, re.MULTILINE)}
)
GROUPS = [
    path.name for path in sorted(CONF.iterdir()) if any(path.glob("*.yaml")) and path.name != EXPERIMENT
]
OPTIONS = [f"{path.parent.name}={path.stem}" for path in sorted(CONF.glob("*/*.yaml"))]
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "scripts" / "docs.py"))


def words_of(markdown):
    """What a reader sees of Markdown: the words alone, with single blanks."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", MARKDOWN.render(markdown))).split())


def plain(text):
    """Text as it should be seen; docstrings mark code by backticks."""
    return " ".join(text.replace("`", " ").split())


def sections(name):
    """Heading -> what stands below it, in Markdown."""
    parts = re.split(r"^##? (.*)$", TEXTS[name], flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def section(option):
    return sections(f"{option.partition('=')[0]}.md")[f"`{option}`"]


def rows(markdown):
    """The cells of all tables' rows."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [
        [words_of(cell.replace("\\|", "|")) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
    ]


def slug(heading):
    """The anchor that a heading gets: small letters, digits, _ and -."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# ---- current and complete


def test_the_pages_are_current(script):
    assert script["written"](DOCS) == script["pages"](), "run python scripts/docs.py"


def test_what_is_written_by_hand_stays_and_what_is_gone_goes(script, tmp_path):
    (tmp_path / "colour.md").write_text(f"{script['MARK']}\n\n# colour\n")
    (tmp_path / "optim.md").write_text(f"{script['MARK']}\n\n# old\n")
    (tmp_path / "mine.md").write_text("# mine\n")
    assert script["written"](tmp_path).keys() == {"colour.md", "optim.md"}
    script["write"](tmp_path)
    assert script["written"](tmp_path) == script["pages"]()
    assert (tmp_path / "mine.md").read_text() == "# mine\n" and not (tmp_path / "colour.md").exists()


def test_every_group_has_its_page_and_every_option_its_section():
    assert {f"{group}.md" for group in [*GROUPS, EXPERIMENT]} | {"README.md", "settings.md"} <= set(TEXTS)
    documented = [
        head.strip("`") for group in [*GROUPS, EXPERIMENT] for head in sections(f"{group}.md") if "=" in head
    ]
    assert sorted(documented) == sorted(OPTIONS) and len(documented) > 80
    assert list(sections("settings.md")) == ["settings", "train", "run"]


@pytest.mark.parametrize("group", GROUPS)
def test_an_option_tells_its_docstring_settings_and_reasons(group):
    for word, path in ((path.stem, path) for path in (CONF / group).glob("*.yaml")):
        below, option = section(f"{group}={word}"), catalog().option(group, word)
        doc = inspect.getdoc(option.callable)
        assert words_of(below).startswith(plain(doc)), path
        command = "" if word == catalog().defaults[group] else f" {group}={word}"
        verb = "sweep" if group == "search" else "train"
        assert re.findall(rf"^    dlfound {verb}(?: |$).*", below, re.MULTILINE)[-1].startswith(
            f"    dlfound {verb}{command}"
        )
        table = {name: cells for name, *cells in rows(below)[1:]}
        assert list(table) == [f"{group}.{name}" for name in option.settings if name in read_yaml(path)], path
        for name, value in list(read_yaml(path).items())[1:]:
            line = re.search(rf"^{name}: .*?# (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            says, default, reason = table[f"{group}.{name}"]
            assert says == plain(option.settings[name].description) and reason == plain(line[1])
            plainly = value if isinstance(value, str) else json.dumps(value)
            assert default == ("required" if value == "???" else plainly), path


def test_what_belongs_to_no_option():
    for page, heading, node in [
        ("data.md", "data", "data"),
        ("search.md", "search", "search"),
        *[("settings.md", node, node) for node in ("train", "run")],
    ]:
        text = (CONF / ("sweep.yaml" if node == "search" else "config.yaml")).read_text(encoding="utf-8")
        block = re.search(rf"^{node}:\n((?:  .*\n?)+)", text, re.MULTILINE)[1]
        expected = [re.fullmatch(r"  (\w+): (.*?) +# (.*)", line).groups() for line in block.splitlines()]
        shown = [(name, default, reason) for name, _, default, reason in rows(sections(page)[heading])[1:]]
        assert shown == [(f"{node}.{name}", value, reason) for name, value, reason in expected]


@pytest.mark.parametrize(
    "word", [option.partition("=")[2] for option in OPTIONS if option.startswith(EXPERIMENT)]
)
def test_an_experiment_tells_what_stands_in_its_file(word):
    text, below = (
        (CONF / EXPERIMENT / f"{word}.yaml").read_text(encoding="utf-8"),
        section(f"{EXPERIMENT}={word}"),
    )
    head, body = text.split("defaults:\n")
    seen = words_of(below)
    assert all(
        plain(line.lstrip("# ").partition(": dlfound")[0]).lower()[:40] in seen.lower()
        for line in head.splitlines()[1:]
    )
    assert len(re.findall(r"^    dlfound train ", below, re.MULTILINE)) == len(
        re.findall(r"\bdlfound train ", head)
    )
    for key, option in re.findall(r"- override /(\w+): (\w+)", body):
        assert f"`{key}={option}`" in below
    lines = re.findall(r"^  (\w+): (.*?)(?: +# (.*))?$", body, re.MULTILINE)
    assert [(name.partition(".")[2], *cells) for name, *cells in rows(below)[1:]] == lines


def test_every_cell_says_something():
    empty = [
        (name, row)
        for name, text in TEXTS.items()
        if name not in ("README.md", "reliability.md", "sweep.md")
        for row in rows(text)
        if "" in row
    ]
    assert empty == [] and sum(len(rows(text)) for text in TEXTS.values()) > 150


# ---- what is shown works


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command, capsys):
    assert main([word for word in shlex.split(command) if word != "--cfg"] + ["--cfg"]) == 0
    assert capsys.readouterr().err == ""


def test_there_are_commands_to_test():
    assert len(COMMANDS) > 80


def test_links_lead_somewhere():
    count = 0
    for name, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)]*)\)", text):
            file, _, anchor = target.partition("#")
            assert (DOCS / (file or name)).exists(), f"{name}: {target}"
            assert not anchor or anchor in map(slug, sections(file or name)), f"{name}: {target}"
            count += 1
    assert count > len(OPTIONS)
    assert {f"{group}.md" for group in [*GROUPS, EXPERIMENT]} <= set(
        re.findall(r"\]\(([\w.]*)", TEXTS["README.md"])
    )


@pytest.mark.parametrize(
    "text",
    [
        "w <- w - lr g", "a < b > c", "outputs/<name>/<date>_<time>", "lambda * omega * 2", "|a| * |b|",
        "*so* _so_ __so__", "10. a", "2017) a", "1.5 a",
        "[a](b) and [c][d]", "~/a and ~/b", "a ~~b~~ c", "- a", "+ a", "# a", "> a", "1. a", "2) a",
        "a \\ b \\* c",
        "&amp; &#60; R&D; a & b", "half_life of min_lr_", "<b>bold</b> <!-- no -->",
        "-log softmax(x)[class]: y",
        "a\n- b",
        "a\n===", "a\n---", "[a]: b", "<http://a.b>", "![a](b)", "$x$ and `a|b` or `a_b`",
    ],
)  # fmt: skip
def test_text_is_seen_as_it_stands(text, script):
    escaped, table = script["escaped"](text), script["_table"]
    assert words_of(escaped) == plain(text)
    assert "\n" in text or rows(table(["a", "b"], [[escaped, "x"]])) == [["a", "b"], [plain(text), "x"]]
    assert "\n" in text or words_of(table(["a", "b"], [[escaped, "x"]])) == f"a b {plain(text)} x"
