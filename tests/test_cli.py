"""The command line: verbs and flags, help, two lines for each mistake, pipes."""

import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest
from support.trained import MOONS

import dlfound
from dlfound.cli import VERBS, main

DLFOUND = [sys.executable, "-m", "dlfound"]
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def run(capsys, *words, code):
    """Run a command that ends with this code; return its output and its messages."""
    assert main(list(words)) == code, words
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


def module(verb):
    return importlib.import_module(f"dlfound.commands.{verb}")


def examples(verb):
    """Return the words of each example in the help of a verb."""
    lines = [line.strip() for line in module(verb).EXAMPLES.splitlines() if line.startswith("  dlfound ")]
    return [shlex.split(re.split(r" {2,}", line)[0]) for line in lines]


# Help.


def test_help_names_every_verb_and_a_first_command(capsys):
    texts = [run(capsys, *words, code=0) for words in ([], ["--help"], ["-h"])]
    assert texts[0] == texts[1] == texts[2] and texts[0][1] == ""
    out = texts[0][0]
    for verb in VERBS:
        assert re.search(rf"^  {verb} +{re.escape(module(verb).SUMMARY)}$", out, re.MULTILINE)
    assert "dlfound train model=mlp optim=adam" in out


def test_version(capsys):
    out, err = run(capsys, "--version", code=0)
    assert out == f"dlfound {dlfound.__version__}\n" and err == ""
    assert re.fullmatch(r"\d+\.\d+.*", dlfound.__version__)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb, capsys):
    out, err = run(capsys, verb, "--help", code=0)
    assert err == "" and out.startswith(f"usage: dlfound {verb}")
    assert run(capsys, verb, "-h", code=0)[0] == out
    assert module(verb).SUMMARY in out and "examples:" in out
    shown = examples(verb)
    assert len(shown) >= 2
    assert all(" ".join(words).replace("'", "") in out.replace("'", "") for words in shown)


def test_the_examples_of_train_work(trained, capsys):
    lines = [words[2:] for words in examples("train") if words[1] == "train"]
    assert len(lines) >= 4
    trained.copy("long", "outputs/latest")  # some examples resume the latest run
    for line in lines:
        out, err = run(capsys, "train", "--cfg", *[word for word in line if word != "--cfg"], code=0)
        assert out and err == ""


def test_the_examples_of_options_work(capsys):
    for words in examples("options"):
        out, err = run(capsys, *words[1:], code=0)
        assert out and err == ""


# Mistakes.


def test_an_unknown_verb_is_answered_with_the_nearest(capsys):
    words = {
        "trian": "train", "optoins": "options", "evl": "eval", "--hlp": "--help", "help": "--help",
        "-v": "--version",
        "--verison": "--version", "": None, "train ": "train", "../train": "train", "_train": "train",
        "dlfound.train": None,
    }  # fmt: skip
    for word, near in words.items():
        out, err = run(capsys, word, "optim=adam", code=2)
        assert out == "" and len(err.splitlines()) == 2
        head = f"dlfound: error[config]: unknown verb {word!r}; choose from: {', '.join(VERBS)}"
        fix = f"did you mean {near}?" if near else "see dlfound --help"
        assert err.startswith(head) and f"  fix: {fix}" in err


@pytest.mark.parametrize(
    ("words", "flag", "near"),
    [
        (["train", "--cgf"], "--cgf", "--cfg"), (["train", "--jsn", "optim=adam"], "--jsn", "--json"),
        (["train", "--conf-dir", "x"], "--conf-dir", "--config-dir"),
        (["options", "--jason"], "--jason", "--json"),
        (["options", "optim", "--cfg"], "--cfg", None), (["train", "--cf"], "--cf", "--cfg"),
        (["eval", "latest", "--jso"], "--jso", "--json"),
    ],
)  # fmt: skip
def test_an_unknown_flag_is_answered_with_the_nearest(words, flag, near, capsys):
    out, err = run(capsys, *words, code=2)
    assert out == "" and len(err.splitlines()) == 2
    assert f"unknown flag {flag!r}; choose from: -h, --help" in err
    assert (f"did you mean {near}?" if near else f"see dlfound {words[0]} --help") in err


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--config-dir"], ["train", "--json=3"], ["eval"], ["completion", "bash", "zsh"],
        ["options", "optim", "data"], ["options", "--with"],
    ],
)  # fmt: skip
def test_wrong_usage_points_to_the_help(words, capsys):
    out, err = run(capsys, *words, code=2)
    assert out == ""
    assert re.fullmatch(rf"dlfound: error\[config\]: .+\n  fix: see dlfound {words[0]} --help\n", err)


def test_only_required_arguments_are_asked_for(capsys):
    for words, required in ((["eval"], "RUN"), (["predict"], "RUN, FILE"), (["predict", "latest"], "FILE")):
        _, err = run(capsys, *words, code=2)
        assert f"error[config]: the following arguments are required: {required}\n" in err


