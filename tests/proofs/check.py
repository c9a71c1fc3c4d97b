"""Plant faults one by one, and see whether `dlfound check` finds and names each; sound settings must pass.

python tests/proofs check                                all cases with five seeds each
python tests/proofs check --seeds 1 --only rate digits   the cases whose name contains one of the words
python tests/proofs check --seeds 1 --quick              the short form, which runs one check for each fault
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import dlfound
from dlfound.checks import PASS
from dlfound.checks.run import CheckReport
from dlfound.errors import Error
from dlfound.options.configure import configure
from proofs import planted


@dataclass(frozen=True)
class Case:
    """A configuration, and what the checks must report about it.

    Attributes:
        overrides: separated by blanks; the seeds are added.
        check: the check that must find the fault; empty for a sound setting, in which every check must pass.
        signs: the finding of the check must have one of these signs.
    """

    name: str
    overrides: str
    check: str = ""
    signs: tuple[str, ...] = ()

    def judge(self, report: CheckReport) -> str:
        """Say what is wrong with the report; return an empty text if nothing is."""
        findings = [(name, f.sign, f.verdict) for name, f in report.findings() if f.verdict != PASS]
        if not self.check:
            return ", ".join(f"{verdict} {name}: {sign}" for name, sign, verdict in findings)
        if any(name == self.check and sign in self.signs for name, sign, _ in findings):
            return ""
        return f"not found; the checks report {findings}"


def fault(name: str, overrides: str, expected: str) -> Case:
    """Make a case; `expected` is check/sign, or check/sign|sign."""
    check, _, signs = expected.partition("/")
    return Case(name, overrides, check, tuple(signs.split("|")))


SMALL_NET = "model.hidden=[32,32]"  # unless a case names another
DEEP = "model.hidden=[32,32,32,32,32,32,32]"
PENALTY = "regularizer=l2 regularizer.strength=0.01"
SATURATING = "initializer=normal initializer.std=2"
HUGE = "initializer=normal initializer.std=1"
SMALL = "activation=tanh initializer=normal initializer.std=0.01"

FAULTS = [
    fault("backward twice as large", "activation=double_backward", "gradients/wrong"),
    fault("backward of another activation", "activation=slope_of_sigmoid", "gradients/wrong"),
    fault("backward with the wrong sign", "activation=negative_backward", "gradients/wrong"),
    fault("backward wrong for few units", "activation=wrong_for_few", "gradients/wrong"),
    fault("detached layer", "activation=detached", "gradients/wrong"),
    fault("half of an activation detached", "activation=half_detached", "gradients/wrong"),
    fault("batch statistics detached", "batchnorm=detached_statistics", "gradients/wrong"),
    fault("loss partly detached", "loss=partly_detached", "gradients/wrong"),
    fault("loss detached", "loss=detached", "gradients/cut_off"),
    fault("penalty partly detached", "regularizer=partly_detached", "gradients/wrong"),
    fault("penalty on biases", f"activation=offset {PENALTY}", "gradients/penalised"),
    fault("softmax twice", "loss=softmax_twice", "initial_loss/squashed"),
    fault("loss with the wrong sign", "loss=wrong_sign", "initial_loss/sign"),
    fault("loss summed over rows", "loss=summed", "initial_loss/summed"),
    fault("huge initial weights", HUGE, "initial_loss/high"),
    fault("huge initial weights, regression", f"data=sine {HUGE}", "initial_loss/high"),
    fault("zero initial weights", "initializer=zeros", "initial_state/copies"),
    fault("constant initial weights", "initializer=constant activation=tanh", "initial_state/copies"),
    fault("pairs of identical units", "initializer=pairs", "initial_state/copies"),
    fault("saturated units", f"activation=tanh {SATURATING}", "initial_state/saturated"),
    fault("dead units by a bias of -10", "activation=dead", "initial_state/dead"),
    fault("small weights in a deep net", f"{DEEP} {SMALL}", "initial_state/signal_fades"),
    fault("deep net of sigmoids", f"{DEEP} activation=sigmoid", "initial_state/gradient_fades"),
    fault("rate x 1000", "optim.lr=1", "learning_rate/diverges"),
    fault("rate / 10,000", "optim.lr=1e-7", "learning_rate/crawls"),
    fault("rate of sgd x 1000", "optim=sgd optim.lr=100", "learning_rate/diverges"),
    fault("rate of sgd / 10,000", "optim=sgd optim.lr=1e-5", "learning_rate/crawls"),
    fault("rate x 1000, regression", "data=sine optim.lr=1", "learning_rate/diverges"),
    fault("rate / 10,000, regression", "data=sine optim.lr=1e-7", "learning_rate/crawls"),
    fault("rate x 1000 in one cycle", "lr_decay=one_cycle lr_decay.max_lr=10", "learning_rate/diverges"),
    fault("steps uphill", "optim=uphill", "learning_rate/nowhere"),
    fault("frozen layer", "optim=frozen", "updates/frozen"),
    fault("one hidden unit", "model.hidden=[1] data=spirals", "overfit/net"),
    fault("a net without hidden layers", "model=perceptron data=xor", "overfit/net"),
    fault("tiny weights", "constraint=max_norm constraint.max_norm=0.001", "overfit/constraint"),
    fault("a layer with constant output", "activation=constant_output", "inputs/ignored"),
    fault("constant inputs", "data=constant_inputs", "inputs/ignored"),
    fault("a layer that mixes rows", "activation=mixes_rows", "rows/mixed"),
    fault("softmax over rows", "activation=softmax_over_rows", "rows/mixed"),
    fault("noise from the global generator", "activation=noisy", "determinism/differs"),
    fault("weights from the global generator", "initializer=global_generator", "determinism/differs"),
    fault("data from the global generator", "data=random_rows", "determinism/data"),
    fault("target in a column", "data=leaked_class", "data/copies"),
    fault("target in a column with some noise", "data=leaked_nearly", "data/copies"),
    fault("target in a column for each class", "data=leaked_one_hot", "data/copies"),
    fault("target in a column, regression", "data=leaked_number", "data/copies"),
    fault("test rows in training", "data=test_rows_in_training", "data/overlap"),
    fault("one test row in training", "data=one_test_row_in_training", "data/overlap"),
    fault("all rows twice", "data=all_rows_twice", "data/overlap"),
    fault("a constant column", "data=constant_column", "data/constant"),
    fault("a duplicate column", "data=duplicate_column", "data/duplicate"),
    fault("a rare class", "data=rare_class", "data/imbalance"),
    fault("an outlier of 1e8", "data=outlier", "data/outliers"),
    fault("a column at scale 1e4", "data=large_column", "data/uneven"),
    fault("test rows in another unit", "data=other_unit", "data/unlike"),
    fault("shuffled labels", "data=shuffled_digits", "data/chance"),
    fault("shuffled targets, regression", "data=shuffled_numbers", "data/chance"),
    fault("classes shifted in half of the rows", "data=half_shifted", "data/shifted"),
    fault("classes shifted in the second half", "data=second_half_shifted", "data/contradiction"),
    fault("labels one row late in the second half", "data=second_half_delayed", "data/contradiction"),
]  # fmt: skip

SOUND = [
    Case("digits with default settings", "model.hidden=[256,256]"),
    Case("tanh", "activation=tanh model.hidden=[64,64]"),
    Case("selu, four layers", "activation=selu model.hidden=[64,64,64,64]"),
    Case("gelu, layer normalisation, adamw", "activation=gelu batchnorm=layer optim=adamw"),
    Case("maxout, momentum", "activation=maxout optim=momentum model.hidden=[64,64]"),
    Case("batch normalisation", "batchnorm=batch"),
    Case("dropout, penalty, sgd", "dropout=standard regularizer=l2 optim=sgd"),
    Case("regression: sine", "data=sine"),
    Case("two classes: moons", "data=moons"),
    Case("two classes: xor, full batch, L-BFGS", "data=xor optim=lbfgs activation=tanh model.hidden=[16]"),
    Case("a linear net on digits", "model=perceptron"),
    Case("registered activation and normalisation", "activation=own_relu batchnorm=registered"),
    Case("sigmoid", "activation=sigmoid model.hidden=[64]"),
    Case("sigmoid with batch normalisation", "batchnorm=batch activation=sigmoid model.hidden=[64,64,64]"),
    Case("regression: grades", "data=passfail data.target=grade activation=tanh"),
    Case("regression: prices sorted by place", "data=sorted_by_place"),
    Case("two classes: circles, hinge", "data=circles loss=hinge"),
    Case("spirals, three layers", "data=spirals model.hidden=[64,64,64] optim=rmsprop"),
    Case("parity", "data=parity"),
    Case("one cycle of rates", "lr_decay=one_cycle early_stopping=none train.epochs=30"),
    Case("muon", "optim=muon"),
]
QUICK = 12  # of the sound cases belong to the short form
REAL = [
    Case("MNIST", "data=mnist data.root={root} model.hidden=[256,256]"),
    Case("a table: titanic", "data=table data.path={root}/titanic.csv data.target=Survived"),
    Case("a table: housing", "data=table data.path={root}/housing.csv data.target=median_house_value"),
]


def run(case: Case, seed: int, quick: bool) -> str:
    """Check a case with a seed and say what is wrong with the report; return an empty text if nothing is."""
    overrides = case.overrides.format(root=os.environ.get("DLFOUND_DATA", "")).split()
    if "model" not in case.overrides:
        overrides = [SMALL_NET, *overrides]
    only = [case.check] if quick and case.check else []
    seeds = [f"run.seed={seed}", f"data.seed={seed}"]
    try:
        report = dlfound.check([*overrides, *seeds, "run.threads=1"], only=only)
    except Error as error:
        return f"{error.code!r}: {error}"
    return case.judge(report) or bad_fix(overrides, report)


def bad_fix(overrides: list[str], report: CheckReport) -> str:
    """Name a finding without a fix, or one whose override cannot replace those of its group."""
    for name, finding in report.findings():
        if finding.verdict != PASS and not finding.fix:
            return f"{name}: {finding.sign} has no fix"
        if not finding.override:
            continue
        new = finding.override.split()
        groups = {key for key in (override.partition("=")[0] for override in new) if "." not in key}
        remaining = [o for o in overrides if o.partition("=")[0].partition(".")[0] not in groups]
        try:
            configure([*remaining, *new])
        except Error as error:
            return f"{name}: {finding.override} cannot be added: {error}"
    return ""


def choose(words: list[str], quick: bool) -> list[Case]:
    """Return the cases whose name contains one of the words; all without words."""
    sound = SOUND[:QUICK] if quick else SOUND
    real = REAL if os.environ.get("DLFOUND_DATA") else []
    cases = [*FAULTS, *sound, *real]
    return [case for case in cases if not words or any(word in case.name for word in words)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each case and the counts; return 1 if a fault was missed or a sound setting blamed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--quick", action="store_true", help="run the short form")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    planted.register()
    seeds = range(args.first, args.first + args.seeds)
    counts = {"fault": 0, "sound": 0}
    wrong = {"fault": 0, "sound": 0}
    for case in choose(args.only, args.quick):
        kind = "fault" if case.check else "sound"
        counts[kind] += args.seeds
        wrong[kind] += prove(case, kind, seeds, args.quick)
    print(f"faults: {counts['fault']} planted, {wrong['fault']} missed")
    print(f"sound: {counts['sound']} checked, {wrong['sound']} blamed")
    return int(any(wrong.values()))


def prove(case: Case, kind: str, seeds: range, quick: bool) -> int:
    """Check a case with all seeds, print the results, and return the number of seeds with a wrong report."""
    started = time.process_time()
    problems = {seed: run(case, seed, quick) for seed in seeds}
    seconds = (time.process_time() - started) / len(seeds)
    wrong = {seed: problem for seed, problem in problems.items() if problem}
    expected = f"{case.check}: {' or '.join(case.signs)}" if case.check else "every check passes"
    print(f"{'NO ' if wrong else 'yes'} {kind} {case.name}: {expected} ({seconds:.1f} s)", flush=True)
    for seed, problem in wrong.items():
        print(f"      seed {seed}: {problem}", flush=True)
    return len(wrong)
