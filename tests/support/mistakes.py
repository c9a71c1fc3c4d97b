"""Random wrong overrides of every kind, each with what a message about it must quote."""

import re
import string
from dataclasses import dataclass
from functools import cache

from dlfound.config.overrides import parse_override
from dlfound.config.suggest import Suggestions
from dlfound.options.configure import catalog


@dataclass(frozen=True)
class Wrong:
    """A wrong override.

    Attributes:
        text: the override.
        named: the part of it that the message must quote.
        key: the existing key or group in it, if any; without one, the fix must name others.
    """

    text: str
    named: str
    key: str = ""


@cache
def known():
    return catalog()


@cache
def existing():
    """Every word that may stand before a `=`."""
    return frozenset(known().everything())


@cache
def settings():
    """Node -> its settings by default (name -> type); only nodes that have some."""
    every = {node: Suggestions(known()).settings(node) for node in (*known().plain, *known().groups)}
    return {node: types for node, types in every.items() if types}


def misspell(rng, word, taken):
    """The word with one or two slips; still a word, and none of the `taken` ones."""
    while True:
        letters = list(word)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(letters))
            slip = rng.choice(["drop", "double", "swap", "replace", "case"])
            if slip == "drop" and len(letters) > 2:
                del letters[at]
            elif slip == "double":
                letters.insert(at, letters[at])
            elif slip == "swap" and at > 0:
                letters[at - 1], letters[at] = letters[at], letters[at - 1]
            elif slip == "replace":
                letters[at] = rng.choice(string.ascii_lowercase)
            elif slip == "case":
                letters[at] = letters[at].swapcase()
        slipped = "".join(letters)
        if slipped not in taken and re.fullmatch(r"[A-Za-z_]\w*", slipped, re.ASCII):
            return slipped


def a_key(rng, head):
    """A node that has settings (`head`, if it has some), and one of them."""
    node = head if head in settings() else rng.choice(sorted(settings()))
    return node, rng.choice(sorted(settings()[node]))


def a_group(head):
    return head if head in known().groups else "optim"


def prefix(rng, *prefixes):
    return rng.choice(["", *prefixes])


# ---- mistakes: each takes the generator and a node that the override should be about


def group(rng, head):
    word = misspell(rng, head, existing())
    return Wrong(f"{prefix(rng, '+', '++', '~')}{word}=adam", word)


def option(rng, head):
    words = known().words(a_group(head))
    word = misspell(rng, rng.choice(words), [*words, "nan", "inf", "null", "true", "false"])
    return Wrong(f"{prefix(rng, '+', '++')}{a_group(head)}={word}", word, a_group(head))


def stranger(rng, head):
    words = [
        "../../evil",
        "/etc/passwd",
        "pkg://x",
        "os.system",
        "[adam]",
        "{a: 1}",
        "3",
        "null",
        "true",
        "''",
    ]
    return Wrong(f"{a_group(head)}={rng.choice(words)}", a_group(head), a_group(head))


def key(rng, head):
    node, setting = a_key(rng, head)
    word = f"{node}.{misspell(rng, setting, existing())}"
    while word in existing():
        word = f"{node}.{misspell(rng, setting, existing())}"
    return Wrong(f"{prefix(rng, '+', '++', '~')}{word}={rng.choice(['1', 'x', '[1]'])}", word)


def key_of_no_node(rng, head):
    node, setting = a_key(rng, head)
    word = f"{misspell(rng, node, existing())}.{setting}"
    return Wrong(f"{prefix(rng, '+', '++', '~')}{word}=1", word)


def bare_key(rng, head):
    _, setting = a_key(rng, head)
    word = setting if setting not in existing() else misspell(rng, setting, existing())
    return Wrong(f"{word}=0.5", word)


def deep_key(rng, head):
    node, setting = a_key(rng, head)
    return Wrong(f"{node}.{setting}.{rng.choice(['x', '_target_', '0'])}=1", f"{node}.{setting}")


def target(rng, head):
    node, _ = a_key(rng, head)
    word = rng.choice(["_target_", "_partial_", "_args_", "defaults", "__class__"])
    return Wrong(f"{prefix(rng, '+', '++')}{node}.{word}=os.system", f"{node}.{word}")


VALUES = (
    "abc", "true", "[1]", "[a,b,c]", "{a: 1}", "''", "null", "nan", "inf", "-inf", "1e999", "1e-3x", "0x10",
    "[]",
    "[[1]]", "-1", "0", "1.5", "1e30", "-1e30", str(2**70), "9" * 4000, "[0]", "[-1]", "[64.5]", "[0.7,0.2]",
    "[1,1,1]", "foo/bar", "..",
)  # fmt: skip


def value(rng, head):
    node, setting = a_key(rng, head)
    bad = [text for text in VALUES if not fits(settings()[node][setting], text)]
    path = f"{node}.{setting}"
    return Wrong(f"{prefix(rng, '++')}{path}={rng.choice(bad)}", path, path)


