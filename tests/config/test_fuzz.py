"""500 random command lines with mistakes: each is reported, with a fix that works or with the choices."""

import random
import re
import shlex
from functools import cache

from support.mistakes import MISTAKES, existing, known, misspell
from support.wrong_overrides import reported, touched

from dlfound.config.compose import compose
from dlfound.config.suggest import Suggestions, nearest, similar
from dlfound.errors import Error

LINES = 500
SHOWN = 20  # so many characters of a wrong word must be quoted; the rest may be cut off


def a_line(rng):
    """A command line of 1 to 3 wrong overrides, some right ones among them; and the wrong ones."""
    heads = rng.sample(sorted({*known().groups, *known().plain}), 5)
    by_node = {}
    for head, mistake in zip(heads, rng.sample(MISTAKES, rng.randint(1, 3)), strict=False):
        wrong = mistake(rng, head)
        by_node.setdefault(touched(wrong.text), wrong)
    # Right overrides only of groups that no wrong one is about, which would replace or refuse them.
    free = [head for head in heads if head in known().groups and head not in by_node]
    right = [f"{head}={known().defaults[head]}" for head in free[: rng.randint(0, 2)]]
    line = [wrong.text for wrong in by_node.values()] + right
    rng.shuffle(line)
    return line, list(by_node.values())


@cache
def lines():
    rng = random.Random(20261121)
    made = {}
    while len(made) < LINES:
        line, wrong = a_line(rng)
        made[tuple(line)] = wrong
    return tuple(made.items())


def escaped(text):
    """The text as a terminal may see it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def offers(fix):
    """What a fix names to write instead: overrides or keys that exist; empty if it names none."""
    if suggestion := re.search(r"did you mean (.+)\?$", fix):
        words = shlex.split(suggestion[1])
        return words if all(key_of(word) in existing() for word in words) else []
    if choices := re.search(r"(?:choose from|a key begins with one of|set one of): (.+)$", fix):
        words = choices[1].split(", ")
        return words if set(words) <= existing() else []
    see = re.search(r"see dlfound options (\w+)$", fix)
    return [see[1]] if see and see[1] in existing() else []


def key_of(word):
    """The key of an override, or of a reference ${...}; for the name of a group, the group."""
    return word.removeprefix("${").partition("=")[0].rstrip("}").removesuffix(".name")


def is_reported(wrong, pairs):
    """Whether a message quotes the wrong word, and its fix names what exists or builds on the right part."""
    return any(
        escaped(wrong.named)[:SHOWN] in message
        and (offers(fix) or (wrong.key in existing() and wrong.key in fix))
        for message, fix in pairs
    )


def test_the_fuzz_has_500_different_lines_with_mistakes_of_every_kind():
    assert len(lines()) == len({line for line, _ in lines()}) == LINES
    assert sum(len(wrong) for _, wrong in lines()) > 1.5 * LINES
    assert max(len(word) for line, _ in lines() for word in line) > 4000
    signs = {c for line, _ in lines() for word in line for c in word}
    assert {"\x00", "\x1b", "@", "$", "'", "["} <= signs and sum(ord(c) > 127 for c in signs) > 5
    assert any("hydra" in word for line, _ in lines() for word in line)


def test_every_mistake_is_reported_with_a_fix_and_writes_nothing(capsys, tmp_path):
    complete = set()
    for line, wrong in lines():
        pairs = reported(capsys, *line)
        missed = [mistake for mistake in wrong if not is_reported(mistake, pairs)]
        assert not missed, f"{line}\n{missed}\n{pairs}"
        complete |= {word for _, fix in pairs for word in suggested(fix)}
    assert list(tmp_path.iterdir()) == []
    assert len(complete) > 80
    for overrides in sorted(complete):
        assert wrong_when_pasted(overrides) == []


def wrong_when_pasted(overrides):
    """What is wrong with overrides alone; for a slip of an option's name the settings typed with it count."""
    try:
        compose(shlex.split(overrides), known())
    except Error as error:
        return [problem.what for problem in error.problems if " is required: " not in problem.what]
    return []


def suggested(fix):
    """The complete overrides of a fix, as a person would paste them."""
    suggestion = re.search(r"did you mean ([^$].*=.*)\?$", fix)
    return [suggestion[1]] if suggestion else []


def test_the_suggestion_for_a_slip_is_mostly_the_word_that_was_meant():
    rng = random.Random(1)
    suggestions = Suggestions(known())
    keys = [
        key
        for key in sorted(existing())
        if key.partition(".")[2] in suggestions.settings(key.partition(".")[0])
    ]
    assert len(keys) >= 25
    meant = [suggestions.key(slip_of(key, rng)) == key for key in keys for _ in range(10)]
    words = [(group, word) for group in known().groups for word in known().words(group) if len(word) > 3]
    slips = [
        (group, word, misspell(rng, word, known().words(group))) for group, word in words for _ in range(3)
    ]
    meant += [suggestions.option(group, slip) == f"{group}={word}" for group, word, slip in slips]
    assert sum(meant) > 0.9 * len(meant)


def slip_of(key, rng):
    node, _, setting = key.partition(".")
    slip = misspell(rng, setting, existing())
    return f"{node}.{slip}" if f"{node}.{slip}" not in existing() else slip_of(key, rng)


def test_words_that_are_too_different_are_not_suggested():
    words = known().words("activation")
    assert (
        similar("softmax", words) is None and similar("zebra", words) is None and similar("", words) is None
    )
    assert nearest("", words) in words and nearest("🙂" * 10_000, words) in words
    suggestions = Suggestions(known())
    assert (
        suggestions.key("verbose", 1)
        == suggestions.key("x", 1)
        == suggestions.option("optim", "bananas")
        == ""
    )
