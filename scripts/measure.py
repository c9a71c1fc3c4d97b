"""Measure what README.md, docs/measured.md and the experiments of conf/experiment/ claim.

python scripts/measure.py start
python scripts/measure.py glorot_depth --root FOLDER    (FOLDER holds MNIST/raw/; DLFOUND_DATA names it too)
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import dlfound
from dlfound.options.configure import configure
from dlfound.runs.folder import RunFolder
from dlfound.runs.run import Run
from dlfound.runs.train import load_data
from dlfound.training.assemble import assemble, resolve


def curves(words: list[str], part: str, metric: str) -> list[float]:
    """A metric after each epoch of a run."""
    run = dlfound.train(words)
    lines = RunFolder(run.path).read_lines("metrics.jsonl")
    return [line[part][metric] for line in lines]


def timed(*command: str) -> float:
    """Seconds of a whole process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    return time.perf_counter() - began


def start(root: str, seeds: int) -> None:
    """The time of whole commands, as medians, and of a default run over `import torch`, pair by pair."""
    pairs = [
        (timed("-c", "import torch"), timed("-m", "dlfound", "train", "run.name=start"))
        for _ in range(2 + 5 * seeds)
    ]
    alone, trained = zip(*pairs[2:], strict=True)  # the first two fill the disk's cache
    print(f"import torch {statistics.median(alone):.2f} s, dlfound train {statistics.median(trained):.2f} s")
    print(f"their ratio, pair by pair: {statistics.median(b / a for a, b in pairs[2:]):.2f}")
    for words in (["--help"], ["options"], ["train", "optim=sdg"], ["train", "optim.lrr=1", "data=digit"]):
        seconds = statistics.median(timed("-m", "dlfound", *words) for _ in range(5 * seeds))
        print(f"dlfound {' '.join(words)}: {seconds:.2f} s")


def logging(root: str, seeds: int) -> None:
    """What all logging costs: whole commands on digits, and a run on MNIST, on and off in turn."""
    pairs = [
        [timed("-m", "dlfound", "train", f"logger={word}") for word in ("tensorboard", "none")]
        for _ in range(2 + 5 * seeds)
    ]
    more = [on - off for on, off in pairs[2:]]  # the first two fill the disk's cache
    print(f"digits: {statistics.median(more):.2f} s more, median of {len(more)} pairs")
    in_turn("logging", root, seeds, "logger=tensorboard", "logger=none")


def checkpoints(root: str, seeds: int) -> None:
    """What checkpoints cost a run on MNIST, as often as they come by default against one at its end."""
    in_turn("checkpoints", root, seeds, "train.checkpoint=auto", "train.checkpoint=1000000")


def listing(root: str, seeds: int) -> None:
    """The time of `dlfound runs` over 10,000 runs: links to the files of one."""
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        path = dlfound.train(["data=moons", "train.epochs=2", "early_stopping=none", "lr_decay=none"]).path
        for number in range(9_999):
            shutil.copytree(path, path.with_name(f"{number:04}"), copy_function=os.link)
        times = [timed("-m", "dlfound", "runs") for _ in range(2 + 5 * seeds)][2:]
        listing = subprocess.run(
            [sys.executable, "-m", "dlfound", "runs"], capture_output=True, text=True, check=True
        )
        print(f"{len(listing.stdout.splitlines()) - 1:,} runs listed in {statistics.median(times):.2f} s")


def in_turn(feature: str, root: str, seeds: int, on: str, off: str) -> None:
    """The whole time of a run on MNIST with and without something, in turn, over its time of training."""
    fixed = ["data=mnist", f"data.root={root}", "run.threads=1", "train.epochs=15", "early_stopping=none"]
    shares = []
    for _ in range(3 * seeds):
        with_it, without = (dlfound.train([*fixed, "lr_decay=none", w]).report["seconds"] for w in (on, off))
        more = with_it["total"] - without["total"]
        shares.append(more / without["train"])
        print(f"MNIST: {without['train']:.1f} s of training, {more:+.2f} s with {feature}", flush=True)
    print(f"MNIST: {statistics.median(shares):+.1%} of the training's time, median of {len(shares)} pairs")


def batchnorm_sigmoid(root: str, seeds: int) -> None:
    """Validation accuracy after each epoch, with and without batch normalisation."""
    for seed in range(seeds):
        words = ["experiment=batchnorm_sigmoid", f"data.root={root}", f"run.seed={seed}"]
        with_it, without = (curves([*words, *more], "val", "accuracy") for more in ([], ["batchnorm=none"]))
        print(f"seed {seed}   epoch  batchnorm  none")
        for epoch, (a, b) in enumerate(zip(with_it, without, strict=True), 1):
            print(f"         {epoch:5}     {a:.4f}  {b:.4f}")
        ahead = sum(a > b for a, b in zip(with_it, without, strict=True))
        print(f"ahead in {ahead} of {len(with_it)} epochs")


