"""`dlfound board`: a real TensorBoard on this machine's own address, and in a real browser."""

import json
import os
import shutil
import signal
import time
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from support.run_files import report_of

import dlfound
from dlfound.cli import main
from dlfound.objective.tasks import METRICS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
MILLISECONDS = 1000
STEADY = ["early_stopping=none", "lr_decay=none"]


@pytest.fixture
def board(forked):
    """Call it with words: a context of a running `dlfound board`, its address and the process."""

    @contextmanager
    def start(*words):
        reader, writer = os.pipe()
        process = forked.start("board", *words, stdout=writer)
        os.close(writer)
        try:
            with open(reader) as output:
                yield output.readline().split()[0], process
        finally:
            process.kill()

    return start


def scalars(address: str, runs: int = 1) -> dict:
    """Return run -> its curves, as soon as the board has read so many runs."""
    for _ in range(120):
        with urllib.request.urlopen(f"{address}data/plugin/scalars/tags", timeout=60) as answer:
            tags = json.load(answer)
        if len(tags) >= runs:
            return tags
        time.sleep(0.5)
    raise AssertionError(f"the board shows {tags}")


def test_curves_are_served_to_this_machine_only_and_a_second_board_takes_the_next_port(trained, board):
    trained.copy("digits", "outputs/digits/first")
    with board("--port", "16006") as (address, first), board("--port", "16006") as (other, _):
        assert address.startswith("http://127.0.0.1:16") and other.startswith("http://127.0.0.1:16")
        assert address != other
        ((run, curves),) = scalars(address).items()
        validated = {f"{name}/val" for name in METRICS["multiclass"]}
        assert "first" in run and {"loss/train", "accuracy/train", "lr", *validated} <= set(curves)
        port = int(address.rstrip("/").rpartition(":")[2])
        with open("/proc/net/tcp") as table:
            listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert f"0100007F:{port:04X}" in listening  # 127.0.0.1
        assert f"00000000:{port:04X}" not in listening
        first.send_signal(signal.SIGINT)
        assert first.wait(30).returncode == 0


def test_names_select_runs(trained, board):
    for name in ("one", "two", "three"):
        trained.copy("digits", f"outputs/{name}/run")
    with board("one", "two", "--port", "16206") as (address, _):
        assert sorted(name.partition("/")[0] for name in scalars(address, runs=2)) == ["one", "two"]


def test_a_missing_run_and_missing_curves_are_errors(trained, capsys):
    assert main(["board"]) == 4
    assert "train one first" in capsys.readouterr().err
    assert main(["board", str(trained.path("adam"))]) == 4
    err = capsys.readouterr().err
    assert "has no curves" in err and "logger=none" in err


@pytest.fixture
def browser():
    """A headless browser of this machine."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_a_browser_shows_curves_and_settings(browser, board):
    quick = ["train.epochs=4", *STEADY]
    first = dlfound.train([*quick, "optim=adam"])
    second = dlfound.train([*quick, "optim=momentum", "optim.lr=0.05"])
    hosts = set()
    errors = []
    with board("--port", "16306") as (address, _):
        scalars(address, runs=2)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(60 * MILLISECONDS)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))

        page.goto(f"{address}?tagFilter=^loss#timeseries")
        page.locator("card-view", has_text="loss/train").first.wait_for()
        assert page.locator("card-view", has_text="loss/val").count() > 0
        page.locator("card-view svg path, card-view canvas").first.wait_for(state="attached")

        page.goto(f"{address}#custom_scalars")
        page.reload()
        for title in ("loss", "accuracy", "update_to_weight"):
            page.get_by_text(title, exact=True).first.wait_for()

        page.goto(f"{address}#hparams")
        page.reload()
        for words in ("optim.lr", "momentum", "Final/accuracy/test"):
            page.get_by_text(words, exact=True).first.wait_for()
        for run in (first, second):  # the numbers in the table are those of the reports
            accuracy = report_of(run.path)["test"]["accuracy"]
            page.get_by_text(f"{accuracy:.5g}").first.wait_for()

        assert hosts == {"127.0.0.1"}
        assert errors == []
