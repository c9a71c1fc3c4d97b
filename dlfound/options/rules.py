"""Rules on settings of several groups: some are errors, some warn of a probable mistake."""

from collections.abc import Callable
from typing import Any

from dlfound.config.config import Config, Rule, check_rules
from dlfound.config.suggest import nearest, shown, similar_word
from dlfound.data.sources import task_of
from dlfound.errors import Problem
from dlfound.objective import loss as losses
from dlfound.objective.tasks import METRICS, MULTICLASS, OF_PROBABILITIES, gives_probabilities

# ---- the loss and the monitor, which depend on the task


def _unless(fits: bool, message: str, fix: str) -> Problem | None:
    """The problem, unless the settings fit together."""
    return None if fits else Problem(message, fix)


def _if_known(check: Callable[[str, str], Problem | None]) -> Callable[[str, dict[str, Any]], Problem | None]:
    """Check a word against the task, if the settings of the data determine the task."""
    return lambda word, data: check(word, task) if (task := task_of(data)) else None


def loss_fits_task(loss: str, task: str) -> Problem | None:
    """Check the loss against the task."""
    tasks = losses.TASKS.get(loss, (task,))  # a registered loss may be for any task
    fitting = [name for name, its_tasks in losses.TASKS.items() if task in its_tasks]
    message = f"loss={loss} is for {' and '.join(tasks)} tasks, but this task is {task}"
    return _unless(task in tasks, message, f"use loss={fitting[0]} or loss=auto")


def monitor_fits_task(monitor: str, task: str) -> Problem | None:
    """Check the monitor against the metrics of a task."""
    words = ("auto", *METRICS[task])
    if monitor in words:
        return None
    choices = f"{', '.join(words[:-1])} or {words[-1]}"
    message = f"train.monitor must be {choices} for a {task} task, got {shown(monitor)}"
    word = similar_word("train.monitor", monitor, words)
    return Problem(message, f"did you mean train.monitor={word}?" if word else "use train.monitor=auto")


def _monitor_fits_option(monitor: str, loss: str) -> Problem | None:
    """Check the monitor against a loss that is a class; what a function returns is known once it is built."""
    option = losses.TABLE.get(loss)
    return monitor_fits_loss(monitor, loss, option) if isinstance(option, type) else None


def monitor_fits_loss(monitor: str, name: str, loss: Any) -> Problem | None:
    """Check that the loss gives the probabilities that the monitor needs.

    Args:
        name: the word that chose the loss.
        loss: the loss, or its class.
    """
    if monitor not in OF_PROBABILITIES or gives_probabilities(loss):
        return None
    others = [metric for metric in METRICS[MULTICLASS] if metric not in OF_PROBABILITIES]
    message = f"train.monitor={monitor} needs probabilities, but loss={name} gives scores"
    return Problem(message, f"use train.monitor={nearest(monitor, others)}, or loss=auto")


# ---- errors


def _decay_before_stop(look_ahead: int, patience: int) -> Problem | None:
    settings = f"early_stopping.look_ahead ({look_ahead}) must be above lr_decay.patience ({patience})"
    message = f"{settings}: training would stop before the first decay"
    fix = f"use early_stopping.look_ahead={3 * patience}, or lr_decay=none"
    return _unless(look_ahead > patience, message, fix)


def _batch_for_statistics(batch_size: int | str, batchnorm: str, model: str) -> Problem | None:
    fits = batchnorm != "batch" or batch_size != 1 or model == "perceptron"
    message = "train.batch_size=1 cannot train batchnorm=batch: one row has no variance"
    return _unless(fits, message, "use train.batch_size=2 or more, or batchnorm=none, or batchnorm=layer")


def _lbfgs_constraint(optim: str, constraint: str) -> Problem | None:
    conflict = f"optim=lbfgs does not work with constraint={constraint}"
    message = f"{conflict}: projections spoil its curvature estimate"
    return _unless(optim != "lbfgs" or constraint == "none", message, "use constraint=none, or another optim")


def _lbfgs_batch(optim: str, batch_size: int | str) -> Problem | None:
    message = f"optim=lbfgs needs the full batch, got train.batch_size={batch_size}"
    return _unless(optim != "lbfgs" or batch_size in ("auto", "full"), message, "use train.batch_size=full")


