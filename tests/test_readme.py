"""What README.md shows is true: its table is current, its commands compose, its Python runs."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from dlfound.cli import main

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    dlfound (train.*)$", TEXT, re.MULTILINE)


def test_the_table_of_groups_is_current():
    renewed = runpy.run_path(str(ROOT / "scripts" / "readme.py"))["renewed"]
    assert renewed(TEXT) == TEXT, "run python scripts/readme.py"


@pytest.mark.parametrize("command", [c for c in COMMANDS if "my_" not in c])
def test_commands_compose(command, capsys):
    assert main([w for w in command.split() if w != "--cfg"] + ["--cfg"]) == 0


def test_there_are_commands_and_blocks_to_test():
    assert len(COMMANDS) >= 6 and len(re.findall("```python", TEXT)) >= 1


def test_options_of_ones_own_as_shown(tmp_path, capsys):
    (tmp_path / "my_conf" / "optim").mkdir(parents=True)
    (tmp_path / "my_conf" / "optim" / "brisk.yaml").write_text("name: adam\nlr: 0.01\n")
    assert main(["train", "--config-dir", str(tmp_path / "my_conf"), "optim=brisk", "--cfg"]) == 0
    assert "brisk.yaml" in capsys.readouterr().out


def test_python_blocks_run(tmp_path):
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr


def test_files_that_it_names_exist():
    for name in re.findall(r"(?<!\w)(?:scripts|docs|conf)/[\w./]*\w", TEXT):
        assert (ROOT / name).exists(), name
