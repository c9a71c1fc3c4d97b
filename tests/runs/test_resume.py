"""A run that goes on: resumed, extended, stopped by a signal; and what is refused. (Kills: tests/proofs.)"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.run_files import contents, take_end
from support.stopping import LONG, stop_and_go_on
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dlfound
from dlfound.cli import main
from dlfound.runs import checkpoints
from dlfound.runs.checkpoints import Checkpoints

NOISY = ["batchnorm=batch", "dropout=standard", "dropout.hidden=0.2"]


def everything(path: Path) -> dict[str, bytes]:
    """Each file of a folder, but for the lock."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    "more",
    [
        NOISY,
        ["optim=momentum", "optim.lr=0.05", "dropout=gaussian", "lr_decay=plateau", "lr_decay.patience=1"],
        ["optim=muon", "regularizer=l2"],
        ["optim=nadam", "constraint=max_norm", "lr_decay=cosine"],
        ["data=passfail", "data.target=grade", "optim=radam", "lr_decay=inverse_time", "lr_decay.warmup=2"],
        ["early_stopping=lookahead", "early_stopping.look_ahead=2", "optim.lr=0.1", "lr_decay=none"],
    ],
    ids=lambda more: more[0],
)
def test_a_run_in_pieces_is_the_run_in_one(more):
    whole = dlfound.train([*LONG, *more])
    stop_and_go_on([*LONG, *more], "pieces", [30, 1, 79, 80, 81])
    assert contents(Path("pieces")) == contents(whole.path)
    events = EventAccumulator("pieces/tensorboard", size_guidance={"scalars": 0, "histograms": 0}).Reload()
    epochs = whole.report["epochs_run"]
    assert [e.step for e in events.Scalars("loss/val")] == list(range(1, epochs + 1))
    assert [e.step for e in events.Scalars("Final/loss/test")] == [epochs + 1]
    histograms = [e.step for e in events.Histograms("weights/layer1")]
    assert len(set(histograms)) == len(histograms)


def test_lbfgs_in_pieces():
    words = [
        "optim=lbfgs",
        "train.epochs=9",
        "early_stopping=none",
        "lr_decay=none",
        "data=moons",
        "train.checkpoint=2",
    ]
    whole = dlfound.train(words)
    stop_and_go_on(words, "pieces", [1, 2, 3])
    assert contents(Path("pieces")) == contents(whole.path)


def test_an_extended_run_is_one_that_was_longer_from_the_start(capsys):
    short = dlfound.train([*LONG[1:], *NOISY, "train.epochs=4", "run.dir=extended"])
    longer = dlfound.train([*LONG, *NOISY])
    again = dlfound.train(["resume=extended", "train.epochs=9"])
    assert again.path == short.path
    assert contents(again.path) == contents(longer.path)
    assert "train.epochs=4" in again.report["command"]  # the command that began it
    assert dlfound.open_run("extended").config["train"]["epochs"] == 9
    assert main(["train", "resume=extended"]) == 0
    assert "holds a finished run" in capsys.readouterr().err


def test_a_run_that_early_stopping_ended_is_over_however_long_it_may_be(capsys):
    run = dlfound.train(["optim.lr=0.1", "lr_decay=none", "early_stopping.look_ahead=2", "model.hidden=[12]"])
    assert run.report["stopped_by"] == "early_stopping"
    before = contents(run.path)
    assert contents(dlfound.train([f"resume={run.path}", "train.epochs=400"]).path) == before
    assert main(["train", f"resume={run.path}", "train.epochs=400"]) == 0
    told = f"(early stopping ended it after epoch {run.report['epochs_run']}, so more epochs would not continue it; another"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("decay", ["linear", "cosine", "one_cycle"])
