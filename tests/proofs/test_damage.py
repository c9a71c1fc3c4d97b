"""The short form of the proof of damaged checkpoints; and that it notices a trusting program."""

import re

import pytest

from proofs import faults

DAMAGED = ("--every", "0", "--count")
ODD = ("--count", "0", "--every")


def test_damaged_and_odd_checkpoints_are_refused(proof):
    result = proof("--count", "270", "--every", "40")
    assert result.code == 0, result.output
    damaged, odd = re.findall(r"^(\d+) (?:damaged|odd)", result.output, re.MULTILINE)
    assert int(damaged) > 260 and int(odd) > 40


@pytest.mark.parametrize("tensor", ["vectors.t:", "progress.outputs:"])
def test_a_tensor_of_another_type_is_refused(proof, tensor):
    result = proof("--count", "0", "--only", tensor)
    assert result.code == 0 and "0 wrong" in result.output, result.output


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        (faults.trust_the_digest, (*DAMAGED, "60")),
        (faults.trust_the_fields, (*ODD, "40")),
        (faults.ignore_the_settings, (*ODD, "1", "--only", "step 1 of")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_proof_notices_a_fault(proof, fault, options):
    result = proof(*options, fault=fault)
    assert result.code == 1 and "WRONG" in result.output, result.output
