"""Streams of random numbers: found again from (seed, purpose, position), apart for each of them."""

import subprocess
import sys

import pytest
import torch

from dlfound.streams import stream, stream_seed

# By hand, with coreutils: printf '0/initialisation' | b2sum -l 64, the first 63 of the 64 bits.
KNOWN = [
    ((0, "initialisation"), 0x152812E6DC098572),
    ((0, "shuffle", 1), 0x508CCCE7198E4AEF),
    ((0, "shuffle", 2), 0x437AD6615145B3DD),
    ((1, "shuffle", 1), 0x61FE9B7EB90905CE),
    ((4294967295, "dropout", 123456), 0x1E39BF6F19504C5D),
    ((7, "search", 3, 4), 0x7E6418E670CAA11A),
]


@pytest.mark.parametrize(("key", "value"), KNOWN)
def test_seeds_are_those_written_down(key, value):
    """A run of years ago is found again: the seeds are BLAKE2b of "seed/purpose/position", on every machine."""
    assert stream_seed(*key) == value


def test_the_first_numbers_are_those_written_down():
    """The generator is at the head of its stream: what NumPy's MT19937 gives for the first seed above."""
    drawn = torch.rand(3, generator=stream(0, "initialisation"), dtype=torch.float64)
    assert drawn.tolist() == [0.3950326006961439, 0.16646243965241736, 0.34058688942578275]


def test_every_seed_purpose_and_position_has_its_own():
    """No two of 40,000 streams start from one seed, and each fits a signed 64-bit number."""
    purposes = ("initialisation", "shuffle", "dropout", "search")
    seeds = [
        stream_seed(seed, purpose, *position)
        for seed in range(100)
        for purpose in purposes
        for position in [(), *((step,) for step in range(89)), *((1, step) for step in range(10))]
    ]
    assert len(seeds) == 40_000
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


OTHERS = [(4, "dropout", 7), (3, "shuffle", 7), (3, "dropout", 8), (3, "dropout"), (3, "dropout", 7, 0)]


@pytest.mark.parametrize("other", OTHERS)
def test_streams_are_told_apart(other):
    """One other word or number, other draws: no value agrees."""
    key = (3, "dropout", 7)
    mine, theirs = (torch.rand(1000, generator=stream(*k), dtype=torch.float64) for k in (key, other))
    assert not torch.isin(mine, theirs).any()
    assert abs(torch.corrcoef(torch.stack([mine, theirs]))[0, 1]) < 5 / 1000**0.5


def test_a_stream_is_found_again():
    """Same key, same bits; what was drawn elsewhere between, or globally, changes nothing."""
    first = torch.randn(1000, generator=stream(5, "dropout", 2))
    torch.rand(17, generator=stream(5, "shuffle", 2))
    torch.rand(17)
    assert torch.equal(first, torch.randn(1000, generator=stream(5, "dropout", 2)))


def test_a_stream_is_found_again_by_another_process():
    """Nothing depends on the process: strings are hashed without Python's own salt."""
    code = "from dlfound.streams import stream_seed; print(stream_seed(11, 'shuffle', 3))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) == stream_seed(11, "shuffle", 3)


def test_the_global_generator_is_left_alone():
    """Neither making a stream nor drawing from it moves torch's global generator."""
    before = torch.get_rng_state()
    torch.rand(10, generator=stream(0, "dropout", 0))
    assert torch.equal(before, torch.get_rng_state())
