"""`dlfound completion`: what is offered, word by word; and the three shells themselves, driven as a person would."""

import json
import os
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dlfound.cli import VERBS, main
from dlfound.objective.tasks import METRICS

OPTIMIZERS = ["adadelta", "adagrad", "adam", "adamw", "lbfgs", "momentum"]
OPTIMIZERS += ["muon", "nadam", "nesterov", "radam", "rmsprop", "sgd"]
RUNS = (
    "digits/2026-01-01_10-00-00-aaaa",
    "my run/2026-01-02_10-00-00-bbbb",
    "moons/2026-01-03_10-00-00-cccc",
)
PATIENCE = 60  # seconds until a shell that says nothing counts as stuck


def asked(capsys, line):
    """(what the shell may do by itself, {word: what it means}) for a line."""
    assert main(["completion", f"--line={line}"]) == 0
    out, err = capsys.readouterr()
    otherwise, *lines = out.splitlines()
    assert err == "" and all(line.count("\t") == 1 for line in lines)
    return otherwise, dict(line.split("\t") for line in lines)


def offered(capsys, line):
    return list(asked(capsys, line)[1])


def values(key, *words):
    return [f"{key}={word}" for word in words]


@pytest.fixture
def place():
    """The folder to stand in: runs, an option of one's own, two broken folders."""
    for number, run in enumerate(RUNS):
        config = Path("outputs", run, "config.yaml")
        config.parent.mkdir(parents=True)
        config.write_text("")
        os.utime(config, (1000 + number, 1000 + number))
    for file, text in {
        "my_conf/optim/brisk.yaml": "name: lbfgs\nhistory: 7\n",
        "my_conf/experiment/mine.yaml": "# @package _global_\ndefaults:\n- override /optim: muon\noptim:\n  lr: 0.5\n",
        "twice/optim/sgd.yaml": "name: sgd\n",
        "broken/optim/bad.yaml": "[",
        "broken/experiment/worse.yaml": "- a\n",
    }.items():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text)
    Path("picture.png").touch()


# ---- what is offered


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dlfound ", [*VERBS]),
        ("dlfound tr", ["train"]),
        ("dlfound -", ["--help", "--version"]),
        ("dlfound nope ", []),
        ("dlfound nope", []),
        ("/usr/bin/dlfound tr", ["train"]),
        ("dlfound train opt", ["optim=", "optim."]),
        ("dlfound train optim=adam opt", ["optim."]),
        ("dlfound train const", ["constraint="]),
        ("dlfound train constraint=max_norm const", ["constraint."]),
        ("dlfound train run", ["run."]),
        ("dlfound train exp", ["experiment="]),
        ("dlfound train nope", []),
        ("dlfound train optim=", values("optim", *OPTIMIZERS)),
        ("dlfound train optim=ada", values("optim", "adadelta", "adagrad", "adam", "adamw")),
        ("dlfound train optim=nope", []),
        ("dlfound train nope=", []),
        ("dlfound train optim.", ["optim.lr=", "optim.betas=", "optim.eps="]),
        ("dlfound train optim=sgd optim.", ["optim.lr="]),
        ("dlfound train optim=sgd data=moons optim=momentum optim.", ["optim.lr=", "optim.momentum="]),
        ("dlfound train optim.lr=3 optim.", ["optim.betas=", "optim.eps="]),
        ("dlfound train optim=nope optim.", []),
        ("dlfound train nope.", []),
        ("dlfound train optim.lr=", ["optim.lr=0.001"]),
        ("dlfound train optim=sgd optim.lr=", ["optim.lr=0.1"]),
        ("dlfound train optim.eps=", ["optim.eps=1e-08"]),
        ("dlfound train optim.betas=", ["optim.betas=[0.9,0.999]"]),
        ("dlfound train optim.lr=0.5", []),
        ("dlfound train optim=sgd optim.betas=", []),
        ("dlfound train model.hidden=", ["model.hidden=[256,256]"]),
        ("dlfound train data.see", ["data.seed="]),
        ("dlfound train data.seed=", ["data.seed=0"]),
        ("dlfound train train.batch_size=", values("train.batch_size", "full", "auto")),
        ("dlfound train run.device=", values("run.device", "auto", "cpu", "cuda")),
        ("dlfound train run.device=c", values("run.device", "cpu", "cuda")),
        ("dlfound train run.name=", []),
        ("dlfound train data=passfail data.target=", values("data.target", "pass", "grade")),
        ("dlfound train train.monitor=", values("train.monitor", "auto", *METRICS["multiclass"])),
        ("dlfound train data=sine train.monitor=", values("train.monitor", "auto", *METRICS["regression"])),
        ("dlfound train data=passfail data.target=grade train.monitor=r", ["train.monitor=rmse", "train.monitor=r2"]),
        ("dlfound train data=arrays train.monitor=r", ["train.monitor=rmse", "train.monitor=r2"]),
        ("dlfound train data=nope train.monitor=acc", ["train.monitor=accuracy"]),
        ("dlfound train experiment=sp", ["experiment=spirals_depth"]),
        ("dlfound train experiment=spirals_depth optim.lr=", ["optim.lr=0.01"]),
        ("dlfound train experiment=spirals_depth data.t", ["data.turns="]),
        ("dlfound train --c", ["--config-dir", "--cfg", "--check"]),
        ("dlfound train optim=sgd --j", ["--json"]),
        ("dlfound eval --", ["--help", "--data", "--with", "--json"]),
        ("dlfound train --nope", []),
        ("dlfound train -- --c", []),
        ("dlfound train --with my.py optim=sg", ["optim=sgd"]),
        ("dlfound train --cfg optim=sg", ["optim=sgd"]),
        ("dlfound board --port ", []),
        ("dlfound options op", ["optim"]),
        ("dlfound options e", ["early_stopping", "experiment"]),
        ("dlfound options optim ", []),
        ("dlfound completion ", ["bash", "zsh", "fish"]),
        ("dlfound completion bash ", []),
        ("dlfound train optim='ad", values("optim", "adadelta", "adagrad", "adam", "adamw")),
        ('dlfound train "optim=sg', ["optim=sgd"]),
        ("dlfound train optim=sgd\\", ["optim=sgd"]),
        ('dlfound train "it\'s" optim=sg', ["optim=sgd"]),
        ("", [*VERBS]),
    ],
)  # fmt: skip
def test_the_words_that_fit(line, words, capsys):
    otherwise, found = asked(capsys, line)
    assert otherwise == "nothing" and list(found) == words


