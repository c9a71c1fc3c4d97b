"""The nearest word that exists."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, words: Iterable[str]) -> str:
    """The word of `words` (at least one) most like `word`, however unlike."""
    by_folded = {w.lower(): w for w in words}
    return by_folded[get_close_matches(word.lower()[:80], list(by_folded), n=1, cutoff=0.0)[0]]
