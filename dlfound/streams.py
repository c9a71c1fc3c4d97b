"""Random numbers: a stream of its own for each purpose, found again from a few numbers, never global.

A stream follows from (seed, purpose, position) alone. So nothing of it has to be saved for a resume, and drawing
more for one purpose never changes another.
"""

import hashlib

import lazy_loader

torch = lazy_loader.load("torch")


def stream_seed(seed: int, purpose: str, *position: int) -> int:
    """63 bits that differ for every seed, purpose and position."""
    text = "/".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def stream(seed: int, purpose: str, *position: int, device: str = "cpu") -> "torch.Generator":
    """A generator at the head of that stream."""
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose, *position))
