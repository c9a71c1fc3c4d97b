"""Wrong overrides: exit code 2, all mistakes reported together, each with a fix."""

import re
import subprocess
import sys

import pytest
import torch
from support.wrong_overrides import reported, touched

from dlfound.config.compose import compose
from dlfound.options.configure import catalog

CASES = [  # overrides, part of the message, part of the fix; C1 ... are cases of FAULTS.md
    (["optim=nope"], "no optim named 'nope'; choose from: ", "see dlfound options optim"),  # C1
    (["optm=adam"], "unknown key 'optm'", "did you mean optim=adam?"),  # C2
    (["experimnt=spirals_depth"], "unknown key 'experimnt'", "did you mean experiment=spirals_depth?"),
    (["adam"], "cannot read override 'adam': it has no '='", "did you mean optim=adam?"),
    (["spirals_depth"], "it has no '='", "did you mean experiment=spirals_depth?"),
    (["optim.lrr=1"], "unknown key 'optim.lrr'", "did you mean optim.lr=1?"),  # C3
    (["+optim.lrr=1"], "unknown key 'optim.lrr'", "did you mean optim.lr=1?"),
    (["++optim.lrr=1"], "unknown key 'optim.lrr'", "did you mean optim.lr=1?"),
    (["~optim.lrr"], "unknown key 'optim.lrr'", "did you mean optim.lr?"),
    (["lr=0.1"], "unknown key 'lr'", "did you mean optim.lr=0.1?"),
    (["dropout.hidden=0.5"], "dropout=none has no setting 'dropout.hidden'",
     "dropout=gaussian or dropout=standard"),
    (["dropout.hiden=0.5"], "unknown key 'dropout.hiden'",
     "did you mean dropout=standard dropout.hidden=0.5?"),
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
    (["model.hidden=" + str([4] * 1000)], "model.hidden must be a list of 1 to 100 whole numbers",
     "model.hidden"),
    (["dropout=standard", "dropout.hidden=1.5"], "must be a number in [0, 1), got 1.5", "dropout.hidden"),
    (["dropout=standard", "dropout.hidden=1.0"], "must be a number in [0, 1), got 1.0", "dropout.hidden"),
    (["run.seed=no"], "run.seed must be a whole number in 0...4294967295, got 'no'", "run.seed"),  # C8
    (["run.seed=false"], "run.seed must be a whole number in 0...4294967295, got False", "run.seed"),
    (["run.seed=-1"], "run.seed must be a whole number in 0...4294967295, got -1", "run.seed"),
    (["run.seed=4294967296"], "run.seed must be a whole number in 0...4294967295, got 4294967296",
     "run.seed"),
    (["run.seed=1.5"], "run.seed must be a whole number in 0...4294967295, got 1.5", "run.seed"),
    (["train.epochs=0"], "train.epochs must be a whole number >= 1, got 0", "train.epochs"),  # C10
    (["train.batch_size=0"], "must be a whole number >= 1 or full or auto, got 0", "train.batch_size"),
    (["run.device=foo"], "run.device must be auto, cpu, cuda or cuda:N, got 'foo'",
     "give run.device another value"),  # C11
    (["run.device=cuda:"], "run.device must be auto, cpu, cuda or cuda:N, got 'cuda:'",
     "did you mean run.device=cuda?"),
    (["run.name=${run.dir}", "run.dir=${run.name}"], "'${run.dir}' leads back to itself",
     "write the value"),  # C15
    (["optim.lr=${optim.lr}"], "optim.lr: '${optim.lr}' leads back to itself",
     "write the value of optim.lr itself"),
    (["optim.lr=${optim.lrr}"], "optim.lr refers to 'optim.lrr', which does not exist",
     "did you mean ${optim.lr}?"),
    (["run.name=${oc.env:NOPE}"], "resolvers are not allowed in a configuration", "run.name"),
    (["run.name='${oc.env:NOPE}'"], "resolvers are not allowed in a configuration", "run.name"),
    (["run.name=\\${x}"], "run.name refers to 'x', which does not exist",
     "write the value of run.name itself"),
    (["optim.betas=[0.9"], "cannot read override 'optim.betas=[0.9' (at character ",
     "optim.betas='...'"),  # C16
    (["run.name='x"], "cannot read override \"run.name='x\" (at character 10)", "run.name='...'"),
    (["run.name=größe"], "cannot read override 'run.name=größe' (at character 12)", "'run.name=\"größe\"'"),
    (["run.name=🙂"], "cannot read override 'run.name=🙂' (at character 10)", "'run.name=\"🙂\"'"),
    (["run.name=a\x00"], "cannot read override 'run.name=a\\x00' (at character 11)", "run.name='...'"),
    (["@pkg=1"], "'@' is not used here: '@pkg=1'", "a key begins with one of: data, "),
    (["a=b=c"], "cannot read override 'a=b=c' (at character 4)", "a key begins with one of: data, "),
    (["x" * 4096 + "=1"], "unknown key '" + "x" * 50, "a key begins with one of: data, "),
    (["train={epochs: 3, epohcs: 4}"], "unknown key 'train.epohcs'", "did you mean train.epochs=4?"),
    (["train=3"], "train holds settings, not a value", "train.epochs"),
    (["optim.betas={a: 1}"], "optim.betas must be a list of two numbers in [0, 1), got {'a': 1}",
     "optim.betas"),
    (["optim=adam,sgd"], "'optim=adam,sgd' gives several values, and a run takes one",
     "or use dlfound sweep"),
    (["+optim=sgd"], "'+' is not needed", "write optim=sgd"),
    (["+optim.lr=1"], "'+' is not needed", "write optim.lr=1"),
    (["~optim"], "optim cannot be removed", "optim=..."),
    (["~dropout"], "dropout cannot be removed", "dropout=none"),
    (["~experiment"], "experiment cannot be removed", "experiment=null"),
    (["optim.name=sgd"], "optim.name is set by choosing an option", "write optim=...: "),
    (["model._target_=os.system"], "unknown key 'model._target_'", "choose from: model.hidden"),  # X5
    (["+model._target_=os.system"], "unknown key 'model._target_'", "choose from: model.hidden"),
    (["model=../../evil"], "no model named '../../evil'; choose from: mlp, perceptron",
     "see dlfound options model"),  # X9
    (["data=/etc/passwd"], "no data named '/etc/passwd'; choose from: ", "see dlfound options data"),
    (["model=pkg://x"], "no model named 'pkg://x'; choose from: ", "see dlfound options model"),
    (["hydra.run.dir=/x"], "'hydra.run.dir' is a key of Hydra", "did you mean run.dir=/x?"),
    (["hydra/launcher=x"], "'hydra/launcher' is a key of Hydra", "a key begins with one of"),
    (["+hydra.callbacks.c._target_=builtins.open"], "is a key of Hydra", "a key begins with one of"),
]  # fmt: skip


