"""Resuming a run: after a stop, for more epochs, after damage; and what is refused. (Kills: tests/proofs.)"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.run_files import all_files, contents, lines_of, remove_end, report_of
from support.stopping import train_with_stops
from support.trained import LONG, MOONS, NOISY, SHORT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dlfound
from dlfound.cli import main
from dlfound.runs import checkpoints
from dlfound.runs.checkpoints import Checkpoints


@pytest.fixture
def unfinished(trained):
    """A copy of the run "long" in `mine`, of which only DONE is missing."""
    folder = trained.copy("long")
    (folder / "DONE").unlink()
    return folder


# In pieces.

FEW = ["data=moons", "data.rows=300"]
GRADE = ["data=passfail", "data.target=grade", "data.rows=300"]


@pytest.mark.parametrize(
    ("words", "looks"),
    [
        # An epoch of the digits has 79 steps, one of the moons 14: a run is stopped within one, and around
        # its end; with a plateau decay, after the rate has changed.
        (NOISY, [30, 1, 79, 80, 81]),
        ([*FEW, "optim=momentum", "dropout=gaussian", "lr_decay=plateau", "lr_decay.patience=1"], [5, 110]),
        ([*FEW, "optim=muon", "regularizer=l2", "model.hidden=[12,8]"], [5, 16]),
        ([*FEW, "optim=nadam", "constraint=max_norm", "lr_decay=cosine"], [5, 16]),
        ([*GRADE, "optim=radam", "lr_decay=inverse_time", "lr_decay.warmup=2"], [5, 16]),
    ],
    ids=["noisy", "momentum", "muon", "nadam", "radam"],
)  # fmt: skip
def test_a_run_in_pieces_equals_the_run_without_stops(words, looks):
    whole = dlfound.train([*LONG, *words])
    rates = {line["lr"] for line in lines_of(whole.path)}
    assert (len(rates) > 1) == any(word.startswith("lr_decay") for word in words)
    train_with_stops([*LONG, *words], "pieces", looks)
    assert contents("pieces") == contents(whole.path)
    events = EventAccumulator("pieces/tensorboard", size_guidance={"scalars": 0, "histograms": 0}).Reload()
    epochs = whole.report["epochs_run"]
    assert [event.step for event in events.Scalars("loss/val")] == list(range(1, epochs + 1))
    assert [event.step for event in events.Scalars("Final/loss/test")] == [epochs + 1]
    histograms = [event.step for event in events.Histograms("weights/layer1")]
    assert len(set(histograms)) == len(histograms)


def test_early_stopping_counts_the_validations_from_before_a_stop():
    words = [LONG[0], *LONG[2:], "early_stopping.look_ahead=2", "optim.lr=0.1", "logger=none"]
    whole = dlfound.train(words)
    assert whole.report["stopped_by"] == "early_stopping"
    train_with_stops(words, "pieces", [(whole.report["epochs_run"] - 1) * 79 + 30])  # in the last epoch
    assert contents("pieces") == contents(whole.path)


def test_a_run_with_lbfgs_in_pieces_equals_the_run_without_stops():
    words = [*MOONS, "optim=lbfgs", "train.epochs=9", "train.checkpoint=2"]
    whole = dlfound.train(words)
    train_with_stops(words, "pieces", [1, 2, 3])
    assert contents("pieces") == contents(whole.path)


def test_messages_from_before_the_first_checkpoint_are_repeated():
    words = [
        "data=moons",
        "train.epochs=3",
        "lr_decay=none",
        "model.hidden=[4]",
        "logger=none",
        "run.dir=mine",
    ]
    run = dlfound.train(words)
    assert "can never act in 3 epochs" in run.report["warnings"][0]
    before = contents(run.path)
    log = (run.path / "log.txt").read_text()
    for path in [run.path / "DONE", *(run.path / "checkpoints").iterdir()]:
        path.unlink()
    again = dlfound.train(["resume=mine"])
    assert contents(again.path) == before and (again.path / "log.txt").read_text() == log


# For more epochs, or fewer.


def test_an_extended_run_equals_one_that_was_longer_from_the_start(trained, capsys):
    short = dlfound.train([*LONG[1:], *NOISY, "train.epochs=4", "run.dir=extended"])
    again = dlfound.train(["resume=extended", "train.epochs=9"])
    assert again.path == short.path
    assert contents(again.path) == contents(trained.path("noisy"))
    assert "train.epochs=4" in again.report["command"]  # the command that began the run
    assert dlfound.open_run("extended").config["train"]["epochs"] == 9
    assert main(["train", "resume=extended"]) == 0
    assert "holds a finished run" in capsys.readouterr().err


def test_more_epochs_do_not_continue_a_run_that_early_stopping_ended(capsys):
    words = [
        "data=moons",
        "optim.lr=0.1",
        "lr_decay=none",
        "early_stopping.look_ahead=2",
        "model.hidden=[12]",
    ]
    run = dlfound.train([*words, "logger=none"])
    assert run.report["stopped_by"] == "early_stopping"
    before = contents(run.path)
    assert contents(dlfound.train([f"resume={run.path}", "train.epochs=400"]).path) == before
    assert main(["train", f"resume={run.path}", "train.epochs=400"]) == 0
    reason = f"early stopping ended it after epoch {run.report['epochs_run']}"
    message = f"({reason}, so more epochs would not continue it; another run.dir starts a new run)"
    assert message in capsys.readouterr().err


def test_a_decay_that_depends_on_the_length_refuses_another_length(capsys):
    for decay, more in (("linear", []), ("cosine", []), ("one_cycle", ["lr_decay.warmup=1"])):
        dlfound.train([*MOONS, "train.epochs=8", f"lr_decay={decay}", *more, f"run.dir={decay}"])
        before = all_files(decay)
        assert main(["train", f"resume={decay}", "train.epochs=20"]) == 4
        err = capsys.readouterr().err
        assert f"train.epochs was 8, now 20, but lr_decay={decay} depends on the length" in err
        assert all_files(decay) == before


def test_fewer_epochs_than_are_done_are_refused(unfinished, capsys):
    assert main(["train", "resume=mine", "train.epochs=5"]) == 4
    err = capsys.readouterr().err
    assert "mine has finished 9 epochs, but train.epochs=5" in err and "use train.epochs=9 or more" in err


# With other settings.


def test_a_setting_that_may_not_change_is_refused_with_both_values(unfinished, capsys):
    changes = {
        ("optim.lr=0.5",): ["optim.lr was 0.001, now 0.5"],
        ("optim=sgd",): ["optim was adam, now sgd"],
        ("model.hidden=[8]",): ["model.hidden was [12], now [8]"],
        ("run.seed=3",): ["run.seed was 0, now 3"],
        ("data.seed=3", "train.batch_size=7"): ["data.seed was 0, now 3", "train.batch_size was 16, now 7"],
    }
    for words, messages in changes.items():
        for command in (["resume=mine", *words], [*LONG, "run.dir=mine", *words]):
            assert main(["train", *command]) == 4
            err = capsys.readouterr().err
            assert all(message in err for message in messages), err
    assert (
        main(["train", "resume=mine", "optim.lr=0.001", "train.checkpoint=3"]) == 0
    )  # a value may be repeated


def test_settings_are_looked_up_in_the_options_of_the_run(capsys):
    own = ["optim=momentum", "optim.momentum=0.8", "lr_decay=inverse_time", "lr_decay.warmup=2"]
    run = dlfound.train([*SHORT, "train.epochs=9", "data=moons", "train.batch_size=16", *own, "run.dir=mine"])
    (run.path / "DONE").unlink()

    def refused(*words, code):
        assert main(["train", "resume=mine", *words]) == code
        return capsys.readouterr().err

    assert "optim.momentum was 0.8, now 0.5" in refused("optim.momentum=0.5", code=4)
    err = refused("train={batch_size:7,epochs:12}", code=4)
    assert "train.batch_size was 16, now 7" in err and "epochs" not in err
    assert "optim=momentum has no setting 'optim.betas'" in refused("optim.betas=0.5", code=2)
    assert "optim was momentum, now adam" in refused("optim=adam", "optim.eps=0.5", code=4)
    rule = "lr_decay.warmup (2 epochs) must be shorter than train.epochs (2)"
    assert rule in refused("train.epochs=2", code=2)
    assert main(["train", "resume=mine", "optim=momentum", "optim.momentum=0.8", "train.epochs=10"]) == 0


def test_a_finished_run_is_not_mistaken_for_one_with_other_settings(trained, capsys):
    trained.copy("long")
    before = all_files("mine")
    for words, code, message in (
        ([], 0, "dlfound leaves it as it is"),
        (["optim.lr=0.5"], 4, "mine is a run with another configuration: optim.lr was 0.001, now 0.5"),
        (["data=sine"], 4, "data was digits, now sine"),
    ):
        assert main(["train", *LONG, "run.dir=mine", *words]) == code
        assert message in capsys.readouterr().err
    assert all_files("mine") == before


def test_mistakes_on_the_command_line(trained):
    trained.copy("long")
    assert main(["train", "resume=nowhere"]) == 4
    assert main(["train", "resume=mine", "optim.lrr=1"]) == 2
    assert main(["train", "resume=mine", "resume=mine"]) == 2
    assert main(["train", "resume=mine", "run.dir=other"]) == 2
    assert not Path("other").exists()


def test_changed_data_are_refused():
    run = dlfound.train(SHORT, data=([[0.0], [1.0], [2.0]] * 20, [0, 1, 0] * 20))
    (run.path / "DONE").unlink()
    with pytest.raises(dlfound.Error, match="the data have changed since step") as caught:
        dlfound.train([f"resume={run.path}"], data=([[0.0], [1.0], [3.0]] * 20, [0, 1, 0] * 20))
    assert caught.value.code == 3


def test_the_run_keeps_its_number_of_threads():
    run = dlfound.train([*MOONS, "run.threads=2"])
    (run.path / "DONE").unlink()
    before = torch.get_num_threads()
    assert dlfound.train([f"resume={run.path}"]).report["threads"] == 2
    assert torch.get_num_threads() == before


# After damage.


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.json", None),
        ("report.json", b'{"a": 1}'),
        ("report.json", b"{half"),
        ("model.safetensors", None),
        ("model.safetensors", b"half"),
        ("schema.json", None),
        ("schema.json", b"{}"),
    ],
)
def test_a_lost_result_is_written_again(trained, name, content, capsys):
    path = trained.copy("noisy") / name
    path.unlink() if content is None else path.write_bytes(content)
    assert main(["train", "resume=mine"]) == 0
    assert "dlfound writes the results of the run again" in capsys.readouterr().err
    assert contents("mine") == contents(trained.path("noisy"))
    assert main(["train", "resume=mine"]) == 0
    assert "dlfound leaves it as it is" in capsys.readouterr().err


def test_a_finished_run_without_a_result_and_without_checkpoints_is_refused(trained, capsys):
    folder = trained.copy("long")
    for path in folder / "report.json", *(folder / "checkpoints").iterdir():
        path.unlink()
    before = all_files("mine")
    assert main(["train", "resume=mine"]) == 4
    assert "mine has no report.json, and there is no checkpoint to make it from" in capsys.readouterr().err
    assert all_files("mine") == before


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(trained, capsys):
    remove_end(trained.copy("six"), checkpoints=0)
    newest = max(Path("mine/checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert main(["train", "resume=mine"]) == 0
    err = capsys.readouterr().err
    assert "is damaged" in err and "step" in err
    assert newest.with_name(newest.name + ".bad").read_bytes() == bytes(content)
    before = trained.path("six")
    assert contents("mine", "warnings") == contents(before, "warnings")
    assert len(report_of("mine")["warnings"]) == len(report_of(before)["warnings"]) + 1


def test_if_all_checkpoints_are_damaged_the_run_is_refused(unfinished, capsys):
    for path in (unfinished / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert main(["train", "resume=mine"]) == 4
    assert "every checkpoint in mine/checkpoints is damaged" in capsys.readouterr().err


def test_lines_after_the_checkpoint_are_cut_and_lines_before_it_must_be_unchanged(
    unfinished, trained, capsys
):
    metrics = unfinished / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"epoch": 10, "lr"')  # half a line, as a kill leaves it
    dlfound.train(["resume=mine"])
    assert contents("mine") == contents(trained.path("long"))
    (unfinished / "DONE").unlink()
    text = metrics.read_text()
    for damaged in (text.replace("0.001", "0.002", 1), text[:100]):
        metrics.write_text(damaged)
        assert main(["train", "resume=mine"]) == 4
        assert "metrics.jsonl has changed since the checkpoint" in capsys.readouterr().err


def test_a_run_that_died_before_its_configuration_begins_again(trained):
    Path("mine").mkdir()
    Path("mine/.lock").touch()
    Path("mine/.tmp-0123456789abcdef").write_text("half")
    assert main(["train", *LONG, "run.dir=mine"]) == 0
    assert not list(Path("mine").glob(".tmp-*"))
    assert contents("mine") == contents(trained.path("long"))
    Path("other").mkdir()
    Path("other/thesis.txt").write_text("mine")
    assert main(["train", *LONG, "run.dir=other"]) == 4


def test_two_commands_in_one_folder(unfinished, capsys):
    with (unfinished / ".lock").open("r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert main(["train", "resume=mine"]) == 4
        assert "is in use by process" in capsys.readouterr().err
    assert main(["train", "resume=mine"]) == 0


# When checkpoints are written.


@pytest.mark.parametrize(("setting", "due"), [(3, [3, 6, 9]), ("30s", []), ("auto", [])])
def test_the_schedule_of_checkpoints(setting, due, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(checkpoints.time, "perf_counter", lambda: clock[0])
    schedule = checkpoints.Schedule(setting)
    assert [n for n in range(1, 10) if schedule.due(n)] == due
    clock[0] = 31.0
    assert schedule.due() == (setting != 3)
    with schedule.writing():
        clock[0] += 2.0
    clock[0] += 40.0
    assert schedule.due() == (setting == "30s")  # auto: 100 s after a checkpoint that took 2 s: at most 2 %
    clock[0] += 61.0
    assert schedule.due() == (setting != 3)


# Signals.

ENDLESS = ["train", "data=moons", *SHORT[1:], "train.epochs=1000000", "run.dir=mine"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=str
)
def test_a_signal_lets_the_step_end_and_saves_the_run(forked, number, code):
    child = forked.start(*ENDLESS)
    wait_for(lambda: Path("mine/metrics.jsonl").exists())
    child.send_signal(number)
    done = child.wait()
    assert done.returncode == code and "Traceback" not in done.stderr
    assert "stopped at step" in done.stderr and "dlfound train resume=mine" in done.stderr
    checkpoint, warnings = Checkpoints(Path("mine")).newest()
    epoch = checkpoint.state["progress"]["epoch"]
    assert f"stopped at step {checkpoint.step} (epoch {epoch})" in done.stderr and warnings == []
    assert len(Path("mine/metrics.jsonl").read_text().splitlines()) == epoch - 1


def test_a_signal_before_the_training_ends_the_command_at_once():
    command = [sys.executable, "-m", "dlfound", *ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(0.2)  # while it imports torch, or earlier
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err or process.returncode == -signal.SIGINT  # Python itself was starting


SLOW = """
import time
from pathlib import Path
import torch, dlfound

