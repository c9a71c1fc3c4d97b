"""Draw docs/run.svg: a real run as a terminal shows it.

python scripts/picture.py
"""

import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COMMANDS = ["dlfound train model=mlp optim=adam", "dlfound train activation=rlu model.hiden=[64] optim.lr=-1"]


def main() -> None:
    console = Console(record=True, width=92, file=open("/dev/null", "w"))  # noqa: SIM115
    for command in COMMANDS:
        done = subprocess.run([sys.executable, "-m", *command.split()], capture_output=True, text=True, check=False)
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text(done.stdout + done.stderr))
    svg = console.export_svg(title="dlfound", theme=MONOKAI)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no request to another host
    Path(__file__).parent.parent.joinpath("docs", "run.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
