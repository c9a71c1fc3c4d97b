"""The proof on crash points and loss of power, in small; and that it fails where the program is careless."""

import re

import pytest

POINTS = ("--power", "0", "--every")
POWER = ("--every", "0", "--resume-every", "4", "--power")

STRAIGHT = """
import os
from dlfound.runs import checkpoints, folder
def straight(path, content):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.write(file, content)
    os.fsync(file)
    os.close(file)
folder.replace_durably = checkpoints.replace_durably = straight
"""
NOT_FORCED = """
from dlfound.runs import durable
def write(path, content):
    with open(path, "xb") as file:
        file.write(content)
durable.write_durably = write
"""
NAMES_NOT_FORCED = """
from dlfound.runs import checkpoints, durable
checkpoints.sync_folder = durable.sync_folder = lambda path: None
"""
FOLDERS_NOT_FORCED = """
from dlfound.runs import checkpoints, folder
checkpoints.sync_folder = lambda path: None
folder.make_folders = lambda path: path.mkdir(parents=True, exist_ok=True)
"""
LINES_NOT_FORCED = """
from dlfound.runs import folder
folder.sync_file = lambda path: path.stat().st_size
"""
NOT_CUT = """
from dlfound.runs.folder import RunFolder
RunFolder.cut = lambda self, name, size: None
"""
LEFT_LYING = """
from dlfound.runs import folder
folder.remove_aside = lambda folder: None
"""
UNTOLD = """
from contextlib import nullcontext
from dlfound.runs import train as training
training.disk_errors = nullcontext
"""


def test_a_struck_run_goes_on_to_the_same_bytes(proof):
    result = proof("crash_points.py", *POINTS, "60")
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(re.search(r"^(\d+) points", result.stdout, re.MULTILINE)[1]) > 40


def test_loss_of_power_takes_no_checkpoint(proof):
    result = proof("crash_points.py", *POWER, "120")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "120 states after a loss of power, 28 resumed" in result.stdout


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(STRAIGHT, (*POINTS, "2", "--ways", "half"), id="written straight to its place"),
        pytest.param(NOT_CUT, (*POINTS, "40", "--ways", "kill"), id="lines too many stay"),
        pytest.param(LEFT_LYING, (*POINTS, "4", "--ways", "half"), id="half files stay"),
        pytest.param(UNTOLD, (*POINTS, "40", "--ways", "EIO"), id="an error without words"),
        pytest.param(NOT_FORCED, (*POWER, "160"), id="content not forced to the disk"),
        pytest.param(NAMES_NOT_FORCED, (*POWER, "160"), id="names not forced"),
        pytest.param(FOLDERS_NOT_FORCED, (*POWER, "160"), id="new folders not forced"),
        pytest.param(LINES_NOT_FORCED, (*POWER, "160"), id="lines not forced"),
    ],
)
def test_carelessness_is_noticed(proof, fault, words):
    result = proof("crash_points.py", *words, fault=fault)
    assert result.returncode == 1 and "WRONG" in result.stdout, result.stdout + result.stderr
