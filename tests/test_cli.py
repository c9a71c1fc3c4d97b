"""The command itself: verbs and flags, help, two lines for each mistake, pipes."""

import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest

import dlfound
from dlfound.cli import VERBS, main

DLFOUND = [sys.executable, "-m", "dlfound"]
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def said(capsys, *words, code):
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


def examples(verb):
    """The words of each example that a verb's help shows."""
    lines = importlib.import_module(f"dlfound.commands.{verb}").EXAMPLES.splitlines()
    return [
        shlex.split(re.split(r" {2,}", line.strip())[0]) for line in lines if line.startswith("  dlfound ")
    ]


def test_help_names_every_verb_and_a_first_command(capsys):
    texts = [said(capsys, *words, code=0) for words in ([], ["--help"], ["-h"])]
    assert texts[0] == texts[1] == texts[2] and texts[0][1] == ""
    out = texts[0][0]
    for verb in VERBS:
        summary = importlib.import_module(f"dlfound.commands.{verb}").SUMMARY
        assert re.search(rf"^  {verb} +{re.escape(summary)}$", out, re.MULTILINE)
    assert "dlfound train model=mlp optim=adam" in out


def test_version(capsys):
    out, err = said(capsys, "--version", code=0)
    assert out == f"dlfound {dlfound.__version__}\n" and err == ""
    assert re.fullmatch(r"\d+\.\d+.*", dlfound.__version__)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb, capsys):
    out, err = said(capsys, verb, "--help", code=0)
    assert err == "" and out.startswith(f"usage: dlfound {verb}")
    assert said(capsys, verb, "-h", code=0)[0] == out
    summary = importlib.import_module(f"dlfound.commands.{verb}").SUMMARY
    assert summary in out and "examples:" in out
    shown = examples(verb)
    assert len(shown) >= 2
    assert all(" ".join(words).replace("'", "") in out.replace("'", "") for words in shown)


def test_the_examples_of_train_compose(capsys):
    lines = [words[2:] for words in examples("train") if words[1] == "train"]
    assert len(lines) >= 4
    assert main(["train", "train.epochs=12", "logger=none"]) == 0  # some of them go on with the latest run
    capsys.readouterr()
    for line in lines:
        out, err = said(capsys, "train", "--cfg", *[word for word in line if word != "--cfg"], code=0)
        assert out and err == ""


def test_the_examples_of_options_work(capsys):
    for words in examples("options"):
        out, err = said(capsys, *words[1:], code=0)
        assert out and err == ""


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("trian", "train"), ("optoins", "options"), ("evl", "eval"), ("--hlp", "--help"), ("help", "--help"),
        ("-v", "--version"), ("--verison", "--version"), ("", None), ("train ", "train"), ("../train", "train"),
        ("_train", "train"), ("dlfound.train", None),
    ],
)  # fmt: skip
def test_a_verb_that_is_none(word, near, capsys):
    out, err = said(capsys, word, "optim=adam", code=2)
    assert out == "" and len(err.splitlines()) == 2
    assert err.startswith(f"dlfound: error[config]: unknown verb {word!r}; choose from: {', '.join(VERBS)}")
    assert (f"  fix: did you mean {near}?" if near else "  fix: see dlfound --help") in err


@pytest.mark.parametrize(
    ("words", "flag", "near"),
    [
        (["train", "--cgf"], "--cgf", "--cfg"), (["train", "--jsn", "optim=adam"], "--jsn", "--json"),
        (["train", "--conf-dir", "x"], "--conf-dir", "--config-dir"), (["options", "--jason"], "--jason", "--json"),
        (["options", "optim", "--cfg"], "--cfg", None), (["train", "--cf"], "--cf", "--cfg"),
        (["eval", "latest", "--jso"], "--jso", "--json"),
    ],
)  # fmt: skip
def test_a_flag_that_is_none(words, flag, near, capsys):
    out, err = said(capsys, *words, code=2)
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
def test_wrong_use_points_to_the_help(words, capsys):
    out, err = said(capsys, *words, code=2)
    assert out == "" and re.fullmatch(
        rf"dlfound: error\[config\]: .+\n  fix: see dlfound {words[0]} --help\n", err
    )


def test_flags_may_stand_anywhere(capsys):
    first, _ = said(capsys, "train", "--cfg", "optim=sgd", "optim.lr=3", code=0)
    for words in (
        ["train", "optim=sgd", "--cfg", "optim.lr=3"],
        ["train", "optim=sgd", "optim.lr=3", "--cfg"],
    ):
        assert said(capsys, *words, code=0)[0] == first


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
def test_each_mistake_is_two_lines_on_standard_error(words, problems, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, err = said(capsys, *words, code=2)
    assert out == ""
    assert re.fullmatch(r"(dlfound: error\[config\]: [^\n]+\n  fix: [^\n]+\n)+", err)
    assert err.count("dlfound: error[config]: ") == problems and len(err.splitlines()) == 2 * problems
    assert all(c.isprintable() or c == "\n" for c in err)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_none_is_no_wrong_word(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, err = said(capsys, "eval", "nope", code=4)
    assert out == "" and re.fullmatch(r"dlfound: error\[run\]: nope is not a run\n  fix: [^\n]+\n", err)


def test_the_same_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train(["optm=1", "optim.lr=x"])
    assert caught.value.code == 2 and len(caught.value.problems) == 2
    assert "'optm'" in str(caught.value) and "optim.lr" in str(caught.value)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        dlfound.nope  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_told_without_a_traceback(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise KeyboardInterrupt")
    out, err = said(capsys, "train", "--with", str(file), code=130)
    assert out == "" and err.startswith("dlfound: interrupted")


# ---- in a process and a shell of its own


def shell(line):
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, env=BUFFERED)


def test_head_of_a_pipe():
    python = shlex.join(DLFOUND)
    code = "echo ${PIPESTATUS[0]}"
    done = shell(
        f"{python} options | head -1; {code}; {python} options --json | head -1 >&2; {python} --help | true"
    )
    first, code = done.stdout.splitlines()
    assert first.split()[0] == "data" and code == "0"
    assert done.stderr == "{\n"


@pytest.mark.parametrize(
    "env", [BUFFERED, BUFFERED | {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"]
)
@pytest.mark.parametrize("words", [["options"], ["train", "--cfg"], ["options", "--help"]], ids=" ".join)
def test_a_reader_that_is_gone(words, env):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*DLFOUND, *words], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, env=env
        )
    finally:
        os.close(writer)
    assert done.returncode == 0 and done.stderr == ""


def test_a_terminal_that_knows_no_accents():
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    words = ["train", "--cfg", "run.name='größe'"]
    done = subprocess.run([*DLFOUND, *words], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0 and done.stderr == "" and "name: gr\\xf6\\xdfe" in done.stdout
    done = subprocess.run([*DLFOUND, "größe"], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 2 and "unknown verb 'gr\\xf6\\xdfe'" in done.stderr
