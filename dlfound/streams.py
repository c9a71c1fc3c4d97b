"""Random numbers: one stream for each purpose, computed from a few numbers; never a global generator.

A stream depends on (seed, purpose, position) alone. So a checkpoint need not store its state, and drawing
more numbers for one purpose never changes the numbers of another.
"""

import hashlib

import lazy_loader

torch = lazy_loader.load("torch")


def stream_seed(seed: int, purpose: str, *position: int) -> int:
    """63 bits that differ for every seed, purpose and position."""
    text = "/".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def stream(seed: int, purpose: str, *position: int, device: str = "cpu") -> "torch.Generator":
    """A new generator at the start of the stream."""
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose, *position))
