"""A folder to complete words in: runs, an added option and two broken folders of options."""

import os
from pathlib import Path

RUNS = (
    "digits/2026-01-01_10-00-00-aaaa",
    "my run/2026-01-02_10-00-00-bbbb",
    "moons/2026-01-03_10-00-00-cccc",
)
FILES = {
    "my_conf/optim/brisk.yaml": "name: lbfgs\nhistory: 7\n",
    "my_conf/experiment/mine.yaml": (
        "# @package _global_\ndefaults:\n- override /optim: muon\noptim:\n  lr: 0.5\n"
    ),
    "twice/optim/sgd.yaml": "name: sgd\n",
    "broken/optim/bad.yaml": "[",
    "broken/experiment/worse.yaml": "- a\n",
}
OPTIMIZERS = ["adadelta", "adagrad", "adam", "adamw", "lbfgs", "momentum"]
OPTIMIZERS += ["muon", "nadam", "nesterov", "radam", "rmsprop", "sgd"]


def fill_folder():
    """Write the files into the working directory; the last of RUNS is the newest."""
    for number, run in enumerate(RUNS):
        config = Path("outputs", run, "config.yaml")
        config.parent.mkdir(parents=True)
        config.write_text("")
        os.utime(config, (1000 + number, 1000 + number))
    for file, text in FILES.items():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text)
    Path("picture.png").touch()


def values(key, *words):
    return [f"{key}={word}" for word in words]