def test_a_decay_that_depends_on_the_length_refuses_another(decay, capsys):
    warm = ["lr_decay.warmup=1"] if decay == "one_cycle" else []
    dlfound.train(["train.epochs=8", "early_stopping=none", f"lr_decay={decay}", *warm, "run.dir=mine"])
    before = everything(Path("mine"))
    assert main(["train", "resume=mine", "train.epochs=20"]) == 4
    err = capsys.readouterr().err
    assert "8" in err and "20" in err and decay in err
    assert everything(Path("mine")) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optim.lr=0.5"], ["optim.lr", "0.001", "0.5"]),
        (["optim=sgd"], ["optim", "adam", "sgd"]),
        (["model.hidden=[8]"], ["model.hidden", "[12]", "[8]"]),
        (["run.seed=3"], ["run.seed", "0", "3"]),
        (["data.seed=3", "train.batch_size=7"], ["data.seed", "train.batch_size", "16", "7"]),
    ],
)
def test_what_may_not_change_is_refused_with_both_values(words, told, capsys):
    run = dlfound.train([*LONG, "run.dir=mine"])
    (run.path / "DONE").unlink()
    for command in (["resume=mine", *words], [*LONG, "run.dir=mine", *words]):
        assert main(["train", *command]) == 4
        err = capsys.readouterr().err
        assert all(word in err for word in told), err
    assert (
        main(["train", "resume=mine", "optim.lr=0.001", "train.checkpoint=3"]) == 0
    )  # as it was, and what may change


def test_words_are_looked_up_in_the_run_s_own_options(capsys):
    own = ["optim=momentum", "optim.momentum=0.8", "lr_decay=inverse_time", "lr_decay.warmup=2"]
    run = dlfound.train([*LONG, *own, "run.dir=mine"])
    (run.path / "DONE").unlink()
    assert main(["train", "resume=mine", "optim.momentum=0.5"]) == 4
    assert "optim.momentum was 0.8, now 0.5" in capsys.readouterr().err
    assert main(["train", "resume=mine", "train={batch_size:7,epochs:12}"]) == 4
    err = capsys.readouterr().err
    assert "train.batch_size was 16, now 7" in err and "epochs" not in err
    assert main(["train", "resume=mine", "optim.betas=0.5"]) == 2
    assert "optim=momentum has no setting 'optim.betas'" in capsys.readouterr().err
    assert main(["train", "resume=mine", "optim=adam", "optim.eps=0.5"]) == 4
    assert "optim was momentum, now adam" in capsys.readouterr().err
    assert main(["train", "resume=mine", "train.epochs=2"]) == 2
    assert "lr_decay.warmup (2 epochs) must be shorter than train.epochs (2)" in capsys.readouterr().err
    assert main(["train", "resume=mine", "optim=momentum", "optim.momentum=0.8", "train.epochs=10"]) == 0


def test_fewer_epochs_than_are_done(capsys):
    run = dlfound.train([*LONG, "run.dir=mine"])
    (run.path / "DONE").unlink()
    assert main(["train", "resume=mine", "train.epochs=5"]) == 4
    assert "9 epochs" in capsys.readouterr().err


def test_a_finished_run_is_not_taken_for_one_of_another_configuration(capsys):
    dlfound.train([*LONG, "run.dir=mine"])
    before = everything(Path("mine"))
    assert main(["train", *LONG, "run.dir=mine"]) == 0
    assert "left as it is" in capsys.readouterr().err
    assert main(["train", *LONG, "run.dir=mine", "optim.lr=0.5"]) == 4
    assert "mine is a run with another configuration: optim.lr was 0.001, now 0.5" in capsys.readouterr().err
    assert main(["train", *LONG, "run.dir=mine", "data=sine"]) == 4
    assert "data was digits, now sine" in capsys.readouterr().err
    assert everything(Path("mine")) == before