def shared_lines(cases):
    """The cases on few command lines: cases about different nodes can share one."""
    lines = []
    for case in cases:
        nodes = {touched(override) for override in case[0]}
        line = next((line for line in lines if not line[0] & nodes), None)
        if line is None:
            line = (set(), [])
            lines.append(line)
        line[0].update(nodes)
        line[1].append(case)
    return [cases for _, cases in lines]


def test_every_case_is_reported_with_its_fix(capsys, tmp_path):
    for cases in shared_lines(CASES):
        pairs = reported(capsys, *(override for overrides, _, _ in cases for override in overrides))
        for _, message, fix in cases:
            assert any(message in m and fix in f for m, f in pairs), f"{message}\n{fix}\n{pairs}"
    assert list(tmp_path.iterdir()) == []


def test_a_long_value_is_cut_in_the_message(capsys):
    ((message, _),) = reported(capsys, "optim.lr=" + "x" * 5000)
    assert len(message) < 200 and "..." in message


def test_all_mistakes_are_reported_together_and_nothing_is_written(capsys, tmp_path):
    line = [
        "optim=nope", "optm=1", "dropout.hiden=1", "a=[1", "train.epochs=x", "model.hidden=[0]",
        "data=digits,sine",
        "run.name=${oc.env:HOME}", "~lr_decay", "early_stopping.look_ahead=1", "activatoin=relu",
    ]  # fmt: skip
    pairs = reported(capsys, *line, options=())
    messages = "\n".join(message for message, _ in pairs)
    parts = (
        "'nope'", "'optm'", "'dropout.hiden'", "'a=[1'", "train.epochs", "model.hidden", "'data=digits,sine'",
        "oc.env", "lr_decay cannot", "look_ahead (1)", "'activatoin'",
    )  # fmt: skip
    assert [part for part in parts if part not in messages] == []
    assert len(pairs) == len(line)
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_a_wrong_option_are_checked_too(capsys):
    pairs = reported(
        capsys, "dropout=standart", "dropout.hidden=0.5", "dropout.hiden=0.5", "optim=smd", "optim.lr=x"
    )
    assert [message.partition("]: ")[2].partition(";")[0] for message, _ in pairs] == [
        "no dropout named 'standart'",
        "no optim named 'smd'",
        "unknown key 'dropout.hiden'",
        "optim.lr must be a finite number > 0, got 'x'",
    ]
    assert [fix for _, fix in pairs[:3]] == [
        "  fix: did you mean dropout=standard?",
        "  fix: did you mean optim=sgd?",
        "  fix: did you mean dropout.hidden=0.5?",
    ]


