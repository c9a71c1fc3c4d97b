"""`dlfound completion`: the words that it offers at the end of a command line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.completion_folder import OPTIMIZERS, fill_folder, values

from dlfound.cli import VERBS, main
from dlfound.objective.tasks import METRICS


def asked(capsys, line):
    """The answer for a line: what the shell completes itself, and {word: its meaning}."""
    assert main(["completion", f"--line={line}"]) == 0
    out, err = capsys.readouterr()
    otherwise, *lines = out.splitlines()
    assert err == "" and all(line.count("\t") == 1 for line in lines)
    return otherwise, dict(line.split("\t") for line in lines)


def offered(capsys, line):
    return list(asked(capsys, line)[1])


@pytest.fixture
def place():
    fill_folder()


WORDS = [
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
    ("dlfound train data=passfail data.target=grade train.monitor=r",
     ["train.monitor=rmse", "train.monitor=r2"]),
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
]  # fmt: skip


def test_the_words_that_fit(capsys):
    for line, words in WORDS:
        otherwise, answer = asked(capsys, line)
        assert otherwise == "nothing" and list(answer) == words, line


IN_A_FOLDER = [
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
]  # fmt: skip


def test_words_and_paths_that_depend_on_the_folder(place, capsys):
    for line, words, otherwise in IN_A_FOLDER:
        answer = asked(capsys, line)
        assert answer[0] == otherwise and sorted(answer[1]) == sorted(words), line


def test_a_broken_folder_of_options_offers_nothing(place, capsys):
    for folder in ("twice", "no_such_folder", "picture.png"):
        for text in ("", "opt", "optim=", "optim.", "optim.lr="):
            assert asked(capsys, f"dlfound train --config-dir {folder} {text}") == ("nothing", {})
    for text in ("optim=bad optim.", "optim=bad opt", "experiment=worse optim."):
        assert asked(capsys, f"dlfound train --config-dir broken {text}") == ("nothing", {})


def test_latest_is_not_offered_without_runs(capsys):
    assert asked(capsys, "dlfound eval ") == ("folders", {})


def test_the_name_of_a_run_cannot_break_the_answer(capsys):
    for name in ("two\nlines", "a\ttab", "\x1b[31mred"):
        Path("outputs", name, "run").mkdir(parents=True)
        Path("outputs", name, "run", "config.yaml").touch()
    assert offered(capsys, "dlfound eval t") == [] and offered(capsys, "dlfound eval a") == []
    assert asked(capsys, "dlfound eval lat")[1]["latest"].isprintable()


def test_every_option_and_setting_is_offered(capsys):
    """Exactly those that `dlfound options --json` prints."""
    assert main(["options", "--json"]) == 0
    for group, options in json.loads(capsys.readouterr().out).items():
        verb = "sweep" if group == "search" else "train"
        offered_options = asked(capsys, f"dlfound {verb} {group}=")[1]
        assert offered_options == {f"{group}={word}": option["summary"] for word, option in options.items()}
        for word, option in options.items():
            keys = {f"{group}.{name}=": setting["type"] for name, setting in option["settings"].items()}
            assert asked(capsys, f"dlfound {verb} {group}={word} {group}.")[1] == keys


def test_every_flag_in_the_help_of_a_verb_is_offered(capsys):
    for verb in VERBS:
        assert main([verb, "--help"]) == 0
        shown = re.findall(r"^  (?:-\w, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
        assert "--help" in shown and offered(capsys, f"dlfound {verb} -") == shown


def test_every_word_that_is_offered_composes(capsys):
    heads = [word for word in offered(capsys, "dlfound train ") if word.endswith(".")]
    assert len(heads) >= 7
    for key in [key for head in heads for key in offered(capsys, f"dlfound train {head}")]:
        for word in offered(capsys, f"dlfound train {key}"):
            assert main(["train", "--cfg", word]) == 0, word
            assert capsys.readouterr().err == ""


def test_completion_imports_neither_torch_nor_hydra(place):
    lines = ["dlfound ", "dlfound train optim=", "dlfound train train.monitor=", "dlfound eval "]
    code = "import sys; from dlfound.cli import main\n"
    code += f"for line in {lines}: main(['completion', '--line=' + line])\n"
    code += "assert not {'torch._C', 'hydra', 'omegaconf'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "" and "optim=adam" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "no shell is named"), (["powershell"], "powershell"), (["bash", "zsh"], "unexpected argument")],
)
def test_a_shell_that_is_not_supported(words, message, capsys):
    assert main(["completion", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and len(err.splitlines()) == 2


@pytest.mark.parametrize(
    ("shell", "file"), [("bash", "~/.bashrc"), ("zsh", "~/.zshrc"), ("fish", "~/.config/fish/config.fish")]
)
def test_the_script_says_how_to_install_it(shell, file, capsys):
    assert main(["completion", shell]) == 0
    first, second, _ = capsys.readouterr().out.split("\n", 2)
    assert file in first and first.startswith("# ") and f"dlfound completion {shell}" in second
