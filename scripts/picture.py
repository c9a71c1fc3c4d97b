"""Draw docs/run.svg, a real run as a terminal shows it, or docs/board.png, three runs in a real TensorBoard.

python scripts/picture.py terminal
python scripts/picture.py board       needs chromium
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).resolve().parent.parent / "docs"
COMMANDS = ["dlfound train model=mlp optim=adam", "dlfound train activation=rlu model.hiden=[64] optim.lr=-1"]
RUNS = {
    "adam": ["optim=adam"],
    "momentum": ["optim=momentum", "optim.lr=0.05"],
    "dropout": ["dropout=standard"],
}


def terminal() -> None:
    """Draw the commands and their output."""
    console = Console(record=True, width=92, file=open("/dev/null", "w"))  # noqa: SIM115
    for command in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", *command.split()], capture_output=True, text=True, check=False
        )
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text(done.stdout + done.stderr))
    svg = console.export_svg(title="dlfound", theme=MONOKAI)
    # No request to another host.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (DOCS / "run.svg").write_text(svg, encoding="utf-8")


def board() -> None:
    """Draw three runs side by side, with training and validation in one chart."""
    from playwright.sync_api import sync_playwright

    for name, words in RUNS.items():
        subprocess.run([sys.executable, "-m", "dlfound", "train", *words, f"run.name={name}"], check=True)
    serve = [sys.executable, "-m", "dlfound", "board", *RUNS]
    with (
        subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as served,
        sync_playwright() as playwright,
    ):
        assert served.stdout is not None
        address = served.stdout.readline().split()[0]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 760})
        page.goto(f"{address}#custom_scalars")
        page.get_by_text("update_to_weight", exact=True).first.wait_for()
        page.wait_for_timeout(5000)  # milliseconds: until the curves are drawn
        page.screenshot(path=DOCS / "board.png")
        browser.close()
        served.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", choices=["terminal", "board"])
    picture = {"terminal": terminal, "board": board}[parser.parse_args().picture]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # its runs do not belong among a person's own
        picture()
