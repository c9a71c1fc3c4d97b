"""The proof on damaged checkpoints, in small; and that it fails where the program looks away."""

import re

import pytest

DAMAGED = ("--every", "0", "--count")
ODD = ("--count", "0", "--every")

NO_DIGEST = """
from types import SimpleNamespace
from dlfound.runs import checkpoints
class Believed(str):
    def __getitem__(self, part): return self
    def __format__(self, how): return NAME[0].split("-")[2].partition(".")[0]
NAME, read = [""], checkpoints._read
def believing(path, step):
    NAME[0] = path.name
    return read(path, step)
checkpoints._read = believing
whole = checkpoints.hashlib
checkpoints.hashlib = SimpleNamespace(
    file_digest=lambda file, name: SimpleNamespace(hexdigest=Believed), sha256=whole.sha256
)
"""
NO_FORM = """
from dlfound.runs import train as training
training.check_form = lambda kept: None
"""
NO_SETTINGS = """
from dlfound.runs import state as session
session.fixed_settings = lambda config: {}
"""


def test_damaged_and_odd_checkpoints_are_refused(proof):
    result = proof("damage.py", "--count", "270", "--every", "16")
    assert result.returncode == 0, result.stdout + result.stderr
    damaged, odd = re.findall(r"^(\d+) (?:damaged|odd)", result.stdout, re.MULTILINE)
    assert int(damaged) > 260 and int(odd) > 40


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(NO_DIGEST, (*DAMAGED, "60"), id="the digest is believed"),
        pytest.param(NO_FORM, (*ODD, "40"), id="what it says is believed"),
        pytest.param(NO_SETTINGS, (*ODD, "1", "--only", "step 1 of"), id="whose it is is not asked"),
    ],
)
def test_looking_away_is_noticed(proof, fault, words):
    result = proof("damage.py", *words, fault=fault)
    assert result.returncode == 1 and "WRONG" in result.stdout, result.stdout + result.stderr
