"""Wrong words on the command line: exit 2, all of them told at once, each with a neighbour that really exists."""

import random
import re
import string
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import pytest
import torch

from dlfound.cli import main
from dlfound.config.compose import compose
from dlfound.config.nearest import nearest
from dlfound.options.configure import catalog

LINES = 500
CHUNKS = 25
SHOWN = 20  # so much of a wrong word must be told; the rest may be cut off
FOREIGN = (  # words of Python's, Hydra's, OmegaConf's and the parser's own messages
    "Traceback", "HydraException", "omegaconf", "DictConfig", "ListConfig", "cannot be composed", "full_key",
    "object_type", "is not in struct", "Interpolation key", "LexerNoViable", "no viable alternative",
    "token recognition", "mismatched input", "extraneous input", "error[bug]",
)  # fmt: skip


def wrong(capsys, *overrides, code=2, options=("--cfg",)):
    """Run `dlfound train` with wrong words: what it tells, as (what, fix) pairs."""
    assert main(["train", *options, *overrides]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert not [word for word in FOREIGN if word in err], err
    assert all(c.isprintable() or c == "\n" for c in err), "a control character reached the terminal"
    lines = err.splitlines()
    assert len(lines) % 2 == 0
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    assert all(
        re.match(r"dlfound: error\[\w+\]: .", what) and fix.startswith("  fix: ") for what, fix in pairs
    ), err
    return pairs


# ---- 500 random wrong command lines


@dataclass(frozen=True)
class Wrong:
    """A wrong override.

    Attributes:
        text: the override.
        named: what of it must be told.
        key: the sound word that it holds, if any; where there is none, the nearest one must be offered.
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


def in_default(node):
    """The settings of a node as it is by default: name -> kind."""
    option = known().plain.get(node) or known().option(node, known().defaults[node])
    return option.settings


def misspell(rng, word, taken):
    """The word with one or two slips, and none of the `taken` words; still a word."""
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
    """A group or node, or one that has settings, and one of them."""
    nodes = [head, *rng.sample(sorted(in_defaults()), len(in_defaults()))]
    node = next(n for n in nodes if n in in_defaults())
    return node, rng.choice(sorted(in_default(node)))


@cache
def in_defaults():
    """The nodes that have settings by default."""
    return frozenset(n for n in (*known().plain, *known().groups) if in_default(n))


def group(rng, head):
    word = misspell(rng, head, existing())
    return Wrong(f"{rng.choice(['', '+', '++', '~'])}{word}=adam", word)


def option(rng, head):
    head = head if head in known().groups else "optim"
    word = misspell(
        rng, rng.choice(known().words(head)), [*known().words(head), "nan", "inf", "null", "true", "false"]
    )
    return Wrong(f"{rng.choice(['', '+', '++'])}{head}={word}", word, head)


def stranger(rng, head):
    head = head if head in known().groups else "optim"
    word = rng.choice(
        ["../../evil", "/etc/passwd", "pkg://x", "os.system", "[adam]", "{a: 1}", "3", "null", "true", "''"]
    )
    return Wrong(f"{head}={word}", head, head)


def key(rng, head):
    node, setting = a_key(rng, head)
    word = f"{node}.{misspell(rng, setting, existing())}"
    while word in existing():
        word = f"{node}.{misspell(rng, setting, existing())}"
    return Wrong(f"{rng.choice(['', '+', '++', '~'])}{word}={rng.choice(['1', 'x', '[1]'])}", word)


def key_of_no_node(rng, head):
    node, setting = a_key(rng, head)
    word = f"{misspell(rng, node, existing())}.{setting}"
    return Wrong(f"{rng.choice(['', '+', '++', '~'])}{word}=1", word)


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
    return Wrong(f"{rng.choice(['', '+', '++'])}{node}.{word}=os.system", f"{node}.{word}")


VALUES = (
    "abc", "true", "[1]", "[a,b,c]", "{a: 1}", "''", "null", "nan", "inf", "-inf", "1e999", "1e-3x", "0x10", "[]",
    "[[1]]", "-1", "0", "1.5", "1e30", "-1e30", str(2**70), "9" * 4000, "[0]", "[-1]", "[64.5]", "[0.7,0.2]",
    "[1,1,1]", "foo/bar", "..",
)  # fmt: skip


def value(rng, head):
    node, setting = a_key(rng, head)
    kind = in_default(node)[setting]
    bad = [text for text in VALUES if not fits(kind, text)]
    return Wrong(
        f"{rng.choice(['', '++'])}{node}.{setting}={rng.choice(bad)}",
        f"{node}.{setting}",
        f"{node}.{setting}",
    )


def fits(kind, text):
    """Whether a setting takes the text; read as Hydra reads it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        kind.read(OverridesParser.create().parse_override(f"a={text}").value())
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def grammar(rng, head):
    node, setting = a_key(rng, head)
    path = f"{node}.{setting}"
    end = rng.choice(
        [
            "=[1",
            "=[1}",
            "={a: 1",
            "='x",
            '="x',
            "=]",
            "=f(",
            "=f(1,",
            "=[1,,2]",
            "=a=b",
            "=x=y=z",
            "=(",
            "=1]",
            "",
        ]
    )
    return Wrong(path + end, path + end, path)


def broken_key(rng, head):
    node, setting = a_key(rng, head)
    word = rng.choice(
        [
            f"{node}.",
            f".{setting}",
            f"{node}..{setting}",
            f"{node} {setting}",
            f"[{setting}]",
            f"{node}.{{",
            "1",
            "",
        ]
    )
    return Wrong(f"{word}=1", word)


def bare_word(rng, head):
    words = known().words(rng.choice(sorted(known().groups)))
    word = rng.choice([misspell(rng, rng.choice(words), existing()), misspell(rng, head, existing()), ""])
    return Wrong(word, word)


def unicode(rng, head):
    node, setting = a_key(rng, head)
    sign = rng.choice(["é", "ß", "日本", "🙂", "\u202e", "\u200b", "e\u0301", "\udcff", "İ", "\ufeff"])
    where = rng.choice(
        [f"{node}.{setting}{sign}=1", f"{sign}{setting}=1", f"{node}.{setting}={sign}", f"optim={sign}", sign]
    )
    return Wrong(where, where, f"{node}.{setting}")


def control(rng, head):
    node, setting = a_key(rng, head)
    sign = rng.choice(["\x00", "\x07", "\x1b[31m", "\x1b]0;x\x07", "\n", "\r", "\x7f", "\u2028", "\x9b"])
    where = rng.choice(
        [f"{node}.{setting}{sign}=1", f"{sign}{setting}=1", f"{node}.{setting}=1{sign}", f"optim=adam{sign}x"]
    )
    return Wrong(where, where, f"{node}.{setting}")


def long(rng, head):
    node, setting = a_key(rng, head)
    x = rng.choice("xyz_") * rng.randint(4000, 6000)
    choices = [
        Wrong(f"{x}=1", x),
        Wrong(f"optim={x}", x, "optim"),
        Wrong(f"{node}.{x}=1", f"{node}.{x}"),
        Wrong(x, x),
    ]
    return rng.choice([*choices, Wrong(f"{node}.{setting}=['{x}'", f"{node}.{setting}", node)])


def package(rng, head):
    node, setting = a_key(rng, head)
    text = rng.choice(
        [
            f"{head}@x=adam",
            "@pkg=1",
            f"{node}.{setting}@x=1",
            f"{head}@a:b=adam",
            f"+{head}@_global_=adam",
            f"{head}@=1",
        ]
    )
    return Wrong(text, text, head)


def resolver(rng, head):
    node, setting = a_key(rng, head)
    call = rng.choice(
        [
            "${oc.env:HOME}", "'${oc.env:HOME}'", "[${oc.env:HOME}]", "a${oc.env:HOME}b", "${oc.decode:1}",
            "${now:%Y}", "{a: '${oc.env:HOME}'}", "${hydra:run.dir}", "${oc.create:{a:1}}", "${${a}}", "${a.${b}}",
            '"${oc.env:X,y}"', "'${'", "'${}'",
        ]
    )  # fmt: skip
    return Wrong(f"{rng.choice(['', '++'])}{node}.{setting}={call}", f"{node}.{setting}", f"{node}.{setting}")


def reference(rng, head):
    node, setting = a_key(rng, head)
    rate = misspell(rng, "lr", [*existing(), "lr"])
    word = rng.choice([misspell(rng, "optim", existing()), f"optim.{rate}", "a.b.c", f"{node}.{setting}"])
    return Wrong(f"{node}.{setting}=${{{word}}}", word, f"{node}.{setting}")


def hydras(rng, head):
    word = rng.choice(
        [
            "hydra.run.dir",
            "hydra.searchpath",
            "hydra/launcher",
            "hydra.callbacks.c._target_",
            "hydra",
            "hydra.job.chdir",
        ]
    )
    return Wrong(f"{rng.choice(['', '+', '++', '~'])}{word}={rng.choice(['x', '[file:///etc]'])}", word)


def sweep(rng, head):
    node, setting = a_key(rng, head)
    many = rng.choice(
        [
            "1,2",
            "range(1,3)",
            "choice(1,2)",
            "interval(0,1)",
            "glob(*)",
            "tag(a,choice(1,2))",
            "sort(2,1)",
            "shuffle(1,2)",
        ]
    )
    text = rng.choice(
        [
            f"{node}.{setting}={many}",
            "optim=adam,sgd",
            "optim=glob(*)",
            f"{misspell(rng, head, existing())}={many}",
        ]
    )
    return Wrong(text, text, text.partition("=")[0])


def removal(rng, head):
    node, setting = a_key(rng, head)
    word = rng.choice([head, f"{node}.{setting}", "experiment", node])
    return Wrong(f"~{word}", word, word)


def needless_plus(rng, head):
    node, setting = a_key(rng, head)
    head = head if head in known().groups else "optim"
    text, word = rng.choice(
        [(f"{head}={known().defaults[head]}", head), (f"{node}.{setting}=1", f"{node}.{setting}")]
    )
    return Wrong(f"+{text}", word, word)


def mapping(rng, head):
    node = rng.choice(sorted(known().plain))
    setting = rng.choice(sorted(in_default(node)))
    bad = misspell(rng, setting, in_default(node))
    text, word = rng.choice(
        [
            (f"{node}=3", node),
            (f"{node}=null", node),
            (f"{node}={{{bad}: 1}}", f"{node}.{bad}"),
            (f"{node}=[1]", node),
        ]
    )
    return Wrong(text, word, "" if bad in word else node)


MUTATIONS = (
    group, option, stranger, key, key_of_no_node, bare_key, deep_key, target, value, value, value, grammar,
    broken_key, bare_word, unicode, control, long, package, resolver, reference, hydras, sweep, removal,
    needless_plus, mapping,
)  # fmt: skip


def a_line(rng):
    """1 to 3 wrong overrides, and sound ones among them: (all, the wrong ones)."""
    heads = rng.sample(sorted({*known().groups, *known().plain}), 5)
    found = {}
    for head, mutation in zip(heads, rng.sample(MUTATIONS, rng.randint(1, 3)), strict=False):
        made = mutation(rng, head)
        found.setdefault(touched(made.text), made)
    bad = list(found.values())
    # Sound words for groups that no wrong word touches, so that none is overruled or refused on another's account.
    free = [h for h in heads if h in known().groups and h not in {touched(w.text) for w in bad}]
    sound = [f"{h}={known().defaults[h]}" for h in free[: rng.randint(0, 2)]]
    line = [w.text for w in bad] + sound
    rng.shuffle(line)
    return line, bad


def touched(override):
    """The node that an override is about: of two wrong ones about one node, only the last may be told."""
    return re.split("[=.@/]", override.lstrip("+~"))[0]


@cache
def lines():
    rng, made = random.Random(20261121), {}
    while len(made) < LINES:
        line, bad = a_line(rng)
        made[tuple(line)] = bad
    return tuple(made.items())


def escaped(text):
    """As a terminal may see it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def offered(fix):
    """What a fix offers to write instead; empty where it offers nothing that exists."""
    for word, choice in re.findall(r"did you mean ([\w./]+)(?:=([\w.-]+))?", fix):
        key = word.removesuffix(".name")  # of a group: what a reference may point to
        if key in existing() and (not choice or choice == "..." or choice in known().words(word)):
            return word
    return ""


def is_told(made, pairs):
    """Whether a pair names the wrong word, and its fix offers a neighbour or builds on the sound part of it."""
    for what, fix in pairs:
        named = escaped(made.named)[:SHOWN] in what
        if named and (offered(fix) or (made.key in existing() and made.key in fix)):
            return True
    return False


def test_fuzz_makes_500_different_lines_with_every_mistake():
    assert len(lines()) == len({line for line, _ in lines()}) == LINES
    assert sum(len(bad) for _, bad in lines()) > 1.5 * LINES
    assert max(len(word) for line, _ in lines() for word in line) > 4000
    signs = {c for line, _ in lines() for word in line for c in word}
    assert {"\x00", "\x1b", "@", "$", "'", "["} <= signs and sum(ord(c) > 127 for c in signs) > 5
    assert any("hydra" in word for line, _ in lines() for word in line)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_fuzz_every_wrong_word_is_told_with_a_neighbour(chunk, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line, bad in lines()[chunk::CHUNKS]:
        pairs = wrong(capsys, *line)
        missed = [made for made in bad if not is_told(made, pairs)]
        assert not missed, f"{line}\n{missed}\n{pairs}"
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_word_is_mostly_the_one_that_was_meant():
    rng, words = random.Random(1), sorted(existing())
    assert len(words) > 60
    meant = [nearest(misspell(rng, word, existing()), words) == word for word in words if "." not in word]
    meant += [nearest(word.upper(), words) == word for word in words]
    assert sum(meant) > 0.9 * len(meant)
    assert nearest("", words) in words and nearest("🙂" * 10_000, words) in words


# ---- the cases of FAULTS, section 2.1


CASES = [  # overrides, what is told of them, what the fix holds
    (["optim=nope"], "no optim named 'nope'; choose from: ", "did you mean optim="),  # C1
    (["optm=adam"], "unknown key 'optm'", "did you mean optim?"),  # C2
    (["experimnt=spirals_depth"], "unknown key 'experimnt'", "did you mean experiment?"),
    (["adam"], "cannot read override 'adam': there is no '=' in it", "did you mean optim=adam?"),
    (["spirals_depth"], "there is no '=' in it", "did you mean experiment=spirals_depth?"),
    (["optim.lrr=1"], "unknown key 'optim.lrr'", "did you mean optim.lr?"),  # C3
    (["+optim.lrr=1"], "unknown key 'optim.lrr'", "did you mean optim.lr?"),
    (["++optim.lrr=1"], "unknown key 'optim.lrr'", "did you mean optim.lr?"),
    (["~optim.lrr"], "unknown key 'optim.lrr'", "did you mean optim.lr?"),
    (["lr=0.1"], "unknown key 'lr'", "did you mean optim.lr?"),
    (["dropout.hidden=0.5"], "dropout=none has no setting 'dropout.hidden'", "dropout=standard"),
    (["dropout.hiden=0.5"], "unknown key 'dropout.hiden'", "did you mean dropout.hidden?"),
    (["optim.lr=abc"], "optim.lr must be a finite number > 0, got 'abc'", "optim.lr"),  # C4
    (["optim.lr=1e-3x"], "optim.lr must be a finite number > 0, got '1e-3x'", "optim.lr"),
    (["optim.lr=-1"], "optim.lr must be a finite number > 0, got -1", "optim.lr"),  # C5
    (["optim.lr=0"], "optim.lr must be a finite number > 0, got 0", "optim.lr"),
    (["optim.lr=nan"], "optim.lr must be a finite number > 0, got nan", "optim.lr"),
    (["++optim.lr=inf"], "optim.lr must be a finite number > 0, got inf", "optim.lr"),
    (["optim.lr=true"], "optim.lr must be a finite number > 0, got True", "optim.lr"),
    (["optim.lr=null"], "optim.lr must be a finite number > 0, got None", "optim.lr"),
    (["model.hidden=[]"], "model.hidden must be a list of 1 to 100 whole numbers", "model.hidden"),  # C6
    (["model.hidden=[0]"], "model.hidden must be a list of 1 to 100 whole numbers", "model.hidden"),
    (["model.hidden=[-1]"], "model.hidden must be a list of 1 to 100 whole numbers", "model.hidden"),
    (["model.hidden=[64.5]"], "model.hidden must be a list of 1 to 100 whole numbers", "model.hidden"),
    (["model.hidden=" + str([4] * 1000)], "model.hidden must be a list of 1 to 100 whole numbers", "model.hidden"),
    (["dropout=standard", "dropout.hidden=1.5"], "must be a number in [0, 1), got 1.5", "dropout.hidden"),
    (["dropout=standard", "dropout.hidden=1.0"], "must be a number in [0, 1), got 1.0", "dropout.hidden"),
    (["run.seed=no"], "run.seed must be a whole number in 0...4294967295, got 'no'", "run.seed"),  # C8
    (["run.seed=false"], "run.seed must be a whole number in 0...4294967295, got False", "run.seed"),
    (["run.seed=-1"], "run.seed must be a whole number in 0...4294967295, got -1", "run.seed"),
    (["run.seed=4294967296"], "run.seed must be a whole number in 0...4294967295, got 4294967296", "run.seed"),
    (["run.seed=1.5"], "run.seed must be a whole number in 0...4294967295, got 1.5", "run.seed"),
    (["train.epochs=0"], "train.epochs must be a whole number >= 1, got 0", "train.epochs"),  # C10
    (["train.batch_size=0"], "must be a whole number >= 1 or full or auto, got 0", "train.batch_size"),
    (["run.device=foo"], "run.device must be auto, cpu, cuda or cuda:N, got 'foo'", "run.device="),  # C11
    (["run.device=cuda:"], "run.device must be auto, cpu, cuda or cuda:N, got 'cuda:'", "run.device=cuda"),
    (["run.name=${run.dir}", "run.dir=${run.name}"], "interpolation loop at 'run.name'", "run.name"),  # C15
    (["optim.lr=${optim.lr}"], "interpolation loop at 'optim.lr'", "optim.lr"),
    (["optim.lr=${optim.lrr}"], "optim.lr refers to 'optim.lrr', which does not exist", "did you mean optim.lr?"),
    (["run.name=${oc.env:NOPE}"], "resolvers are not allowed in a configuration", "run.name"),
    (["run.name='${oc.env:NOPE}'"], "resolvers are not allowed in a configuration", "run.name"),
    (["run.name=\\${x}"], "run.name refers to 'x', which does not exist", "did you mean "),
    (["optim.betas=[0.9"], "cannot read override 'optim.betas=[0.9' (at character ", "optim.betas='...'"),  # C16
    (["run.name='x"], "cannot read override \"run.name='x\" (at character 10)", "run.name='...'"),
    (["run.name=größe"], "cannot read override 'run.name=größe' (at character 12)", "'run.name=\"größe\"'"),
    (["run.name=🙂"], "cannot read override 'run.name=🙂' (at character 10)", "'run.name=\"🙂\"'"),
    (["run.name=a\x00"], "cannot read override 'run.name=a\\x00' (at character 11)", "run.name='...'"),
    (["@pkg=1"], "'@' is not used here: '@pkg=1'", "did you mean "),
    (["a=b=c"], "cannot read override 'a=b=c' (at character 4)", "did you mean "),
    (["x" * 4096 + "=1"], "unknown key '" + "x" * 50, "did you mean "),
    (["train={epochs: 3, epohcs: 4}"], "unknown key 'train.epohcs'", "did you mean train.epochs?"),
    (["train=3"], "train holds settings, not a value", "train.epochs"),
    (["optim.betas={a: 1}"], "optim.betas must be a list of two numbers in [0, 1), got {'a': 1}", "optim.betas"),
    (["optim=adam,sgd"], "'optim=adam,sgd' is a choice of several values, but one run takes one", "optim"),
    (["+optim=sgd"], "'+' is not needed", "write optim=sgd"),
    (["+optim.lr=1"], "'+' is not needed", "write optim.lr=1"),
    (["~optim"], "optim cannot be removed", "optim=..."),
    (["~dropout"], "dropout cannot be removed", "dropout=none"),
    (["~experiment"], "experiment cannot be removed", "experiment=null"),
    (["optim.name=sgd"], "optim.name is set by choosing an option", "write optim=...: "),
    (["model._target_=os.system"], "unknown key 'model._target_'", "did you mean model.hidden?"),  # X5
    (["+model._target_=os.system"], "unknown key 'model._target_'", "did you mean model.hidden?"),
    (["model=../../evil"], "no model named '../../evil'", "did you mean model="),  # X9
    (["data=/etc/passwd"], "no data named '/etc/passwd'", "did you mean data="),
    (["model=pkg://x"], "no model named 'pkg://x'", "did you mean model="),
    (["hydra.run.dir=/x"], "'hydra.run.dir' is Hydra's own and cannot be set here", "did you mean run.dir=...?"),
    (["hydra/launcher=x"], "'hydra/launcher' is Hydra's own and cannot be set here", "did you mean "),
    (["+hydra.callbacks.c._target_=builtins.open"], "is Hydra's own and cannot be set here", "did you mean "),
]  # fmt: skip


def in_lines(cases):
    """The cases as few command lines: all mistakes are told at once, so those about different nodes share one."""
    lines = []
    for case in cases:
        heads = {touched(override) for override in case[0]}
        line = next((line for line in lines if not line[0] & heads), None)
        if line is None:
            lines.append(line := (set(), []))
        line[0].update(heads)
        line[1].append(case)
    return [cases for _, cases in lines]


@pytest.mark.parametrize("cases", in_lines(CASES), ids=lambda cases: f"{len(cases)} at once")
def test_wrong_words(cases, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = wrong(capsys, *(override for overrides, _, _ in cases for override in overrides))
    missed = [case for case in cases if not any(case[1] in told and case[2] in fix for told, fix in pairs)]
    assert missed == [], pairs
    assert list(tmp_path.iterdir()) == []


def test_long_values_are_shown_short(capsys):
    ((what, _),) = wrong(capsys, "optim.lr=" + "x" * 5000)
    assert len(what) < 200 and "..." in what


def test_all_mistakes_are_told_at_once_and_nothing_is_made(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = [
        "optim=nope", "optm=1", "dropout.hiden=1", "a=[1", "train.epochs=x", "model.hidden=[0]", "data=digits,sine",
        "run.name=${oc.env:HOME}", "~lr_decay", "early_stopping.look_ahead=1", "activatoin=relu",
    ]  # fmt: skip
    pairs = wrong(capsys, *line, options=())
    told = "\n".join(what for what, _ in pairs)
    names = (
        "'nope'", "'optm'", "'dropout.hiden'", "'a=[1'", "train.epochs", "model.hidden", "'data=digits,sine'",
        "oc.env", "lr_decay cannot", "look_ahead (1)", "'activatoin'",
    )  # fmt: skip
    assert [name for name in names if name not in told] == []
    assert len(pairs) == len(line)
    assert list(tmp_path.iterdir()) == []


def test_settings_of_a_refused_option_are_still_looked_up(capsys):
    pairs = wrong(capsys, "dropout=standart", "dropout.hidden=0.5", "dropout.hiden=0.5")
    assert [what.partition("]: ")[2].partition(";")[0] for what, _ in pairs] == [
        "no dropout named 'standart'",
        "unknown key 'dropout.hiden'",
    ]
    assert [fix for _, fix in pairs] == [
        "  fix: did you mean dropout=standard?",
        "  fix: did you mean dropout.hidden?",
    ]


def test_rules_across_groups_are_told_with_the_rest(capsys):
    pairs = wrong(
        capsys, "early_stopping.look_ahead=2", "lr_decay.patience=5", "loss=cross_entropy", "data=sine", "x=1"
    )
    assert len(pairs) == 3
    assert "early_stopping.look_ahead (2) is not longer than lr_decay.patience (5)" in pairs[1][0]
    assert "loss=cross_entropy is for" in pairs[2][0] and "this task is regression" in pairs[2][0]


@pytest.mark.parametrize(
    "twice",
    [["optim.lr=1", "optim.lr=2"], ["optim.lr=1", "++optim.lr=2"], ["optim=sgd", "optim=adam", "optim.lr=2"]],
)
def test_the_last_of_two_counts_with_a_warning(twice):  # C17
    config = compose(twice, catalog())
    assert config.name("optim") == "adam" and config["optim"]["lr"] == 2.0
    assert config.origins["optim.lr"] == twice[-1]
    (warning,) = config.warnings
    key = "optim" if "optim=adam" in twice else "optim.lr"
    assert warning.startswith(f"{key} is set twice; the last counts: ")


def test_no_warning_where_nothing_is_said_twice():
    assert (
        compose(["optim=adam", "optim.lr=1", "lr_decay=none", "model.hidden=[3]"], catalog()).warnings == []
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_absent_is_no_wrong_word(capsys, tmp_path, monkeypatch):  # C11
    monkeypatch.chdir(tmp_path)
    ((what, fix),) = wrong(capsys, "run.device=cuda", options=(), code=6)
    assert "device 'cuda' is not available here (torch sees 0 GPUs)" in what
    assert "run.device=cpu" in fix
    assert list(tmp_path.iterdir()) == []


def test_more_gpus_than_there_are(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((what, _),) = wrong(capsys, "run.device=cuda:99", options=(), code=6)
    assert "device 'cuda:99' is not available here" in what
    assert list(tmp_path.iterdir()) == []


def test_unknown_flags_of_hydra_are_not_offered(capsys):  # X9
    for flag in ("--experimental-rerun", "--config-path", "--config-name", "--cgf"):
        ((what, fix),) = wrong(capsys, flag)
        assert f"unknown flag '{flag}'" in what and "did you mean -" in fix


def test_torch_is_not_imported_to_tell_a_wrong_word():
    program = """
import sys
from dlfound.cli import main
for words in ([], ["--help"], ["--version"], ["options"], ["options", "optim"], ["options", "--json"], ["nope"],
              ["train", "--help"], ["eval", "--help"], ["train", "--cfg"], ["train", "--nope"], ["train", "optm=1"],
              ["train", "optim=nope"], ["train", "optim.lr=abc"], ["train", "optim=[1"],
              ["train", "--config-dir", "/nope"],
              ["options", "optm"], ["train", "early_stopping.look_ahead=1"]):
    code = main(words)
    print(code, "torch._C" in sys.modules, words, file=sys.__stderr__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ", 2) for line in done.stderr.splitlines() if re.match(r"\d (True|False) \[", line)]
    assert len(rows) == 18
    assert [row for row in rows if row[1] != "False"] == []
    assert [int(row[0]) for row in rows] == [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2]
