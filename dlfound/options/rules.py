"""What must hold across groups, and what cannot be meant."""

from typing import Any

from dlfound.config.config import Config, Rule, check_rules
from dlfound.config.suggest import nearest, shown
from dlfound.data.sources import task_of
from dlfound.errors import Problem
from dlfound.objective import loss as losses
from dlfound.objective.tasks import METRICS, MULTICLASS, OF_PROBABILITIES, gives_probabilities


def _decay_before_stop(look_ahead: int, patience: int) -> Problem | None:
    if look_ahead > patience:
        return None
    what = f"early_stopping.look_ahead ({look_ahead}) is not longer than lr_decay.patience ({patience})"
    return Problem(
        f"{what}: the decay could never help", f"early_stopping.look_ahead={3 * patience} or lr_decay=none"
    )


def _batch_for_statistics(batch_size: int | str, batchnorm: str, model: str) -> Problem | None:
    if batchnorm != "batch" or batch_size != 1 or model == "perceptron":
        return None
    what = "train.batch_size=1 cannot train batchnorm=batch: one row has no variance"
    return Problem(what, "train.batch_size=2 or more, or batchnorm=none, or batchnorm=layer")


def loss_fits(loss: str, data: dict[str, Any]) -> Problem | None:
    """The loss against the task, where the task is known before the data are read."""
    return None if (task := task_of(data)) is None else loss_fits_task(loss, task)


def loss_fits_task(loss: str, task: str) -> Problem | None:
    """The loss against the task."""
    tasks = losses.TASKS.get(loss)
    if tasks is None or task in tasks:
        return None
    fitting = [name for name, served in losses.TASKS.items() if task in served]
    what = f"loss={loss} is for {' and '.join(tasks)} tasks, but this task is {task}"
    return Problem(what, f"loss={fitting[0]} or loss=auto")


def monitor_exists(monitor: str, data: dict[str, Any]) -> Problem | None:
    """The monitor against what is measured."""
    return None if (task := task_of(data)) is None else monitor_fits_task(monitor, task)


def monitor_fits_task(monitor: str, task: str) -> Problem | None:
    """The monitor against what is measured in a task."""
    words = ("auto", *METRICS[task])
    if monitor in words:
        return None
    what = f"train.monitor must be {', '.join(words[:-1])} or {words[-1]} for a {task} task, got {shown(monitor)}"
    return Problem(what, f"did you mean train.monitor={nearest(monitor, words)}?")


def _monitor_fits_option(monitor: str, loss: str) -> Problem | None:
    """The monitor against a loss whose class says what it gives; what a function makes is known once it is built."""
    made = losses.TABLE.get(loss)
    return monitor_fits_loss(monitor, loss, made) if isinstance(made, type) else None


def monitor_fits_loss(monitor: str, name: str, loss: Any) -> Problem | None:
    """The monitor against what a loss's outputs are.

    Args:
        name: the word that chose the loss.
        loss: it, or its class.
    """
    if monitor not in OF_PROBABILITIES or gives_probabilities(loss):
        return None
    near = nearest(monitor, [metric for metric in METRICS[MULTICLASS] if metric not in OF_PROBABILITIES])
    what = f"train.monitor={monitor} needs probabilities, but loss={name} gives scores"
    return Problem(what, f"train.monitor={near}, or loss=auto")


def _decay_acts(patience: int, epochs: int) -> Problem | None:
    if patience + 2 <= epochs:
        return None
    return Problem(
        f"lr_decay.patience={patience} can never act in {epochs} epochs", "shorten it, or lr_decay=none"
    )


def _stop_acts(look_ahead: int, epochs: int) -> Problem | None:
    if look_ahead + 1 < epochs:
        return None
    what = f"early_stopping.look_ahead={look_ahead} can never act in {epochs} epochs"
    return Problem(what, "shorten it, or early_stopping=none")


def _lbfgs_constraint(optim: str, constraint: str) -> Problem | None:
    if optim != "lbfgs" or constraint == "none":
        return None
    what = (
        f"optim=lbfgs cannot keep constraint={constraint}: a projection breaks its picture of the curvature"
    )
    return Problem(what, "constraint=none, or another optim")


def _lbfgs_batch(optim: str, batch_size: int | str) -> Problem | None:
    if optim != "lbfgs" or batch_size in ("auto", "full"):
        return None
    what = f"optim=lbfgs works on the full batch, not on train.batch_size={batch_size}"
    return Problem(what, "train.batch_size=full")


def _warmup_ends(warmup: float, epochs: int) -> Problem | None:
    if warmup < epochs:
        return None
    what = f"lr_decay.warmup ({warmup:g} epochs) must be shorter than train.epochs ({epochs})"
    return Problem(what, "lr_decay.warmup=0")


def _cycle_rises(max_lr: float, lr: float) -> Problem | None:
    if max_lr > lr:
        return None
    return Problem(
        f"lr_decay.max_lr ({max_lr:g}) must be above optim.lr ({lr:g})", f"lr_decay.max_lr={10 * lr:g}"
    )


def _range_is_one(low: float, high: float) -> Problem | None:
    if low < high:
        return None
    what = f"initializer.low ({low:g}) must be below initializer.high ({high:g})"
    return Problem(what, f"initializer.low={-abs(high) or -0.05:g}")


def _step_acts(step_size: int, epochs: int) -> Problem | None:
    if step_size < epochs:
        return None
    return Problem(
        f"lr_decay.step_size={step_size} can never act in {epochs} epochs", "shorten it, or lr_decay=none"
    )


def _plateau_acts(min_lr: float, lr: float) -> Problem | None:
    if min_lr < lr:
        return None
    return Problem(
        f"lr_decay.min_lr ({min_lr:g}) keeps optim.lr ({lr:g}) from ever being cut", "lr_decay.min_lr=0"
    )


def _fold_exists(fold: int, folds: int) -> Problem | None:
    if fold < max(folds, 1):
        return None
    what = f"train.fold={fold}, but there {f'are {folds} folds, from 0' if folds else 'are no folds (train.folds=0)'}"
    return Problem(what, f"train.fold={folds - 1}" if folds else "train.folds=5, or leave train.fold out")


def _group_is_used(split_by: str, group: str | None) -> Problem | None:
    if split_by == "group" and group is None:
        return Problem("data.split_by=group needs data.group", "data.group=COLUMN, or another data.split_by")
    if split_by not in ("group", "auto") and group is not None:
        return Problem(
            f"data.group={shown(group)} is not kept together by data.split_by={split_by}",
            "data.split_by=group",
        )
    return None


def _norm_acts(model: str, batchnorm: str) -> Problem | None:
    if model != "perceptron" or batchnorm == "none":
        return None
    return Problem(
        f"batchnorm={batchnorm} does nothing in a perceptron, which has no hidden layer", "batchnorm=none"
    )


def cautions(config: Config) -> list[str]:
    """What cannot be meant in a configuration: it follows from the values alone."""
    return [f"{found.what}; {found.fix}" for found in check_rules(config.tree, RULES)[1]]


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
    Rule(("initializer.low", "initializer.high"), _range_is_one),
    Rule(("lr_decay.patience", "train.epochs"), _decay_acts, warns=True),
    Rule(("early_stopping.look_ahead", "train.epochs"), _stop_acts, warns=True),
    Rule(("lr_decay.step_size", "train.epochs"), _step_acts, warns=True),
    Rule(("lr_decay.min_lr", "optim.lr"), _plateau_acts, warns=True),
    Rule(("model.name", "batchnorm.name"), _norm_acts, warns=True),
)
