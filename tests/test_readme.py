"""The commands on the front page and in the guide run, and the front page shows what they print."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlfound.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
NEEDS_DATA = ("data=mnist", "experiment=batchnorm_sigmoid", "experiment=mnist_dropout")
SHORT = ["train.epochs=5", "model.hidden=[8]"]  # after the command's own words: the last counts


def test_the_front_page_is_short_and_says_where_things_are():
    assert len(README.splitlines()) <= 110
    for word in (
        "docs/run.svg",
        "bash scripts/quickstart.sh",
        "bash scripts/test.sh",
        "pip install .",
        "youtube.com",
    ):
        assert word in README, word
    for page in (ROOT / "docs").glob("*.md"):
        index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
        assert f"]({page.name}" in index or page.name in ("README.md", "settings.md"), page.name


# ---- the tour


def sessions():
    """The blocks of the tour: a list of (command, output)."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    steps = [re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE) for block in blocks]
    return [step for block in steps for step in block]


def shape(text):
    """The lines with every number masked, and without the width of the columns: what any machine prints."""
    lines = [
        " ".join(re.sub(r"\d[\d.,e_-]*\w{0,4}(?:-\w{4})?", "#", line).split()) for line in text.splitlines()
    ]
    return [line for line in lines if line]


def test_the_tour_prints_what_the_front_page_shows(capsys, data_root):
    shutil.copy(data_root / "titanic.csv", ".")
    assert len(sessions()) >= 6
    for command, expected in sessions():
        words, _, file = command.removeprefix("dlfound ").partition(" > ")
        assert main(shlex.split(words)) in (0, 5), command
        out, err = capsys.readouterr()
        assert shape(err + ("" if file else out)) == shape(expected), command


# ---- the guide


def commands(text):
    """The commands in indented blocks."""
    return re.findall(r"^    dlfound (.*)$", text, re.MULTILINE)


def make_files():
    """Make the files that the guide calls a person's own: images, tables, options."""
    rng = np.random.default_rng(0)
    for place in ("my_images/cats", "my_images/dogs", "scans"):
        Path(place).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(f"{place}/{i}.png")
    shutil.copy("scans/0.png", "my_digit.png")
    Path("my_conf/optim").mkdir(parents=True)
    Path("my_conf/optim/brisk.yaml").write_text("name: adam\nlr: 0.01\n")
    Path("my_options.py").write_text(python_blocks()[-1])
    write_houses("houses.csv", 80)
    write_houses("new.csv", 9)


def write_houses(name, rows):
    """Write a table with a column of each kind."""
    rng = np.random.default_rng(rows)
    lines = ["id,area,place,sold,price"]
    for i in range(rows):
        place = rng.choice(["coast", "hill", ""])
        lines.append(f"{i},{rng.integers(30, 200)},{place},{rng.integers(1, 28)}.03.2026,{i * 7 % 50}")
    Path(name).write_text("\n".join(lines) + "\n")


def shortened(words):
    """Shorten a training; a command that needs data which are not here is only composed."""
    if words[0] == "sweep":
        return [*words, *SHORT, "search.trials=2", "run.threads=1"]
    if words[0] != "train" or "--cfg" in words or "--dry-run" in words:
        return words
    if any(word.startswith("resume=") for word in words):
        return words
    if any(word in words for word in NEEDS_DATA):
        return [*words, "--cfg"]
    short = SHORT[:1] if "model=perceptron" in words else SHORT
    return [*words, *short, "lr_decay.warmup=1"] if "lr_decay=one_cycle" in words else [*words, *short]


def test_the_commands_of_the_guide_run(capsys, registry):
    make_files()
    assert main(["train", *SHORT]) == 0
    assert len(commands(GUIDE)) >= 25
    for command in commands(GUIDE):
        words = shlex.split(command)
        assert main(shortened(words)) == 0, f"dlfound {command}\n{capsys.readouterr().err}"


def python_blocks():
    return re.findall(r"```python\n(.*?)```", PYTHON, re.DOTALL)


def test_the_python_blocks_run(tmp_path):
    for block in python_blocks():
        process = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/guide.md", "docs/measured.md"])
def test_named_files_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for file in re.findall(r"(?<!\w)(?:scripts|docs|conf|tests)/[\w./]*\w", text):
        assert (ROOT / file).exists(), file
