"""The completion scripts in bash, zsh and fish, driven as a person would.

Starting Python for each TAB takes a second. So the shells get a stand-in for `dlfound`: it returns what the
real program answers, and runs the real one for any other line.
"""

import hashlib
import io
import os
import select
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from support.completion_folder import OPTIMIZERS, fill_folder, values

from dlfound.cli import main

PATIENCE = 60  # seconds until a shell that prints nothing counts as stuck
STAND_IN = """#!/usr/bin/env bash
answer=%s/$(printf '%%s' "$*" | sha256sum | cut -c1-64)
if [ -f "$answer" ]; then exec cat "$answer"; fi
exec %s "$@"
"""


def answer(folder, *words):
    """Store the program's answer to a command, for the stand-in."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(list(words)) == 0
    name = hashlib.sha256(" ".join(words).encode()).hexdigest()
    (folder / name).write_text(printed.getvalue())


@pytest.fixture
def shells(monkeypatch, tmp_path):
    """Put the command on the PATH, with its own home and no colours; returns the folder of answers."""
    fill_folder()
    real = Path(sys.executable).parent / "dlfound"
    if not real.exists():
        pytest.skip("the command dlfound is not installed beside Python")
    for name in ("HOME", "ZDOTDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / ".home"))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("INPUTRC", os.devnull)
    answers = tmp_path / ".home" / "answers"
    answers.mkdir(parents=True)
    stand_in = tmp_path / ".home" / "bin" / "dlfound"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN % (answers, real))
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    for shell in ("bash", "zsh", "fish"):
        answer(answers, "completion", shell)
    for line in {
        *(line for line, _ in LINES),
        *(line for line, _ in FISH_LINES),
        *(row[1] for row in BASH_WORDS),
    }:
        answer(answers, "completion", f"--line={line}")
    return answers


def needed(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    return shell


def replies_of_bash(rows):
    """COMPREPLY for each row, after the registered function is called as bash calls it."""
    script = """
    eval "$(dlfound completion bash)"
    registered=$(complete -p dlfound); registered=${registered#*-F }
    while (($#)); do
        COMP_LINE=$1 COMP_POINT=${#1} typed=$2 count=$3; shift 3
        COMP_WORDS=("${@:1:count}") COMP_CWORD=$((count - 1)); shift "$count"
        ${registered% dlfound} dlfound "$typed" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
        printf '%s\\n' "${COMPREPLY[@]}" --
    done
    """
    arguments = [part for words, line, typed, _ in rows for part in (line, typed, str(len(words)), *words)]
    command = [needed("bash"), "--norc", "-c", script, "bash", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return [reply.splitlines() for reply in done.stdout.split("--\n")[:-1]]


BASH_WORDS = [  # the words as bash splits them, the line, the word to complete, what bash inserts for it
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
    (["dlfound", "train", "--config-dir", "nope", "opt"], "dlfound train --config-dir nope opt", "opt", []),
]


def test_bash_inserts_the_rest_of_the_word(shells):
    assert replies_of_bash(BASH_WORDS) == [reply for *_, reply in BASH_WORDS]


def test_bash_with_the_real_program(shells):
    """Without the stand-in's answers: the installed command and the script work together."""
    for file in shells.iterdir():
        file.unlink()
    assert replies_of_bash(BASH_WORDS[3:4]) == [["sgd"]]


class Terminal:
    """An interactive shell in a pseudo-terminal, which Python's `pty` runs in a process without threads."""

    PROMPT = "what next? "
    TELL = "\x14"  # Ctrl-T; each test binds it: print {the line} and empty it

    def __init__(self, *command):
        bridge = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *command]
        self.process = subprocess.Popen(bridge, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def __enter__(self):
        self.until(self.PROMPT)
        return self

    def __exit__(self, *error):
        self.process.kill()  # ends the shell's terminal too
        self.process.communicate()

    def until(self, end):
        """The terminal's output up to `end`."""
        shown = ""
        while end not in shown:
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], f"stuck after {shown!r}"
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, f"ended after {shown!r}"
            shown += piece.decode()
        return shown

    def completed(self, text):
        """The line after `text` and TAB."""
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
