"""The short form of the proof of kills; and that it notices a resume that forgets something."""

import re

import pytest

from proofs import faults
from proofs.victims import PHASES

FORGOTTEN = ("vectors.slots.0", "progress.epoch", "warnings")
COUNTS = r"^{}: (\d+) kills, (\d+) runs, (\d+) lost, (\d+) different\n  killed in: (.*)"


@pytest.mark.parametrize("way, kills", [("forked", "--kills=60"), ("real processes", "--real=4")])
def test_a_killed_run_ends_like_an_undisturbed_one(proof, way, kills):
    result = proof(kills)
    counts = re.search(COUNTS.format(way), result.output, re.MULTILINE)
    assert counts and result.code == 0, result.output
    assert int(counts[1]) >= int(kills.partition("=")[2]) and counts.group(3, 4) == ("0", "0")
    places = PHASES if way == "forked" else ("start",)
    assert all(place in counts[5] for place in places), counts[5]


def test_the_results_tell_what_a_resume_forgets(proof):
    result = proof("--mutate", *FORGOTTEN)
    assert result.code == 0, result.output
    for thing in FORGOTTEN:
        assert re.search(rf"^{thing}: noticed after \d+ kills", result.output, re.MULTILINE), result.output


def test_what_is_not_noticed_is_a_failure(proof):
    result = proof("--mutate", "progress.epoch", "--most=0")
    assert result.code == 1 and "progress.epoch: NOT NOTICED in 0 kills" in result.output


def test_the_proof_notices_a_resume_that_restores_nothing(proof):
    result = proof("--kills=20", fault=faults.restore_nothing)
    counts = re.search(COUNTS.format("forked"), result.output, re.MULTILINE)
    assert counts and int(counts[3]) + int(counts[4]) > 0 and result.code == 1, result.output