@pytest.mark.parametrize(
    ("line", "words", "otherwise"),
    [
        ("dlfound eval ", ["latest", "moons", "digits", "my run"], "folders"),
        ("dlfound eval la", ["latest"], "folders"),
        ("dlfound eval 'my r", ["my run"], "folders"),
        ("dlfound eval my\\ r", ["my run"], "folders"),
        ("dlfound eval 2026-01-03", ["2026-01-03_10-00-00-cccc"], "folders"),
        ("dlfound eval moons/", ["moons/2026-01-03_10-00-00-cccc"], "folders"),
        ("dlfound eval outputs/mo", [], "folders"),
        ("dlfound eval latest ", [], "nothing"),
        ("dlfound compare latest d", ["digits"], "folders"),
        ("dlfound compare latest --json d", ["digits"], "folders"),
        ("dlfound board --port 6007 d", ["digits"], "folders"),
        ("dlfound runs d", ["digits"], "folders"),
        ("dlfound predict d", ["digits"], "folders"),
        ("dlfound predict digits ", [], "files"),
        ("dlfound predict digits --out ", [], "files"),
        ("dlfound predict --with my.py di", ["digits"], "folders"),
        ("dlfound train --config-dir ", [], "folders"),
        ("dlfound train --config-dir=", [], "folders"),
        ("dlfound train --with ", [], "files"),
        ("dlfound train optim=sgd > ", [], "files"),
        ("dlfound train 2> ", [], "files"),
        ("dlfound train >pi", [], "files"),
        ("dlfound train run.dir=", [], "files"),
        ("dlfound train data=mnist data.root=", [], "files"),
        ("dlfound train data=image_folder data.path=my", [], "files"),
        ("dlfound train --config-dir my_conf optim=b", ["optim=brisk"], "nothing"),
        ("dlfound train --config-dir=my_conf optim=b", ["optim=brisk"], "nothing"),
        ("dlfound train optim=brisk --config-dir my_conf optim.h", ["optim.history="], "nothing"),
        ("dlfound train --config-dir my_conf optim=brisk optim.history=", ["optim.history=7"], "nothing"),
        ("dlfound train --config-dir my_conf experiment=mine optim.v", ["optim.vector_lr="], "nothing"),
        ("dlfound train --config-dir my_conf experiment=mine optim.lr=", ["optim.lr=0.5"], "nothing"),
        ("dlfound train --config-dir my_conf experiment=mine optim=sgd optim.v", [], "nothing"),
        ("dlfound options --config-dir my_conf op", ["optim"], "nothing"),
        ("dlfound train --config-dir broken optim=b", ["optim=bad"], "nothing"),
    ],
)  # fmt: skip
def test_words_and_paths_from_the_place(line, words, otherwise, place, capsys):
    found = asked(capsys, line)
    assert found[0] == otherwise and sorted(found[1]) == sorted(words)


