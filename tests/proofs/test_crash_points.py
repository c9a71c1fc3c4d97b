"""The short form of the proof of crash points and loss of power; and that it notices a careless program."""

import re

import pytest

from proofs import faults

POINTS = ("--power", "0", "--every")
POWER = ("--every", "0", "--resume-every", "4", "--power")


def test_a_struck_run_resumes_to_the_same_bytes(proof):
    result = proof(*POINTS, "60")
    assert result.code == 0, result.output
    assert int(re.search(r"^(\d+) points", result.output, re.MULTILINE)[1]) > 40


def test_loss_of_power_takes_no_checkpoint(proof):
    result = proof(*POWER, "120")
    assert result.code == 0, result.output
    assert "120 states after a loss of power, 28 resumed" in result.output


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        (faults.write_straight, (*POINTS, "2", "--ways", "half")),
        (faults.keep_extra_lines, (*POINTS, "40", "--ways", "kill")),
        (faults.keep_half_files, (*POINTS, "4", "--ways", "half")),
        (faults.report_no_disk_errors, (*POINTS, "40", "--ways", "EIO")),
        (faults.leave_content_unforced, (*POWER, "160")),
        (faults.leave_names_unforced, (*POWER, "160")),
        (faults.leave_folders_unforced, (*POWER, "160")),
        (faults.leave_lines_unforced, (*POWER, "160")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_proof_notices_a_fault(proof, fault, options):
    result = proof(*options, "--stop", fault=fault)
    assert result.code == 1 and "WRONG" in result.output, result.output
