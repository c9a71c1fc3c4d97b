"""`dlfound board`: a real TensorBoard on this machine's own address, through its interface and in a real browser."""

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

import dlfound
from dlfound.cli import main
from dlfound.objective.tasks import METRICS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
SECONDS = 1000  # the browser's clock has milliseconds
QUICK = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "model.hidden=[8]"]


@contextmanager
def board(*words):
    """The address that a running `dlfound board` prints, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dlfound", "board", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process.stdout.readline().split()[0], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def scalars(address: str, runs: int = 1) -> dict:
    """Run -> its curves, as soon as the board has read so many runs."""
    for _ in range(120):
        with urllib.request.urlopen(f"{address}data/plugin/scalars/tags", timeout=60) as answer:
            found = json.load(answer)
        if len(found) >= runs:
            return found
        time.sleep(0.5)
    raise AssertionError(f"the board shows {found}")


def test_the_curves_are_served_here_only_and_a_second_board_takes_the_next_port():
    run = dlfound.train(QUICK)
    with board("--port", "16006") as (address, first), board("--port", "16006") as (other, _):
        assert address.startswith("http://127.0.0.1:16") and other.startswith("http://127.0.0.1:16")
        assert address != other
        tags = scalars(address)
        validated = {f"{name}/val" for name in METRICS["multiclass"]}
        assert [
            {"loss/train", "accuracy/train", "lr", *validated} <= set(found) for found in tags.values()
        ] == [True]
        assert run.path.name in next(iter(tags))
        port = int(address.rstrip("/").rpartition(":")[2])
        with open("/proc/net/tcp") as table:
            listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert f"0100007F:{port:04X}" in listening  # 127.0.0.1
        assert f"00000000:{port:04X}" not in listening
        first.send_signal(signal.SIGINT)
        assert first.wait(timeout=30) == 0


def test_runs_by_name():
    dlfound.train([*QUICK, "run.name=one"])
    dlfound.train([*QUICK, "run.name=two"])
    dlfound.train([*QUICK, "run.name=three"])
    with board("one", "two", "--port", "16206") as (address, _):
        assert sorted(name.partition("/")[0] for name in scalars(address, runs=2)) == ["one", "two"]


def test_nothing_to_show_is_told(capsys):
    assert main(["board"]) == 4
    assert "train one first" in capsys.readouterr().err
    run = dlfound.train([*QUICK, "logger=none"])
    assert main(["board", str(run.path)]) == 4
    assert "logger=none" in capsys.readouterr().err


@pytest.fixture
def browser():
    """A headless browser of the machine's own."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_curves_and_settings_in_a_browser(browser):
    quick = ["train.epochs=4", "early_stopping=none", "lr_decay=none"]
    first = dlfound.train([*quick, "optim=adam"])
    second = dlfound.train([*quick, "optim=momentum", "optim.lr=0.05"])
    with board("--port", "16306") as (address, _):
        scalars(address, runs=2)
        page, hosts, errors = browser.new_page(viewport={"width": 1600, "height": 1000}), set(), []
        page.set_default_timeout(60 * SECONDS)
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
        for run in (first, second):  # the table's numbers are the reports'
            page.get_by_text(f"{run.report['test']['accuracy']:.5g}").first.wait_for()

        assert hosts == {"127.0.0.1"}
        assert errors == []
