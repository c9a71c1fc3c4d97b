"""Ways to damage a file. Each function takes the file and contents of another run."""

from random import Random

File = tuple[str, bytes]  # name, content


def flip(file: File, others: list[bytes], rng: Random) -> File:
    """Flip one bit or a few."""
    damaged = bytearray(file[1])
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return file[0], bytes(damaged)


def cut(file: File, others: list[bytes], rng: Random) -> File:
    """Cut the end off."""
    return file[0], file[1][: rng.randrange(len(file[1]))]


def grow(file: File, others: list[bytes], rng: Random) -> File:
    """Append something."""
    return file[0], file[1] + rng.randbytes(rng.choice((1, 8, 5000)))


def empty(file: File, others: list[bytes], rng: Random) -> File:
    """Remove all bytes, or replace them by zeros."""
    return file[0], rng.choice((b"", bytes(len(file[1])), bytes(4096)))


def blank(file: File, others: list[bytes], rng: Random) -> File:
    """Replace a block by zeros, as if it was never written."""
    content = file[1]
    start = rng.randrange(len(content))
    size = min(rng.choice((1, 64, 512, 4096)), len(content) - start)
    return file[0], content[:start] + bytes(size) + content[start + size :]


def splice(file: File, others: list[bytes], rng: Random) -> File:
    """Join the start of one file and the end of another."""
    content = file[1]
    at = rng.randrange(1, len(content))
    other = rng.choice(others)
    return file[0], rng.choice((content[:at] + other[at:], other[:at] + content[at:]))


def mistake(file: File, others: list[bytes], rng: Random) -> File:
    """Put another file under this name."""
    strange = (b"a line of text\n", b"PK\x03\x04" + bytes(100), rng.randbytes(2000))
    return file[0], rng.choice((*others, *strange))


def header(file: File, others: list[bytes], rng: Random) -> File:
    """Write a wrong length of the header."""
    sizes = (0, 1, 2**31, 2**32 + 5, 2**63, 2**64 - 1, len(file[1]), rng.randrange(5000))
    return file[0], rng.choice(sizes).to_bytes(8, "little") + file[1][8:]


def rename(file: File, others: list[bytes], rng: Random) -> File:
    """Put another digest in the name."""
    old = file[0].split("-")[2].partition(".")[0]
    return file[0].replace(old, f"{rng.getrandbits(64):016x}"), file[1]


DAMAGES = (flip, cut, grow, empty, blank, splice, mistake, header, rename)
