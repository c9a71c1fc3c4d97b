"""The short form of tests/proofs/check.py: each planted fault is found, and no sound setting is blamed."""

import re
from pathlib import Path

import pytest

from dlfound.checks import gradients, initial_loss
from dlfound.config import catalog as options
from proofs import check


@pytest.fixture
def prove(monkeypatch, capsys):
    """Run the proof in this process; returns the exit code, the four counts and the output."""
    monkeypatch.setattr(options, "_registered", {})
    monkeypatch.delenv("DLFOUND_DATA", raising=False)

    def run(*arguments):
        code = check.main(["--seeds=1", "--quick", *arguments])
        output = capsys.readouterr().out
        faults = re.search(r"^faults: (\d+) planted, (\d+) missed$", output, re.MULTILINE)
        sound = re.search(r"^sound: (\d+) checked, (\d+) blamed$", output, re.MULTILINE)
        assert faults and sound, output
        return code, [int(count) for count in (*faults.groups(), *sound.groups())], output

    return run


def test_each_fault_is_found_and_no_sound_setting_is_blamed(prove):
    code, (planted, missed, checked, blamed), output = prove()
    assert planted >= 60 and checked >= 12 and (missed, blamed, code) == (0, 0, 0), output


def test_the_proof_reports_a_check_that_finds_nothing(prove, monkeypatch):
    monkeypatch.setattr(gradients, "TOLERANCE", float("inf"))
    code, counts, output = prove("--only", "detached layer")
    assert (code, counts) == (1, [1, 1, 0, 0]) and "not found" in output


def test_the_proof_reports_a_check_that_blames_a_sound_setting(prove, monkeypatch):
    monkeypatch.setattr(initial_loss, "HIGH", 0.1)
    code, counts, output = prove("--only", "two classes: moons")
    assert (code, counts) == (1, [0, 0, 1, 1]) and "initial_loss" in output


def test_the_page_lists_the_cases():
    page = " ".join((Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8").split())
    assert [case.name for case in [*check.FAULTS, *check.SOUND] if case.name not in page] == []
    assert f"planted faults | {len(check.FAULTS)} |" in page
    assert f"sound settings | {len([*check.SOUND, *check.REAL])} |" in page