def gradient_spread(root: str, seed: int, *more: str) -> list[float]:
    """The deviation of the loss's gradient by each hidden layer's pre-activations, before any training."""
    config = configure(["experiment=glorot_depth", f"data.root={root}", f"run.seed={seed}", *more])
    dataset = load_data(config)
    config, _ = resolve(config, dataset.task)
    built = assemble(config, dataset, torch.device("cpu"))
    network = built.network.train()
    part = built.parts["train"]
    activations = []

    def keep(module, args, a):
        a.retain_grad()
        activations.append(a)

    for layer in network.body.hidden:
        layer.linear.register_forward_hook(keep)
    built.loss(network.body(network.ready(part.inputs[:1000])), part.encoded[:1000]).backward()
    return [float(a.grad.std()) for a in activations]


def glorot_depth(root: str, seeds: int) -> None:
    """How much of the gradient's spread is left five layers down, for both ways to begin."""
    bound = 1000**-0.5
    old = ("initializer=uniform", f"initializer.low={-bound}", f"initializer.high={bound}")
    for seed in range(seeds):
        for name, more in (("normalised", ()), ("standard", old)):
            spread = gradient_spread(root, seed, *more)
            layers = " ".join(f"{value:.2e}" for value in spread)
            lost = max(spread) / min(spread)
            print(f"seed {seed}  {name:<10}  layers 1 to 5: {layers}  largest / smallest {lost:.1f}")


def adam_vs(root: str, seeds: int) -> None:
    """The training loss after each epoch, each optimizer at its defaults."""
    for seed in range(seeds):
        for optim in ("adam", "adagrad", "rmsprop", "nesterov", "adadelta"):
            words = ["experiment=adam_vs", f"data.root={root}", f"run.seed={seed}", f"optim={optim}"]
            losses = " ".join(f"{value:.4f}" for value in curves(words, "train", "loss"))
            print(f"seed {seed}  {optim:<9} {losses}", flush=True)


def accuracy(words: str, compare: bool = False):
    """The test accuracy of a run for each seed, and the mean; optionally beside scikit-learn's."""

    def measure(root: str, seeds: int) -> None:
        ours: list[float] = []
        peers: list[float] = []
        for seed in range(seeds):
            place = [] if words == "data=digits" else [f"data.root={root}"]
            run = dlfound.train([words, *place, f"run.seed={seed}"])
            ours.append(run.report["test"]["accuracy"])
            print(
                f"seed {seed}  test accuracy {ours[-1]:.4f}  {run.report['seconds']['total']:.1f} s",
                flush=True,
            )
            if compare:
                began = time.perf_counter()
                peers.append(peer_accuracy(run, seed))
                print(
                    f"        scikit-learn {peers[-1]:.4f}  {time.perf_counter() - began:.1f} s", flush=True
                )
        print(f"mean test accuracy {statistics.mean(ours):.4f}")
        if compare:
            print(f"scikit-learn's MLP {statistics.mean(peers):.4f}")

    return measure


def peer_accuracy(run: Run, seed: int) -> float:
    """Train scikit-learn's MLP: the same hidden layers and rows, standardised inputs, early stopping."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_data(run.config)
    inputs = data.inputs.reshape(len(data.inputs), -1)
    hidden = tuple(run.config["model"]["hidden"])
    net = MLPClassifier(hidden, early_stopping=True, n_iter_no_change=10, random_state=seed)
    # Its early stopping takes validation rows of its own.
    learn = np.concatenate([data.parts["train"], data.parts["val"]])
    test = data.parts["test"]
    model = make_pipeline(StandardScaler(), net).fit(inputs[learn], data.targets[learn])
    return model.score(inputs[test], data.targets[test])


MEASURES = {
    "start": start,
    "logging": logging,
    "checkpoints": checkpoints,
    "listing": listing,
    "digits": accuracy("data=digits", compare=True),
    "mnist": accuracy("data=mnist", compare=True),
    "mnist_dropout": accuracy("experiment=mnist_dropout"),
    "mnist_maxnorm": accuracy("experiment=mnist_maxnorm"),
    "batchnorm_sigmoid": batchnorm_sigmoid,
    "glorot_depth": glorot_depth,
    "adam_vs": adam_vs,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", choices=MEASURES)
    parser.add_argument(
        "--root", default=os.environ.get("DLFOUND_DATA"), help="the folder that holds MNIST/raw/"
    )
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    MEASURES[args.experiment](args.root, args.seeds)
