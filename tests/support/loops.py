"""Nets, rows and trainings for the tests of the loop."""

import torch

from dlfound.nn import activation, batchnorm, dropout, initializer
from dlfound.nn.modules import Network, build_mlp
from dlfound.nn.preprocessing import empty
from dlfound.objective import loss, regularization
from dlfound.optim.optimizers import TABLE
from dlfound.optim.schedules import DECAYS
from dlfound.streams import stream
from dlfound.training.device import DeviceData
from dlfound.training.loop import fit
from dlfound.training.step import Step

INPUTS = 4
CE = loss.TABLE["cross_entropy"]((), label_smoothing=0.0, class_weight="none")
MSE = loss.TABLE["mse"]()
ADAM = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8}


class RecordedStep(Step):
    """A step that keeps its inputs and the state after it."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.seen = []
        self.noise = []
        self.values = []
        self.after = []

    def __call__(self, x, y, noise):
        result = super().__call__(x, y, noise)
        self.seen.append(x[:, 0].round().int().tolist())
        self.noise.append([n.clone() for n in noise])
        self.values.append(result[0].item())
        self.after.append([v.numpy().tobytes() for v in (self.params, self.buffers, self.t, *self.slots)])
        return result


def part(rows: int, of=CE, seed: int = 1) -> DeviceData:
    """Rows with their number in the first column."""
    x = torch.randn(rows, INPUTS, generator=stream(seed, "x"))
    x[:, 0] = torch.arange(rows)
    if of is CE:
        y = torch.randint(0, 3, (rows,), generator=stream(seed, "y"))
        return DeviceData(x, y, y)
    y = torch.randn(rows, 2, generator=stream(seed, "y"))
    return DeviceData(x, y, y)


def normalise(width):
    return batchnorm.batch(width, momentum=0.1, eps=1e-5, statistics="exact")


def make(
    of=CE, *, norm=False, drop=False, hidden=(6,), seed=0, optim="adam", **settings
) -> tuple[Network, RecordedStep]:
    body = build_mlp(
        INPUTS, 3 if of is CE else 2, list(hidden), activation=activation.TABLE["tanh"],
        initialize=lambda w, g: initializer.glorot_uniform(w, g, gain=1.0),
        norm=normalise if norm else batchnorm.none,
        noise=dropout.standard(input=0.2, hidden=0.5) if drop else None,
        generator=stream(seed, "initialisation"),
    )  # fmt: skip
    network = Network(empty(INPUTS, image=True), body, None if of is CE else empty(2, image=True))
    option = TABLE[optim](**(ADAM | settings if optim == "adam" else settings))
    return network, RecordedStep(body, of, regularization.no_penalty, None, option)


def train(
    network, step, of, rows, *, epochs=2, batch_size=4, seed=0, decay=None, between=lambda epoch: None
) -> list:
    done = []
    decay = decay or DECAYS["none"](epochs)
    held_out = part(5, of, seed=9)
    for epoch in fit(
        network, step, of, decay, rows, held_out, epochs=epochs, batch_size=batch_size, seed=seed
    ):
        done.append(epoch)
        between(epoch)
    return done