def _warmup_ends(warmup: float, epochs: int) -> Problem | None:
    message = f"lr_decay.warmup ({warmup:g} epochs) must be shorter than train.epochs ({epochs})"
    return _unless(warmup < epochs, message, "use lr_decay.warmup=0")


def _cycle_rises(max_lr: float, lr: float) -> Problem | None:
    message = f"lr_decay.max_lr ({max_lr:g}) must be above optim.lr ({lr:g})"
    return _unless(max_lr > lr, message, f"use lr_decay.max_lr={10 * lr:g}")


def _low_below_high(low: float, high: float) -> Problem | None:
    message = f"initializer.low ({low:g}) must be below initializer.high ({high:g})"
    return _unless(low < high, message, f"use initializer.low={-abs(high) or -0.05:g}")


def _fold_exists(fold: int, folds: int) -> Problem | None:
    if folds:
        message = f"train.fold={fold} must be below train.folds={folds}: the folds are numbered from 0"
        return _unless(fold < folds, message, f"use train.fold={folds - 1}")
    message = f"train.fold={fold} needs a cross-validation, but train.folds=0"
    return _unless(fold == 0, message, f"use train.folds={max(fold + 1, 5)}, or omit train.fold")


def _group_is_used(split_by: str, group: str | None) -> Problem | None:
    if group is None:
        fix = "use data.group=COLUMN, or another data.split_by"
        return _unless(split_by != "group", "data.split_by=group needs data.group", fix)
    message = f"data.split_by={split_by} does not keep the rows of data.group={shown(group)} together"
    return _unless(split_by in ("group", "auto"), message, "use data.split_by=group")


# ---- warnings


def _acts_in_time(key: str, more: int) -> Rule:
    """Warn of a decay or a stop that needs at least the value of `key` and `more` epochs to act."""

    def check(value: int, epochs: int) -> Problem | None:
        message = f"{key}={value} can never act in {epochs} epochs"
        return _unless(value + more <= epochs, message, f"shorten it, or {key.partition('.')[0]}=none")

    return Rule((key, "train.epochs"), check, warns=True)


def _plateau_acts(min_lr: float, lr: float) -> Problem | None:
    message = f"lr_decay.min_lr ({min_lr:g}) keeps optim.lr ({lr:g}) from being reduced"
    return _unless(min_lr < lr, message, "use lr_decay.min_lr=0")


def _norm_acts(model: str, batchnorm: str) -> Problem | None:
    message = f"batchnorm={batchnorm} does nothing in a perceptron, which has no hidden layer"
    return _unless(model != "perceptron" or batchnorm == "none", message, "use batchnorm=none")


def cautions(config: Config) -> list[str]:
    """The warnings that follow from the values of a configuration alone."""
    return check_rules(config.tree, RULES)[1]


RULES = (
    Rule(("early_stopping.look_ahead", "lr_decay.patience"), _decay_before_stop),
    Rule(("train.batch_size", "batchnorm.name", "model.name"), _batch_for_statistics),
    Rule(("loss.name", "data"), _if_known(loss_fits_task)),
    Rule(("train.monitor", "data"), _if_known(monitor_fits_task)),
    Rule(("train.monitor", "loss.name"), _monitor_fits_option),
    Rule(("train.fold", "train.folds"), _fold_exists),
    Rule(("data.split_by", "data.group"), _group_is_used),
    Rule(("optim.name", "constraint.name"), _lbfgs_constraint),
    Rule(("optim.name", "train.batch_size"), _lbfgs_batch),
    Rule(("lr_decay.warmup", "train.epochs"), _warmup_ends),
    Rule(("lr_decay.max_lr", "optim.lr"), _cycle_rises),
    Rule(("initializer.low", "initializer.high"), _low_below_high),
    _acts_in_time("lr_decay.patience", 2),
    _acts_in_time("early_stopping.look_ahead", 2),
    _acts_in_time("lr_decay.step_size", 1),
    Rule(("lr_decay.min_lr", "optim.lr"), _plateau_acts, warns=True),
    Rule(("model.name", "batchnorm.name"), _norm_acts, warns=True),
)
