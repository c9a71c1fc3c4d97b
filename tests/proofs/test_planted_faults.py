"""Planted faults are found and sound settings left in peace: tests/proofs/check.py with one seed and small nets."""

import re


def counts(done):
    faults = re.search(r"^faults: (\d+) planted, (\d+) missed$", done.stdout, re.MULTILINE)
    sound = re.search(r"^sound: (\d+) checked, (\d+) blamed$", done.stdout, re.MULTILINE)
    assert faults and sound, done.stdout + done.stderr
    return [int(n) for n in (*faults.groups(), *sound.groups())]


def test_each_fault_is_found_and_nothing_sound_is_blamed(proof, monkeypatch):
    monkeypatch.delenv("DLFOUND_DATA", raising=False)
    done = proof("check.py", "--seeds=1", "--quick")
    planted, missed, checked, blamed = counts(done)
    assert planted >= 30 and checked >= 12 and (missed, blamed, done.returncode) == (0, 0, 0), done.stdout


def test_a_check_that_sees_nothing_is_caught(proof):
    spoilt = "import dlfound.checks.thresholds as t; t.GRADIENT = float('inf')"
    done = proof("check.py", "--seeds=1", "--quick", "--only", "detached layer", fault=spoilt)
    assert counts(done)[:2] == [1, 1] and done.returncode == 1 and "not found" in done.stdout


def test_a_check_that_sees_ghosts_is_caught(proof):
    spoilt = "import dlfound.checks.thresholds as t; t.HIGH = 0.1"
    done = proof("check.py", "--seeds=1", "--quick", "--only", "as it is", fault=spoilt)
    assert counts(done)[2:] == [1, 1] and done.returncode == 1 and "initial_loss" in done.stdout