@pytest.mark.parametrize("folder", ["twice", "no_such_folder", "picture.png"])
@pytest.mark.parametrize("text", ["", "opt", "optim=", "optim.", "optim.lr="])
def test_a_broken_folder_is_silent(folder, text, place, capsys):
    assert asked(capsys, f"dlfound train --config-dir {folder} {text}") == ("nothing", {})


@pytest.mark.parametrize("text", ["optim=bad optim.", "optim=bad opt", "experiment=worse optim."])
def test_a_broken_file_that_is_chosen_is_silent(text, place, capsys):
    assert asked(capsys, f"dlfound train --config-dir broken {text}") == ("nothing", {})


def test_no_runs_no_latest(capsys):
    assert asked(capsys, "dlfound eval ") == ("folders", {})


def test_a_runs_name_cannot_break_the_answer(capsys):
    for name in ("two\nlines", "a\ttab", "\x1b[31mred"):
        Path("outputs", name, "run").mkdir(parents=True)
        Path("outputs", name, "run", "config.yaml").touch()
    assert offered(capsys, "dlfound eval t") == [] and offered(capsys, "dlfound eval a") == []
    assert asked(capsys, "dlfound eval lat")[1]["latest"].isprintable()


def test_every_option_and_setting_is_offered(capsys):
    """The list that `dlfound options --json` prints, and no other."""
    assert main(["options", "--json"]) == 0
    for group, options in json.loads(capsys.readouterr().out).items():
        verb = "sweep" if group == "search" else "train"
        told = asked(capsys, f"dlfound {verb} {group}=")[1]
        assert told == {f"{group}={word}": option["summary"] for word, option in options.items()}
        for word, option in options.items():
            keys = {f"{group}.{name}=": setting["type"] for name, setting in option["settings"].items()}
            assert asked(capsys, f"dlfound {verb} {group}={word} {group}.")[1] == keys


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_of_every_verb_is_offered(verb, capsys):
    """Those that its help shows."""
    assert main([verb, "--help"]) == 0
    shown = re.findall(r"^  (?:-\w, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
    assert "--help" in shown and offered(capsys, f"dlfound {verb} -") == shown


def test_what_is_offered_is_taken(capsys):
    """Each default and each word of a setting, as offered, composes."""
    heads = [word for word in offered(capsys, "dlfound train ") if word.endswith(".")]
    assert len(heads) >= 7
    for key in [key for head in heads for key in offered(capsys, f"dlfound train {head}")]:
        for word in offered(capsys, f"dlfound train {key}"):
            assert main(["train", "--cfg", word]) == 0, word
            assert capsys.readouterr().err == ""


def test_it_needs_neither_torch_nor_hydra(place):
    lines = ["dlfound ", "dlfound train optim=", "dlfound train train.monitor=", "dlfound eval "]
    code = f"import sys; from dlfound.cli import main\nfor line in {lines}: main(['completion', '--line=' + line])\n"
    code += "assert not {'torch._C', 'hydra', 'omegaconf'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "" and "optim=adam" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [([], "no shell is named"), (["powershell"], "powershell"), (["bash", "zsh"], "unexpected argument")],
)
def test_a_shell_that_is_none(words, told, capsys):
    assert main(["completion", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and told in err and len(err.splitlines()) == 2


@pytest.mark.parametrize(
    ("shell", "file"), [("bash", "~/.bashrc"), ("zsh", "~/.zshrc"), ("fish", "~/.config/fish/config.fish")]
)
def test_the_script_says_how_to_install_it(shell, file, capsys):
    assert main(["completion", shell]) == 0
    first, second, _ = capsys.readouterr().out.split("\n", 2)
    assert file in first and first.startswith("# ") and f"dlfound completion {shell}" in second


# ---- the shells themselves


@pytest.fixture
def shells(place, monkeypatch, tmp_path):
    """The command on the PATH, a home of one's own, a terminal without colours."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("HOME", "ZDOTDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / ".home"))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("INPUTRC", os.devnull)
    Path(".home").mkdir()
    if shutil.which("dlfound") is None:
        pytest.skip("the command dlfound is not installed beside Python")


def needed(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    return shell


def answer_of_bash(words, cursor_word, line, typed):
    """COMPREPLY, after the registered function was called as bash calls it."""
    script = """
    eval "$(dlfound completion bash)"
    registered=$(complete -p dlfound); registered=${registered#*-F }
    COMP_CWORD=$1 COMP_LINE=$2 COMP_POINT=${#2}; shift 3
    COMP_WORDS=("$@")
    ${registered% dlfound} dlfound "$typed" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    command = [needed("bash"), "--norc", "-c", script, "bash", str(cursor_word), line, "", *words]
    env = os.environ | {"typed": typed}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "line", "typed", "reply"),
    [
        (["dlfound", "tr"], "dlfound tr", "tr", ["train"]),
        (["dlfound", "train", "opt"], "dlfound train opt", "opt", ["optim=", "optim."]),
        (["dlfound", "train", "optim", "="], "dlfound train optim=", "", OPTIMIZERS),
        (["dlfound", "train", "optim", "=", "sg"], "dlfound train optim=sg", "sg", ["sgd"]),
        (["dlfound", "train", "optim", "=", "'sg"], "dlfound train optim='sg", "sg", ["sgd"]),
        (
            ["dlfound", "train", "optim", "=", "sgd", "optim."],
            "dlfound train optim=sgd optim.",
            "optim.",
            ["optim.lr="],
        ),
        (["dlfound", "train", "optim.lr", "="], "dlfound train optim.lr=", "", ["0.001"]),
        (["dlfound", "eval", "my"], "dlfound eval my", "my", [r"my\ run"]),
        (["dlfound", "eval", "'my r"], "dlfound eval 'my r", "my r", ["my run"]),
        (
            ["dlfound", "train", "--config-dir", "nope", "opt"],
            "dlfound train --config-dir nope opt",
            "opt",
            [""],
        ),
    ],
)
def test_bash_gets_what_it_puts_in(words, line, typed, reply, shells):
    assert answer_of_bash(words, len(words) - 1, line, typed) == reply


class Terminal:
    """An interactive shell in a pseudo-terminal; Python's `pty` stands between, in a process without threads."""

    PROMPT = "what next? "
    TELL = "\x14"  # Ctrl-T, bound by each test: print {the line} and empty it

    def __init__(self, *command):
        bridge = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *command]
        self.process = subprocess.Popen(bridge, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def __enter__(self):
        self.until(self.PROMPT)
        return self

    def __exit__(self, *error):
        self.process.kill()  # the shell's terminal goes with it
        self.process.communicate()

    def until(self, end):
        """What the terminal shows, up to `end`."""
        shown = ""
        while end not in shown:
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], f"stuck after {shown!r}"
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, f"ended after {shown!r}"
            shown += piece.decode()
        return shown

    def completed(self, text):
        """The line that stands there after `text` and TAB."""
        self.process.stdin.write(f"{text}\t{self.TELL}".encode())
        return self.until("}").partition("{")[2].partition("}")[0]


LINES = [
    ("dlfound tr", "dlfound train "),
    ("dlfound train const", "dlfound train constraint="),
    ("dlfound train run", "dlfound train run."),
    ("dlfound train optim=sg", "dlfound train optim=sgd "),
    ("dlfound train optim=sgd optim.", "dlfound train optim=sgd optim.lr="),
    ("dlfound train optim=ada", "dlfound train optim=ada"),
    ("dlfound train optim.lr=", "dlfound train optim.lr=0.001 "),
    ("dlfound train run.device=c", "dlfound train run.device=c"),
    ("dlfound train --cf", "dlfound train --cfg "),
    ("dlfound options opt", "dlfound options optim "),
    ("dlfound train --config-dir my", "dlfound train --config-dir my_conf/"),
    ("dlfound train --config-dir my_conf optim=b", "dlfound train --config-dir my_conf optim=brisk "),
    ("dlfound train --config-dir nope optim=s", "dlfound train --config-dir nope optim=s"),
    ("dlfound eval la", "dlfound eval latest "),
    ("dlfound eval my", "dlfound eval my\\ run "),
    ("dlfound eval my\\ r", "dlfound eval my\\ run "),
    ("dlfound eval 'my r", "dlfound eval 'my run' "),
    ("dlfound eval outputs/mo", "dlfound eval outputs/moons/"),
    ("dlfound predict latest pi", "dlfound predict latest picture.png "),
    (
        "dlfound train data=image_folder data.path=pi",
        "dlfound train data=image_folder data.path=picture.png ",
    ),
    ("dlfound train nope", "dlfound train nope"),
]


def test_an_interactive_bash(shells):
    Path(".home/rc").write_text(f"""
        PS1='{Terminal.PROMPT}'
        tell() {{ printf '{{%s}}' "$READLINE_LINE"; READLINE_LINE= READLINE_POINT=0; }}
        bind -x '"\\C-t": tell'
        eval "$(dlfound completion bash)"
    """)
    with Terminal(needed("bash"), "--noprofile", "--rcfile", ".home/rc", "-i") as bash:
        assert [bash.completed(typed) for typed, _ in LINES] == [line for _, line in LINES]
        to_the_tenth = "\x01" + 10 * "\x06"  # Ctrl-A, Ctrl-F: the cursor stands within the line
        assert bash.completed(f"dlfound tr optim=sgd{to_the_tenth}").split() == [
            "dlfound",
            "train",
            "optim=sgd",
        ]


def test_an_interactive_zsh(shells):
    Path(".home/.zshrc").write_text(f"""
        PS1='{Terminal.PROMPT}'
        tell() {{ zle -I; print -rn -- "{{$BUFFER}}"; BUFFER=; }}
        zle -N tell
        bindkey '^T' tell
        eval "$(dlfound completion zsh)"
    """)
    with Terminal(needed("zsh"), "-d", "-i") as zsh:
        assert [zsh.completed(typed) for typed, _ in LINES] == [line for _, line in LINES]


FISH_LINES = [
    ("dlfound tr", ["train"]),
    ("dlfound train opt", ["optim.", "optim="]),
    ("dlfound train optim=", values("optim", *OPTIMIZERS)),
    ("dlfound train optim=sgd optim.", ["optim.lr="]),
    ("dlfound train train.batch_size=", values("train.batch_size", "auto", "full")),
    ("dlfound train --c", ["--cfg", "--check", "--config-dir"]),
    ("dlfound train --config-dir my_conf optim=b", ["optim=brisk"]),
    ("dlfound train --config-dir nope optim=", []),
    ("dlfound train --config-dir my", ["my_conf/"]),
    ("dlfound eval la", ["latest"]),
    ("dlfound eval my\\ r", ["my run"]),
    ("dlfound eval 'my r", ["my run"]),
    ("dlfound eval my_", ["my_conf/"]),
    ("dlfound predict latest pi", ["picture.png"]),
    ("dlfound train data=image_folder data.path=pi", ["data.path=picture.png"]),
    ("dlfound options opt", ["optim"]),
    ("FOO=1 dlfound tr", ["train"]),
]


def test_an_interactive_fish(shells):
    Path(".home/config.fish").write_text(f"""
        function fish_prompt; printf '{Terminal.PROMPT}'; end
        bind \\ct 'printf "{{%s}}" (commandline -b); commandline ""'
        dlfound completion fish | source
    """)
    with Terminal(needed("fish"), "-i", "-C", "source .home/config.fish") as fish:
        assert [fish.completed(typed) for typed, _ in LINES] == [line for _, line in LINES]


def test_fish(shells):
    asking = 'for line in $argv; complete -C "$line" | string replace -r "\\t.*" ""; echo; end'
    command = [
        needed("fish"),
        "-c",
        f"dlfound completion fish | source; {asking}",
        *(line for line, _ in FISH_LINES),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == "".join("".join(f"{word}\n" for word in [*words, ""]) for _, words in FISH_LINES)