def test_broken_rules_are_reported_with_the_rest(capsys):
    overrides = [
        "early_stopping.look_ahead=2",
        "lr_decay.patience=5",
        "loss=cross_entropy",
        "data=sine",
        "x=1",
    ]
    pairs = reported(capsys, *overrides)
    assert len(pairs) == 3
    assert "early_stopping.look_ahead (2)" in pairs[1][0] and "lr_decay.patience (5)" in pairs[1][0]
    assert "loss=cross_entropy is for" in pairs[2][0] and "regression" in pairs[2][0]


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
    assert warning.startswith(f"{key} is set twice; the last one counts: ")


def test_different_overrides_cause_no_warning():
    line = ["optim=adam", "optim.lr=1", "lr_decay=none", "model.hidden=[3]"]
    assert compose(line, catalog()).warnings == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_absent_is_not_a_wrong_override(capsys, tmp_path):  # C11
    ((message, fix),) = reported(capsys, "run.device=cuda", options=(), code=6)
    assert "device 'cuda' is not available here (torch sees 0 GPUs)" in message
    assert "run.device=cpu" in fix
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_number_that_is_absent(capsys, tmp_path):
    ((message, _),) = reported(capsys, "run.device=cuda:99", options=(), code=6)
    assert "device 'cuda:99' is not available here" in message
    assert list(tmp_path.iterdir()) == []


def test_torch_is_not_imported_to_report_a_mistake():
    program = """
import sys
from dlfound.cli import main
for words in ([], ["--help"], ["--version"], ["options"], ["options", "optim"], ["options", "--json"],
              ["nope"], ["train", "--help"], ["eval", "--help"], ["train", "--cfg"], ["train", "--nope"],
              ["train", "optm=1"],
              ["train", "optim=nope"], ["train", "optim.lr=abc"], ["train", "optim=[1"],
              ["train", "--config-dir", "/nope"], ["train", "--epochs", "3"],
              ["options", "optm"], ["train", "early_stopping.look_ahead=1"]):
    code = main(words)
    print(code, "torch._C" in sys.modules, words, file=sys.__stderr__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ", 2) for line in done.stderr.splitlines() if re.match(r"\d (True|False) \[", line)]
    assert len(rows) == 19
    assert [row for row in rows if row[1] != "False"] == []
    assert [int(row[0]) for row in rows] == [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2]
