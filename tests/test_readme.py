"""What README.md shows is true: its table is current, its commands and its Python run."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlfound.cli import main
from dlfound.config import catalog as options

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    dlfound (.*)$", TEXT, re.MULTILINE)
NEEDS_DATA = ("data=mnist", "experiment=batchnorm_sigmoid", "experiment=mnist_dropout")
SHORT = ["train.epochs=5", "model.hidden=[8]"]  # after the command's own words: the last counts


def test_the_table_of_groups_is_current():
    renewed = runpy.run_path(str(ROOT / "scripts" / "readme.py"))["renewed"]
    assert renewed(TEXT) == TEXT, "run python scripts/readme.py"


def make_ones_own() -> None:
    """What the commands call theirs: images, options."""
    rng = np.random.default_rng(0)
    for place in ("my_images/cats", "my_images/dogs", "scans"):
        Path(place).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(f"{place}/{i}.png")
    shutil.copy("scans/0.png", "my_digit.png")
    Path("my_conf/optim").mkdir(parents=True)
    Path("my_conf/optim/brisk.yaml").write_text("name: adam\nlr: 0.01\n")
    code = "import torch, dlfound\nclass Cube(torch.nn.Module):\n    def forward(self, a):\n        return a**3\n"
    Path("my_options.py").write_text(code + "dlfound.register('activation', 'cube', Cube)\n")

    write_houses("houses.csv", 80)
    write_houses("new.csv", 9)


def write_houses(name: str, rows: int) -> None:
    """A table with a column of each kind."""
    rng = np.random.default_rng(rows)
    lines = [
        f"{i},{rng.integers(30, 200)},{rng.choice(['coast', 'hill', ''])},{rng.integers(1, 28)}.03.2026,{i * 7 % 50}"
        for i in range(rows)
    ]
    Path(name).write_text("id,area,place,sold,price\n" + "\n".join(lines) + "\n")


def shortened(words: list[str]) -> list[str]:
    """A training that takes a moment; what needs data that are not here is only composed."""
    if words[0] == "sweep":
        return [*words, *SHORT, "search.trials=2", "run.threads=1"]
    if "--cfg" in words or "--dry-run" in words or any(word.startswith("resume=") for word in words):
        return words
    if any(word in words for word in NEEDS_DATA):
        return [*words, "--cfg"]
    few = SHORT[:1] if "model=perceptron" in words else SHORT
    return [*words, *few, *(["lr_decay.warmup=1"] if "lr_decay=one_cycle" in words else [])]


def test_the_commands_run(capsys, monkeypatch):
    monkeypatch.setattr(options, "_registered", {})  # what --with registers is forgotten after the test
    make_ones_own()
    assert main(["train", *SHORT]) == 0
    for command in COMMANDS:
        words = shlex.split(command)
        code = main(shortened(words) if words[0] in ("train", "sweep") else words)
        assert code == 0, f"dlfound {command}\n{capsys.readouterr().err}"
    assert len(COMMANDS) >= 20


def test_the_verbs_in_the_text_run(capsys):
    assert main(["train", *SHORT]) == 0
    shown = re.findall(r"`dlfound ((?:options|eval|runs|completion)[^`]*)`", TEXT)
    assert {words.split()[0] for words in shown} == {"options", "eval", "runs", "completion"}
    for words in shown:
        assert main(words.split()) == 0, words


def test_python_blocks_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", [TEXT, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")])
def test_files_that_it_names_exist(text):
    for name in re.findall(r"(?<!\w)(?:scripts|docs|conf)/[\w./]*\w", text):
        assert (ROOT / name).exists(), name