def fits(setting_type, text):
    try:
        setting_type.read(parse_override(f"a={text}").value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def grammar(rng, head):
    node, setting = a_key(rng, head)
    path = f"{node}.{setting}"
    ends = [
        "=[1", "=[1}", "={a: 1", "='x", '="x', "=]", "=f(", "=f(1,", "=[1,,2]", "=a=b", "=x=y=z", "=(", "=1]",
        "",
    ]  # fmt: skip
    text = path + rng.choice(ends)
    return Wrong(text, text, path)


def broken_key(rng, head):
    node, setting = a_key(rng, head)
    keys = [
        f"{node}.", f".{setting}", f"{node}..{setting}", f"{node} {setting}", f"[{setting}]", f"{node}.{{",
        "1", "",
    ]  # fmt: skip
    word = rng.choice(keys)
    return Wrong(f"{word}=1", word)


def bare_word(rng, head):
    words = known().words(rng.choice(sorted(known().groups)))
    word = rng.choice([misspell(rng, rng.choice(words), existing()), misspell(rng, head, existing()), ""])
    return Wrong(word, word)


def unicode(rng, head):
    node, setting = a_key(rng, head)
    sign = rng.choice(["é", "ß", "日本", "🙂", "\u202e", "\u200b", "e\u0301", "\udcff", "İ", "\ufeff"])
    places = [
        f"{node}.{setting}{sign}=1", f"{sign}{setting}=1", f"{node}.{setting}={sign}", f"optim={sign}", sign,
    ]  # fmt: skip
    text = rng.choice(places)
    return Wrong(text, text, "optim" if text.startswith("optim=") else f"{node}.{setting}")


def control(rng, head):
    node, setting = a_key(rng, head)
    sign = rng.choice(["\x00", "\x07", "\x1b[31m", "\x1b]0;x\x07", "\n", "\r", "\x7f", "\u2028", "\x9b"])
    places = [
        f"{node}.{setting}{sign}=1", f"{sign}{setting}=1", f"{node}.{setting}=1{sign}", f"optim=adam{sign}x",
    ]  # fmt: skip
    text = rng.choice(places)
    return Wrong(text, text, "optim" if text.startswith("optim=") else f"{node}.{setting}")


def long(rng, head):
    node, setting = a_key(rng, head)
    x = rng.choice("xyz_") * rng.randint(4000, 6000)
    return rng.choice([
        Wrong(f"{x}=1", x), Wrong(f"optim={x}", x, "optim"), Wrong(f"{node}.{x}=1", f"{node}.{x}"),
        Wrong(x, x),
        Wrong(f"{node}.{setting}=['{x}'", f"{node}.{setting}", node),
    ])  # fmt: skip


def package(rng, head):
    node, setting = a_key(rng, head)
    text = rng.choice([
        f"{head}@x=adam", "@pkg=1", f"{node}.{setting}@x=1", f"{head}@a:b=adam", f"+{head}@_global_=adam",
        f"{head}@=1",
    ])  # fmt: skip
    return Wrong(text, text, head)


def resolver(rng, head):
    node, setting = a_key(rng, head)
    call = rng.choice([
        "${oc.env:HOME}", "'${oc.env:HOME}'", "[${oc.env:HOME}]", "a${oc.env:HOME}b", "${oc.decode:1}",
        "${now:%Y}",
        "{a: '${oc.env:HOME}'}", "${hydra:run.dir}", "${oc.create:{a:1}}", "${${a}}", "${a.${b}}",
        '"${oc.env:X,y}"',
        "'${'", "'${}'",
    ])  # fmt: skip
    path = f"{node}.{setting}"
    return Wrong(f"{prefix(rng, '++')}{path}={call}", path, path)


def reference(rng, head):
    node, setting = a_key(rng, head)
    rate = misspell(rng, "lr", [*existing(), "lr"])
    word = rng.choice([misspell(rng, "optim", existing()), f"optim.{rate}", "a.b.c", f"{node}.{setting}"])
    return Wrong(f"{node}.{setting}=${{{word}}}", word, f"{node}.{setting}")


def hydras(rng, head):
    keys = ["hydra.run.dir", "hydra.searchpath", "hydra/launcher", "hydra.callbacks.c._target_", "hydra"]
    word = rng.choice([*keys, "hydra.job.chdir"])
    return Wrong(f"{prefix(rng, '+', '++', '~')}{word}={rng.choice(['x', '[file:///etc]'])}", word)


def sweep(rng, head):
    node, setting = a_key(rng, head)
    many = rng.choice([
        "1,2", "range(1,3)", "choice(1,2)", "interval(0,1)", "glob(*)", "tag(a,choice(1,2))", "sort(2,1)",
        "shuffle(1,2)",
    ])  # fmt: skip
    keys = [
        f"{node}.{setting}={many}",
        "optim=adam,sgd",
        "optim=glob(*)",
        f"{misspell(rng, head, existing())}={many}",
    ]
    text = rng.choice(keys)
    return Wrong(text, text, text.partition("=")[0])


def removal(rng, head):
    node, setting = a_key(rng, head)
    word = rng.choice([head, f"{node}.{setting}", "experiment", node])
    return Wrong(f"~{word}", word, word)


def needless_plus(rng, head):
    node, setting = a_key(rng, head)
    choice = f"{a_group(head)}={known().defaults[a_group(head)]}"
    text, word = rng.choice([(choice, a_group(head)), (f"{node}.{setting}=1", f"{node}.{setting}")])
    return Wrong(f"+{text}", word, word)


def mapping(rng, head):
    node = rng.choice(sorted(known().plain))
    bad = misspell(rng, rng.choice(sorted(settings()[node])), settings()[node])
    words = [
        (f"{node}={{{bad}: 1}}", f"{node}.{bad}"),
        *((f"{node}={v}", node) for v in ("3", "null", "[1]")),
    ]
    text, word = rng.choice(words)
    return Wrong(text, word, "" if bad in word else node)


MISTAKES = (
    group, option, stranger, key, key_of_no_node, bare_key, deep_key, target, value, value, value, grammar,
    broken_key, bare_word, unicode, control, long, package, resolver, reference, hydras, sweep, removal,
    needless_plus, mapping,
)  # fmt: skip
