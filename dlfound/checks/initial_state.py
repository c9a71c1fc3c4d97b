"""Check the net before the first step for saturated, dead and identical units, and for fading signals."""

import math

import torch

from dlfound.checks.context import CheckContext
from dlfound.checks.result import FAIL, WARN, CheckResult, Finding, sound
from dlfound.training.layers import SAMPLE_ROWS, LayerProbe, LayerState
from dlfound.training.symptoms import DEAD, FADED, SATURATED

MANY = 4  # layers: of more, a message shows the first and the last
USUAL_SHARE = f"at most {max(SATURATED, DEAD):g}"
USUAL_RATIO = f"{FADED:g} to {1 / FADED:g}"


def check(context: CheckContext) -> CheckResult:
    """Look at the fresh net through some training rows."""
    a = context.fresh()
    _, layers = LayerProbe(a.network, a.step, context.sample(a, SAMPLE_ROWS)).look()
    copies = {layer.name: count_copies(layers, i) for i, layer in enumerate(layers[:-1])}
    numbers = {layer.name: _measurements(layer, copies.get(layer.name, 0)) for layer in layers}
    findings = _copies(context, layers, copies)
    findings += _shares(context, [layer for layer in layers[:-1] if not copies[layer.name]])
    findings += _spread(context, layers)
    return CheckResult("initial_state", findings or [_sound(layers, numbers)], numbers)


def count_copies(layers: list[LayerState], i: int) -> int:
    """Count the units of hidden layer i with the incoming and outgoing weights of an earlier unit."""
    incoming = layers[i].weights
    outgoing = layers[i + 1].weights.T
    if len(incoming) != len(outgoing):  # several pre-activations a unit
        incoming = incoming.unflatten(0, (len(outgoing), -1)).flatten(1)
    distinct = torch.unique(torch.cat([incoming, outgoing], 1), dim=0)
    return len(incoming) - len(distinct)


def _measurements(layer: LayerState, copies: int) -> dict:
    return {
        "saturated": layer.saturated,
        "dead": layer.dead,
        "copies": copies,
        "activations": float(layer.activations.std(correction=0)),
        "gradients": layer.backprop,
    }


def _sound(layers: list[LayerState], numbers: dict[str, dict]) -> Finding:
    hidden = layers[:-1]
    if not hidden:
        return sound(None, "", "the net has no hidden layer")
    share = max(max(layer.dead, layer.saturated or 0.0) for layer in hidden)
    spread = _list([numbers[layer.name]["activations"] for layer in hidden])
    gradients = _list([numbers[layer.name]["gradients"] for layer in hidden])
    meaning = "largest share of dead units or saturated activations in a layer; no units are identical; "
    meaning += f"activations spread by {spread}, gradients by {gradients}"
    return sound(share, USUAL_SHARE, meaning)


def _list(numbers: list[float]) -> str:
    texts = [f"{number:.2g}" for number in numbers]
    return ", ".join(texts if len(texts) <= MANY else [texts[0], "...", texts[-1]])


def _copies(context: CheckContext, layers: list[LayerState], copies: dict[str, int]) -> list[Finding]:
    names = [name for name, count in copies.items() if count]
    if not names:
        return []
    units = sum(len(layer.weights) for layer in layers[:-1])
    count = sum(copies.values())
    by_dropout = context.config["dropout"].get("hidden", 0) > 0
    fate = "only dropout can tell them apart" if by_dropout else "they will stay copies of each other"
    meaning = f"{count} of {units} units ({', '.join(names)}) have the same weights as another unit: {fate}"
    return [Finding("copies", FAIL, float(count), "0", meaning, "initializer=auto")]


def _shares(context: CheckContext, hidden: list[LayerState]) -> list[Finding]:
    """Find layers of saturated and dead units; layers of identical units are another finding."""
    findings = []
    initializer = context.initializer_override()
    saturated = {layer.name: layer.saturated or 0.0 for layer in hidden}
    names = [name for name, share in saturated.items() if share > SATURATED]
    if names:
        meaning = f"share of saturated activations in {', '.join(names)}: almost no gradient passes through"
        override = initializer or "batchnorm=batch"
        share = max(saturated.values())
        findings.append(Finding("saturated", WARN, share, f"at most {SATURATED:g}", meaning, override))
    dead = {layer.name: layer.dead for layer in hidden}
    names = [name for name, share in dead.items() if share > DEAD]
    if names:
        meaning = f"share of dead units in {', '.join(names)}: they are zero for every row and cannot learn"
        override = initializer or "activation=leaky_relu"
        findings.append(Finding("dead", WARN, max(dead.values()), f"at most {DEAD:g}", meaning, override))
    return findings


def _spread(context: CheckContext, layers: list[LayerState]) -> list[Finding]:
    """Find activations that fade or grow on their way up, and gradients on their way down."""
    first = layers[0]
    last = layers[-2] if len(layers) > 1 else first
    up = float(last.activations.std(correction=0) / first.activations.std(correction=0))
    down = first.backprop / last.backprop if last.backprop else math.nan
    findings = []
    for signal, ratio, end, start in (("signal", up, last, first), ("gradient", down, first, last)):
        if 0 < ratio < FADED or 1 / FADED < ratio < math.inf:
            verb = "fades" if ratio < 1 else "grows"
            meaning = f"{signal} in {end.name} over that in {start.name}: it {verb} from layer to layer"
            override = context.initializer_override() or "batchnorm=batch"
            findings.append(Finding(f"{signal}_{verb}", WARN, ratio, USUAL_RATIO, meaning, override))
    return findings
