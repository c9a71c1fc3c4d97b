"""The net before the first step: units that are saturated, dead or equal, and what signals make of each layer."""

import torch

from dlfound.checks.context import Subject
from dlfound.checks.result import FAIL, WARN, Checked, Finding, sound
from dlfound.checks.thresholds import DEAD, FADED, SATURATED
from dlfound.training.layers import SAMPLE_ROWS, LayerState, Probe

MANY = 4  # layers, of which not each is shown


def check(subject: Subject) -> Checked:
    """A look at the fresh net through some training rows."""
    a = subject.fresh()
    _, layers = Probe(a.network, a.step, subject.sample(a, SAMPLE_ROWS)).look()
    copies = {layer.name: count_copies(layers, i) for i, layer in enumerate(layers[:-1])}
    findings = _copies(subject, layers, copies) + _shares(subject, layers, copies) + _spread(subject, layers)
    worst = max([0.0, *(max(layer.dead, layer.saturated or 0) for layer in layers[:-1])])
    if len(layers) == 1:
        return Checked(
            "initial_state", findings or [sound(None, "there is no hidden layer")], _numbers(layers, copies)
        )
    spread = f"activations spread by {_through(layers, 'activations')}, gradients by {_through(layers, 'gradients')}"
    meaning = f"is the largest share of dead or saturated units in a layer; {spread}; no units are copies"
    return Checked("initial_state", findings or [sound(worst, meaning)], _numbers(layers, copies))


def count_copies(layers: list[LayerState], i: int) -> int:
    """How many units of hidden layer i have the same weights, incoming and outgoing, as another one before them."""
    incoming, outgoing = layers[i].weights, layers[i + 1].weights.T
    if len(incoming) != len(outgoing):  # several pre-activations a unit
        incoming = incoming.unflatten(0, (len(outgoing), -1)).flatten(1)
    return len(incoming) - len(torch.unique(torch.cat([incoming, outgoing], 1), dim=0))


def _through(layers: list[LayerState], what: str) -> str:
    """A number of each hidden layer, from the input up; of many layers the first and the last."""
    numbers = [done[what] for name, done in _numbers(layers, {}).items() if name != "output"]
    shown = [f"{number:.2g}" for number in numbers]
    return ", ".join(shown if len(shown) <= MANY else [shown[0], "...", shown[-1]])


def _numbers(layers: list[LayerState], copies: dict[str, int]) -> dict:
    return {
        layer.name: {
            "saturated": layer.saturated,
            "dead": layer.dead,
            "copies": copies.get(layer.name, 0),
            "activations": float(layer.activations.std(correction=0)),
            "gradients": layer.backprop,
        }
        for layer in layers
    }


def _copies(subject: Subject, layers: list[LayerState], copies: dict[str, int]) -> list[Finding]:
    same = {name: count for name, count in copies.items() if count}
    if not same:
        return []
    units = sum(len(layer.weights) for layer in layers[:-1])
    noise = "nothing but dropout tells them apart" if subject.config["dropout"].get("hidden", 0) > 0 else ""
    meaning = (
        f"of {units} units in {' and '.join(same)}: {noise or 'these units will stay copies of each other'}"
    )
    return [Finding("copies", FAIL, float(sum(same.values())), meaning, "initializer=auto")]


def _shares(subject: Subject, layers: list[LayerState], copies: dict[str, int]) -> list[Finding]:
    """Saturated and dead units; of copies, that they are copies is enough."""
    hidden = [layer for layer in layers[:-1] if not copies[layer.name]]
    usual, findings = subject.usual_initializer(), []
    saturated = {layer.name: layer.saturated or 0.0 for layer in hidden}
    if flat := [name for name, share in saturated.items() if share > SATURATED]:
        meaning = f"of the activations in {' and '.join(flat)} are saturated: next to no gradient passes through them"
        findings.append(
            Finding("saturated", WARN, max(saturated.values()), meaning, usual or "batchnorm=batch")
        )
    dead = {layer.name: layer.dead for layer in hidden}
    if gone := [name for name, share in dead.items() if share > DEAD]:
        meaning = (
            f"of the units in {' and '.join(gone)} are dead: zero for every row, so that they cannot learn"
        )
        findings.append(Finding("dead", WARN, max(dead.values()), meaning, usual or "activation=leaky_relu"))
    return findings


def _spread(subject: Subject, layers: list[LayerState]) -> list[Finding]:
    """How activations fare on their way up, and gradients on their way down."""
    first, last = layers[0], layers[-2] if len(layers) > 1 else layers[0]
    up = float(last.activations.std(correction=0) / first.activations.std(correction=0))
    down = first.backprop / last.backprop if last.backprop else float("nan")
    findings = []
    for what, ratio, top, bottom in (("signal", up, last, first), ("gradient", down, first, last)):
        if 0 < ratio < FADED or 1 / FADED < ratio < float("inf"):
            way = "fades" if ratio < 1 else "grows"
            meaning = (
                f"times that of {bottom.name} is left in {top.name}: the {what} {way} from layer to layer"
            )
            change = subject.usual_initializer() or "batchnorm=batch"
            findings.append(Finding(f"{what}_{way}", WARN, ratio, meaning, change))
    return findings