def test_a_wrong_choice_is_answered_in_plain_words(capsys):
    cases = [
        (
            "check --only grads",
            "no check named 'grads'; choose from: data, gradients,",
            "did you mean gradients?",
        ),
        ("check --only xyzzy", "no check named 'xyzzy'; choose from: data,", "see dlfound check --help"),
        (
            "completion tcsh",
            "no shell named 'tcsh'; choose from: bash, zsh, fish",
            "see dlfound completion --help",
        ),
        ("completion bsh", "no shell named 'bsh'; choose from: bash, zsh, fish", "did you mean bash?"),
        (
            "predict a b --unseen eror",
            "no --unseen named 'eror'; choose from: count, error",
            "did you mean error?",
        ),
    ]
    cases += [
        (f"board --port {port}", f"--port must be 1 to 65535, got {port}\n", "omit it for 6006")
        for port in ("x", "70000", "65536", "0", "-1", "1.5", "9" * 5000)
    ]
    for command, message, fix in cases:
        out, err = run(capsys, *command.split(), code=2)
        assert out == "" and err.startswith(f"dlfound: error[config]: {message}"), command
        assert err.endswith(f"\n  fix: {fix}\n"), command


def test_flags_may_stand_anywhere(capsys):
    first, _ = run(capsys, "train", "--cfg", "optim=sgd", "optim.lr=3", code=0)
    for words in (["optim=sgd", "--cfg", "optim.lr=3"], ["optim=sgd", "optim.lr=3", "--cfg"]):
        assert run(capsys, "train", *words, code=0)[0] == first


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        (["train", "optim=nope"], 1),
        (["train", "optm=1", "optim.lr=x", "dropout.hiden=1", "a=["], 4),
        (["train", "--config-dir", "/nope"], 1),
        (["train", "--with", "/nope.py"], 1),
        (["train", "--cfg", "run.name='a\n\x1b[31m"], 1),
        (["train", "+run.dir='a\n\x1b[31m'"], 1),
        (["train", "--config-dir", "a\n\x1b[31m"], 1),
        (["train", "--with", "a\n\x1b[31m"], 1),
        (["options", "optm"], 1),
        (["options", "a\n\x1b[31m"], 1),
    ],
)
def test_each_mistake_is_two_lines_on_standard_error(words, problems, capsys, tmp_path):
    out, err = run(capsys, *words, code=2)
    assert out == ""
    assert re.fullmatch(r"(dlfound: error\[config\]: [^\n]+\n  fix: [^\n]+\n)+", err)
    assert err.count("dlfound: error[config]: ") == problems and len(err.splitlines()) == 2 * problems
    assert all(c.isprintable() or c == "\n" for c in err)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_run_is_not_a_mistake_in_the_configuration(capsys):
    out, err = run(capsys, "eval", "nope", code=4)
    assert out == "" and re.fullmatch(r"dlfound: error\[run\]: nope is not a run\n  fix: [^\n]+\n", err)


def test_python_raises_the_same_mistakes(tmp_path):
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train(["optm=1", "optim.lr=x"])
    assert caught.value.code == 2 and len(caught.value.problems) == 2
    assert "'optm'" in str(caught.value) and "optim.lr" in str(caught.value)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        dlfound.nope  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_has_no_traceback(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise KeyboardInterrupt")
    out, err = run(capsys, "train", "--with", str(file), code=130)
    assert out == "" and err.startswith("dlfound: interrupted")


# In processes of their own.


def test_the_head_of_a_pipe_ends_the_command_silently():
    python = shlex.join(DLFOUND)
    line = f"{python} options | head -1; echo ${{PIPESTATUS[0]}}; {python} options --json | head -1 >&2"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, env=BUFFERED)
    first, code = done.stdout.splitlines()
    assert first.split()[0] == "data" and code == "0"
    assert done.stderr == "{\n"


def test_a_reader_that_is_gone_ends_the_command_silently():
    reader, writer = os.pipe()
    os.close(reader)
    for words, env in (
        (["options"], BUFFERED),
        (["train", "--cfg"], BUFFERED),
        (["options", "--help"], BUFFERED | {"PYTHONUNBUFFERED": "1"}),
        (["train", "--cfg"], BUFFERED | {"PYTHONUNBUFFERED": "1"}),
    ):
        done = subprocess.run(
            [*DLFOUND, *words], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, env=env
        )
        assert done.returncode == 0 and done.stderr == "", (words, done.stderr)
    os.close(writer)


def test_characters_that_the_terminal_lacks_are_escaped():
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    words = ["train", "--cfg", "run.name='größe'"]
    done = subprocess.run([*DLFOUND, *words], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0 and done.stderr == "" and "name: gr\\xf6\\xdfe" in done.stdout
    done = subprocess.run([*DLFOUND, "größe"], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 2 and "unknown verb 'gr\\xf6\\xdfe'" in done.stderr


def test_every_command_answers_in_the_forked_process_of_the_tests_as_in_its_own(forked):
    """The warm process that many tests use behaves like a process of its own."""
    for words in (["--version"], ["train", "--cfg", *MOONS], ["trian"]):
        done = subprocess.run([*DLFOUND, *words], capture_output=True, text=True, timeout=120)
        same = forked(*words)
        assert (same.returncode, same.stdout, same.stderr) == (done.returncode, done.stdout, done.stderr)
