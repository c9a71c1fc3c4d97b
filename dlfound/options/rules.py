"""Rules on settings of several groups: some are errors, some warn of a probable mistake."""

from typing import Any

from dlfound.config.config import Config, Rule, check_rules
from dlfound.config.suggest import nearest, shown, similar_word
from dlfound.data.sources import task_of
from dlfound.errors import Problem
from dlfound.objective import loss as losses
from dlfound.objective.tasks import METRICS, MULTICLASS, OF_PROBABILITIES, gives_probabilities

# ---- the loss and the monitor, which depend on the task


def loss_fits(loss: str, data: dict[str, Any]) -> Problem | None:
    """Check the loss against the task, if the settings of the data determine the task."""
    task = task_of(data)
    return loss_fits_task(loss, task) if task else None


def loss_fits_task(loss: str, task: str) -> Problem | None:
    """Check the loss against the task."""
    tasks = losses.TASKS.get(loss)
    if tasks is None or task in tasks:
        return None
    fitting = [name for name, its_tasks in losses.TASKS.items() if task in its_tasks]
    message = f"loss={loss} is for {' and '.join(tasks)} tasks, but this task is {task}"
    return Problem(message, f"use loss={fitting[0]} or loss=auto")


def monitor_exists(monitor: str, data: dict[str, Any]) -> Problem | None:
    """Check the monitor against the metrics, if the settings of the data determine the task."""
    task = task_of(data)
    return monitor_fits_task(monitor, task) if task else None


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
    if look_ahead > patience:
        return None
    settings = f"early_stopping.look_ahead ({look_ahead}) must be above lr_decay.patience ({patience})"
    message = f"{settings}: training would stop before the first decay"
    return Problem(message, f"use early_stopping.look_ahead={3 * patience}, or lr_decay=none")


def _batch_for_statistics(batch_size: int | str, batchnorm: str, model: str) -> Problem | None:
    if batchnorm != "batch" or batch_size != 1 or model == "perceptron":
        return None
    message = "train.batch_size=1 cannot train batchnorm=batch: one row has no variance"
    return Problem(message, "use train.batch_size=2 or more, or batchnorm=none, or batchnorm=layer")


def _lbfgs_constraint(optim: str, constraint: str) -> Problem | None:
    if optim != "lbfgs" or constraint == "none":
        return None
    message = (
        f"optim=lbfgs does not work with constraint={constraint}: projections spoil its curvature estimate"
    )
    return Problem(message, "use constraint=none, or another optim")


def _lbfgs_batch(optim: str, batch_size: int | str) -> Problem | None:
    if optim != "lbfgs" or batch_size in ("auto", "full"):
        return None
    message = f"optim=lbfgs needs the full batch, got train.batch_size={batch_size}"
    return Problem(message, "use train.batch_size=full")


def _warmup_ends(warmup: float, epochs: int) -> Problem | None:
    if warmup < epochs:
        return None
    message = f"lr_decay.warmup ({warmup:g} epochs) must be shorter than train.epochs ({epochs})"
    return Problem(message, "use lr_decay.warmup=0")


def _cycle_rises(max_lr: float, lr: float) -> Problem | None:
    if max_lr > lr:
        return None
    message = f"lr_decay.max_lr ({max_lr:g}) must be above optim.lr ({lr:g})"
    return Problem(message, f"use lr_decay.max_lr={10 * lr:g}")


def _low_below_high(low: float, high: float) -> Problem | None:
    if low < high:
        return None
    message = f"initializer.low ({low:g}) must be below initializer.high ({high:g})"
    return Problem(message, f"use initializer.low={-abs(high) or -0.05:g}")


def _fold_exists(fold: int, folds: int) -> Problem | None:
    if fold < max(folds, 1):
        return None
    if folds:
        message = f"train.fold={fold} must be below train.folds={folds}: the folds are numbered from 0"
        return Problem(message, f"use train.fold={folds - 1}")
    fix = f"use train.folds={max(fold + 1, 5)}, or omit train.fold"
    return Problem(f"train.fold={fold} needs a cross-validation, but train.folds=0", fix)


def _group_is_used(split_by: str, group: str | None) -> Problem | None:
    if split_by == "group" and group is None:
        return Problem(
            "data.split_by=group needs data.group", "use data.group=COLUMN, or another data.split_by"
        )
    if split_by not in ("group", "auto") and group is not None:
        message = f"data.split_by={split_by} does not keep the rows of data.group={shown(group)} together"
        return Problem(message, "use data.split_by=group")
    return None


# ---- warnings


def _decay_acts(patience: int, epochs: int) -> Problem | None:
    if patience + 2 <= epochs:
        return None
    return Problem(
        f"lr_decay.patience={patience} can never act in {epochs} epochs", "shorten it, or lr_decay=none"
    )


def _stop_acts(look_ahead: int, epochs: int) -> Problem | None:
    if look_ahead + 1 < epochs:
        return None
    message = f"early_stopping.look_ahead={look_ahead} can never act in {epochs} epochs"
    return Problem(message, "shorten it, or early_stopping=none")


def _step_acts(step_size: int, epochs: int) -> Problem | None:
    if step_size < epochs:
        return None
    message = f"lr_decay.step_size={step_size} can never act in {epochs} epochs"
    return Problem(message, "shorten it, or lr_decay=none")


def _plateau_acts(min_lr: float, lr: float) -> Problem | None:
    if min_lr < lr:
        return None
    message = f"lr_decay.min_lr ({min_lr:g}) keeps optim.lr ({lr:g}) from being reduced"
    return Problem(message, "use lr_decay.min_lr=0")


def _norm_acts(model: str, batchnorm: str) -> Problem | None:
    if model != "perceptron" or batchnorm == "none":
        return None
    message = f"batchnorm={batchnorm} does nothing in a perceptron, which has no hidden layer"
    return Problem(message, "use batchnorm=none")


def cautions(config: Config) -> list[str]:
    """The warnings that follow from the values of a configuration alone."""
    return [f"{warning.what}; {warning.fix}" for warning in check_rules(config.tree, RULES)[1]]


RULES = (
    Rule(("early_stopping.look_ahead", "lr_decay.patience"), _decay_before_stop),
    Rule(("train.batch_size", "batchnorm.name", "model.name"), _batch_for_statistics),
    Rule(("loss.name", "data"), loss_fits),
    Rule(("train.monitor", "data"), monitor_exists),
    Rule(("train.monitor", "loss.name"), _monitor_fits_option),
    Rule(("train.fold", "train.folds"), _fold_exists),
    Rule(("data.split_by", "data.group"), _group_is_used),
    Rule(("optim.name", "constraint.name"), _lbfgs_constraint),
    Rule(("optim.name", "train.batch_size"), _lbfgs_batch),
    Rule(("lr_decay.warmup", "train.epochs"), _warmup_ends),
    Rule(("lr_decay.max_lr", "optim.lr"), _cycle_rises),
    Rule(("initializer.low", "initializer.high"), _low_below_high),
    Rule(("lr_decay.patience", "train.epochs"), _decay_acts, warns=True),
    Rule(("early_stopping.look_ahead", "train.epochs"), _stop_acts, warns=True),
    Rule(("lr_decay.step_size", "train.epochs"), _step_acts, warns=True),
    Rule(("lr_decay.min_lr", "optim.lr"), _plateau_acts, warns=True),
    Rule(("model.name", "batchnorm.name"), _norm_acts, warns=True),
)
