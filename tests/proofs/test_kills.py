"""Runs that are killed end as runs that are not: tests/proofs/kills.py on a small scale, and that it can fail."""

import re

import pytest

FORGOTTEN = ("tensor slots.0", "epoch", "warnings")
NOTHING_FILLED = "from dlfound.runs.state import Session; Session._fill = lambda self, kept: None"
FOUND = r"^{}: (\d+) kills, (\d+) runs, (\d+) lost, (\d+) different\n  killed in: (.*)"


@pytest.mark.parametrize("way, kills", [("forked", "--kills=150"), ("real processes", "--real=10")])
def test_a_killed_run_ends_as_one_that_nobody_kills(proof, way, kills):
    done = proof("kills.py", kills)
    found = re.search(FOUND.format(way), done.stdout, re.MULTILINE)
    assert found and done.returncode == 0, done.stdout + done.stderr
    assert int(found[1]) >= int(kills.partition("=")[2]) and found.group(3, 4) == ("0", "0")
    places = ("start", "resume", "epoch", "checkpoint", "finishing") if way == "forked" else ("start",)
    assert all(place in found[5] for place in places), found[5]


def test_what_a_resume_forgets_shows(proof):
    done = proof("kills.py", "--mutate", *FORGOTTEN)
    assert done.returncode == 0, done.stdout + done.stderr
    for thing in FORGOTTEN:
        assert re.search(rf"^{thing}: noticed after \d+ kills", done.stdout, re.MULTILINE), done.stdout


def test_what_does_not_show_is_a_failure(proof):
    done = proof("kills.py", "--mutate", "epoch", "--most=0")
    assert done.returncode == 1 and "epoch: NOT NOTICED in 0 kills" in done.stdout


def test_a_program_that_fills_nothing_in_is_caught(proof):
    done = proof("kills.py", "--kills=20", fault=NOTHING_FILLED)
    found = re.search(FOUND.format("forked"), done.stdout, re.MULTILINE)
    assert found and int(found[4]) > 0 and done.returncode == 1, done.stdout + done.stderr