@pytest.mark.parametrize(
    ("name", "left"),
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
def test_the_end_of_a_finished_run_is_made_again_where_a_file_of_it_is_lost(name, left, capsys):
    before = contents(dlfound.train([*LONG, *NOISY, "run.dir=mine"]).path)
    Path("mine", name).unlink() if left is None else Path("mine", name).write_bytes(left)
    assert main(["train", "resume=mine"]) == 0
    assert (
        "dlfound writes the results of the run again" in capsys.readouterr().err
        and contents(Path("mine")) == before
    )
    assert main(["train", "resume=mine"]) == 0 and "left as it is" in capsys.readouterr().err


def test_a_finished_run_that_lost_a_file_and_its_checkpoints_is_refused(capsys):
    dlfound.train([*LONG, "run.dir=mine"])
    for path in Path("mine/report.json"), *Path("mine/checkpoints").iterdir():
        path.unlink()
    before = everything(Path("mine"))
    assert main(["train", "resume=mine"]) == 4
    assert "mine has no report.json, and there is no checkpoint to make it from" in capsys.readouterr().err
    assert everything(Path("mine")) == before


def test_what_was_said_before_the_first_checkpoint_is_said_again():
    run = dlfound.train(["train.epochs=3", "lr_decay=none", "model.hidden=[4]", "run.dir=mine"])
    assert "can never act in 3 epochs" in run.report["warnings"][0]
    before, log = contents(run.path), (run.path / "log.txt").read_text()
    for path in [run.path / "DONE", *(run.path / "checkpoints").iterdir()]:
        path.unlink()
    again = dlfound.train(["resume=mine"])
    assert contents(again.path) == before and (again.path / "log.txt").read_text() == log


def test_mistakes_in_the_words(capsys):
    dlfound.train([*LONG, "run.dir=mine"])
    assert main(["train", "resume=nowhere"]) == 4
    assert main(["train", "resume=mine", "optim.lrr=1"]) == 2
    assert main(["train", "resume=mine", "resume=mine"]) == 2
    assert main(["train", "resume=mine", "run.dir=other"]) == 2
    assert not Path("other").exists()
    capsys.readouterr()


def test_other_data_are_refused(capsys):
    run = dlfound.train(
        ["train.epochs=3", "early_stopping=none"], data=([[0.0], [1.0], [2.0]] * 20, [0, 1, 0] * 20)
    )
    (run.path / "DONE").unlink()
    with pytest.raises(dlfound.Error, match="the data have changed since step") as told:
        dlfound.train([f"resume={run.path}"], data=([[0.0], [1.0], [3.0]] * 20, [0, 1, 0] * 20))
    assert told.value.code == 3


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(capsys):
    words = [*LONG, "train.checkpoint=2", "run.dir=mine"]
    before = contents(dlfound.train(words).path)
    take_end("mine", checkpoints=0)
    *_, newest = sorted(Path("mine/checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert main(["train", "resume=mine"]) == 0
    err = capsys.readouterr().err
    assert "is damaged" in err and "step" in err
    assert newest.with_name(newest.name + ".bad").read_bytes() == bytes(content)
    after = contents(Path("mine"))
    told = after["report"].pop("warnings")
    assert len(told) == len(before["report"].pop("warnings")) + 1 and after == before


def test_when_all_checkpoints_are_damaged_nothing_is_invented(capsys):
    dlfound.train([*LONG, "run.dir=mine"])
    Path("mine/DONE").unlink()
    for path in Path("mine/checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert main(["train", "resume=mine"]) == 4
    assert "damaged" in capsys.readouterr().err


def test_lines_beyond_the_checkpoint_are_cut_and_lines_before_it_must_be_there(capsys):
    words = [*LONG, "train.checkpoint=2", "run.dir=mine"]
    before = contents(dlfound.train(words).path)
    Path("mine/DONE").unlink()
    with Path("mine/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 10, "lr"')  # half a line of a kill
    dlfound.train(["resume=mine"])
    assert contents(Path("mine")) == before
    Path("mine/DONE").unlink()
    text = Path("mine/metrics.jsonl").read_text()
    Path("mine/metrics.jsonl").write_text(text.replace("0.001", "0.002", 1))
    assert main(["train", "resume=mine"]) == 4
    Path("mine/metrics.jsonl").write_text(text[:100])
    assert main(["train", "resume=mine"]) == 4
    capsys.readouterr()


def test_two_runs_in_one_folder(capsys):
    dlfound.train([*LONG, "run.dir=mine"])
    Path("mine/DONE").unlink()
    with open("mine/.lock", "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert main(["train", "resume=mine"]) == 4
        assert "is in use by process" in capsys.readouterr().err
    assert main(["train", "resume=mine"]) == 0


def test_a_folder_of_a_run_that_died_before_its_configuration(capsys):
    Path("mine").mkdir()
    Path("mine/.lock").touch()
    Path("mine/.tmp-0123456789abcdef").write_text("half")
    assert main(["train", *LONG, "run.dir=mine"]) == 0
    assert not list(Path("mine").glob(".tmp-*"))
    Path("other").mkdir()
    Path("other/thesis.txt").write_text("mine")
    assert main(["train", *LONG, "run.dir=other"]) == 4


def test_threads_are_those_of_the_run():
    run = dlfound.train([*LONG, "run.threads=2"])
    (run.path / "DONE").unlink()
    before = torch.get_num_threads()
    assert dlfound.train([f"resume={run.path}"]).report["threads"] == 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("setting", "due"), [(3, [3, 6, 9]), ("30s", []), ("auto", [])])
def test_when_a_checkpoint_is_due(setting, due, monkeypatch):
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


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=lambda v: str(v),
)
def test_a_signal_finishes_the_step_and_keeps_it(number, code):
    words = [
        "train.epochs=100000",
        "early_stopping=none",
        "lr_decay=none",
        "model.hidden=[8]",
        "run.dir=mine",
    ]
    process = start(words)
    wait_for(lambda: Path("mine/metrics.jsonl").exists())
    process.send_signal(number)
    told = ended(process, code)
    assert "stopped at step" in told and "dlfound train resume=mine" in told and "Traceback" not in told
    kept, damaged = Checkpoints(Path("mine")).newest()
    assert f"stopped at step {kept.step} (epoch {kept.state['progress']['epoch']})" in told and damaged == []
    assert len(Path("mine/metrics.jsonl").read_text().splitlines()) == kept.state["progress"]["epoch"] - 1


def test_a_signal_before_the_training_ends_at_once():
    process = start(["train.epochs=100000", "run.dir=mine"])
    time.sleep(0.2)  # while torch is being imported, or earlier
    process.send_signal(signal.SIGINT)
    told = ended(process, 130, -signal.SIGINT)
    assert "Traceback" not in told or process.returncode == -signal.SIGINT  # Python itself was not up yet


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


def test_a_second_ctrl_c_does_not_wait():
    Path("slow.py").write_text(SLOW)
    words = [
        "train.epochs=100000",
        "early_stopping=none",
        "lr_decay=none",
        "train.checkpoint=1",
        "run.dir=mine",
    ]
    process = start([*words, "--with", "slow.py", "activation=slow"])
    wait_for(lambda: list(Path("mine/checkpoints").glob("step-*")))
    Path("slow").touch()
    wait_for(lambda: Path("in a step").exists())
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None  # it waits for the step
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    told = ended(process, 130)
    assert time.monotonic() - began < 5 and "interrupted" in told and "stopped at" not in told
    kept, damaged = Checkpoints(Path("mine")).newest()
    assert kept.state["progress"]["epoch"] > 1 and damaged == []


def test_a_reader_that_goes_away_ends_no_training():
    words = [*LONG, "optim.lr=0.5", "run.dir=mine"]
    read, write = os.pipe()
    os.close(read)
    with open("/dev/null", "w") as nowhere:
        done = subprocess.run(
            [sys.executable, "-m", "dlfound", "train", *words], stdout=nowhere, stderr=write
        )
    os.close(write)
    assert done.returncode == 0
    assert Path("mine/DONE").exists()


def start(words: list[str]) -> subprocess.Popen:
    """The command, with all signals as a terminal leaves them: nohup would have it ignore one."""
    command = [sys.executable, "-m", "dlfound", "train", *words]
    heard = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )


def ended(process: subprocess.Popen, *codes: int) -> str:
    """What it said, once it has ended with one of the codes."""
    try:
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in codes, told
    return told


def wait_for(holds) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("nothing came")
