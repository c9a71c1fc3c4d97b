"""Check the net before the first step for saturated, dead and identical units, and for fading signals."""

import math

import torch

from dlfound.checks import FAIL, WARN, CheckResult, Finding, exceeding, sound
from dlfound.checks.context import CheckContext
from dlfound.training.layers import SAMPLE_ROWS, LayerProbe, LayerState
from dlfound.training.symptoms import DEAD, FADED, SATURATED

MANY = 4  # layers: of more, a message shows the first and the last
USUAL_SHARE = f"at most {max(SATURATED, DEAD):g}"
USUAL_RATIO = f"{FADED:g} to {1 / FADED:g}"


def check_initial_state(context: CheckContext) -> CheckResult:
    """Look at the fresh net through some training rows."""
    a = context.fresh()
    _, layers = LayerProbe(a.network, a.step, context.sample(a, SAMPLE_ROWS)).look()
    copies = {layer.name: count_copies(layers, i) for i, layer in enumerate(layers[:-1])}
    numbers = {
        layer.name: {
            "saturated": layer.saturated,
            "dead": layer.dead,
            "copies": copies.get(layer.name, 0),
            "activations": _spread(layer),
            "gradients": layer.backprop,
        }
        for layer in layers
    }
    findings = _copies(context, layers, copies)
    findings += _shares(context, [layer for layer in layers[:-1] if not copies[layer.name]])
    findings += _fading(context, layers)
    return CheckResult(findings or [_sound(layers[:-1])], numbers)


def count_copies(layers: list[LayerState], i: int) -> int:
    """Count the units of hidden layer i with the incoming and outgoing weights of an earlier unit."""
    outgoing = layers[i + 1].weights.T
    incoming = layers[i].weights.reshape(len(outgoing), -1)  # of all pre-activations of a unit
    distinct = torch.unique(torch.cat([incoming, outgoing], 1), dim=0)
    return len(outgoing) - len(distinct)


def _spread(layer: LayerState) -> float:
    return float(layer.activations.std(correction=0))


def _sound(hidden: list[LayerState]) -> Finding:
    if not hidden:
        return sound(None, "", "the net has no hidden layer")
    share = max(max(layer.dead, layer.saturated or 0.0) for layer in hidden)
    activations = _list([_spread(layer) for layer in hidden])
    gradients = _list([layer.backprop for layer in hidden])
    meaning = "largest share of dead units or saturated activations in a layer; no units are identical; "
    meaning += f"activations spread by {activations}, gradients by {gradients}"
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
    quantity = "share of saturated activations"
    effect = "almost no gradient passes through"
    saturated = [(layer.name, layer.saturated or 0.0) for layer in hidden]
    findings = exceeding("saturated", saturated, SATURATED, quantity, effect, context.weights_override())
    effect = "they are zero for every row and cannot learn"
    override = context.weights_override("activation=leaky_relu")
    dead = [(layer.name, layer.dead) for layer in hidden]
    return findings + exceeding("dead", dead, DEAD, "share of dead units", effect, override)


def _fading(context: CheckContext, layers: list[LayerState]) -> list[Finding]:
    """Find activations that fade or grow on their way up, and gradients on their way down."""
    first = layers[0]
    last = layers[-2] if len(layers) > 1 else first
    up = _spread(last) / _spread(first) if _spread(first) else math.nan
    down = first.backprop / last.backprop if last.backprop else math.nan
    findings = []
    for signal, ratio, end, start in (("signal", up, last, first), ("gradient", down, first, last)):
        if 0 < ratio < FADED or 1 / FADED < ratio < math.inf:
            verb = "fades" if ratio < 1 else "grows"
            meaning = f"{signal} in {end.name} over that in {start.name}: it {verb} from layer to layer"
            sign = f"{signal}_{verb}"
            findings.append(Finding(sign, WARN, ratio, USUAL_RATIO, meaning, context.weights_override()))
    return findings
