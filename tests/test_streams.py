"""Streams of random numbers are reproducible from (seed, purpose, position), and independent."""

import subprocess
import sys

import pytest
import torch

from dlfound.streams import stream, stream_seed

# From coreutils: printf '0/initialisation' | b2sum -l 64, the first 63 of 64 bits.
KNOWN = [
    ((0, "initialisation"), 0x152812E6DC098572),
    ((0, "shuffle", 1), 0x508CCCE7198E4AEF),
    ((0, "shuffle", 2), 0x437AD6615145B3DD),
    ((1, "shuffle", 1), 0x61FE9B7EB90905CE),
    ((4294967295, "dropout", 123456), 0x1E39BF6F19504C5D),
    ((7, "search", 3, 4), 0x7E6418E670CAA11A),
]


@pytest.mark.parametrize(("key", "value"), KNOWN)
def test_known_seeds(key, value):
    """The seeds are BLAKE2b of "seed/purpose/position" on every machine, so old runs can be repeated."""
    assert stream_seed(*key) == value


def test_known_first_numbers():
    """NumPy's MT19937 gives these numbers for the first seed above."""
    drawn = torch.rand(3, generator=stream(0, "initialisation"), dtype=torch.float64)
    assert drawn.tolist() == [0.3950326006961439, 0.16646243965241736, 0.34058688942578275]


def test_every_seed_purpose_and_position_has_its_own_stream():
    """No two of 40,000 streams have the same seed, and each seed fits a signed 64-bit number."""
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
def test_streams_are_independent(other):
    """A stream with another seed, purpose or position has no number in common and no correlation."""
    key = (3, "dropout", 7)
    mine, theirs = (torch.rand(1000, generator=stream(*k), dtype=torch.float64) for k in (key, other))
    assert not torch.isin(mine, theirs).any()
    assert abs(torch.corrcoef(torch.stack([mine, theirs]))[0, 1]) < 5 / 1000**0.5


def test_a_stream_can_be_repeated():
    """The same key gives the same bits; other draws in between change nothing."""
    first = torch.randn(1000, generator=stream(5, "dropout", 2))
    torch.rand(17, generator=stream(5, "shuffle", 2))
    torch.rand(17)
    assert torch.equal(first, torch.randn(1000, generator=stream(5, "dropout", 2)))


def test_a_stream_can_be_repeated_in_another_process():
    """Seeds do not depend on the process: Python's salted hash is not used."""
    code = "from dlfound.streams import stream_seed; print(stream_seed(11, 'shuffle', 3))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) == stream_seed(11, "shuffle", 3)


def test_the_global_generator_is_not_used():
    """Making a stream and drawing from it leaves torch's global generator as it is."""
    before = torch.get_rng_state()
    torch.rand(10, generator=stream(0, "dropout", 0))
    assert torch.equal(before, torch.get_rng_state())