class Slow(torch.nn.ReLU):
    def forward(self, x):
        if Path("slow").exists():
            Path("in a step").touch()
            time.sleep(60)
        return super().forward(x)

dlfound.register("activation", "slow", Slow)
"""


def test_a_second_ctrl_c_does_not_wait_for_the_step(forked):
    Path("slow.py").write_text(SLOW)
    child = forked.start(*ENDLESS, "train.checkpoint=1", "--with", "slow.py", "activation=slow")
    wait_for(lambda: list(Path("mine/checkpoints").glob("step-*")))
    Path("slow").touch()
    wait_for(lambda: Path("in a step").exists())
    child.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert not child.ended()  # it waits for the end of the step
    child.send_signal(signal.SIGINT)
    began = time.monotonic()
    done = child.wait()
    assert done.returncode == 130 and time.monotonic() - began < 5
    assert "interrupted" in done.stderr and "stopped at" not in done.stderr
    checkpoint, warnings = Checkpoints(Path("mine")).newest()
    assert checkpoint.state["progress"]["epoch"] > 1 and warnings == []


def test_a_reader_that_goes_away_does_not_end_the_training(forked):
    read, write = os.pipe()
    os.close(read)
    done = forked("train", *MOONS, "optim.lr=0.5", "run.dir=mine", stderr=write)
    os.close(write)
    assert done.returncode == 0 and Path("mine/DONE").exists()


def wait_for(condition) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within a minute")
