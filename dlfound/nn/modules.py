"""The modules that torch.nn lacks, the factory that builds a net from them, and exact batch statistics."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from dlfound.nn.dropout import Noise
from dlfound.nn.preprocessing import Standardise


class Maxout(nn.Module):
    """The largest piece of each unit, (rows, units * pieces) -> (rows, units).

    Source: Goodfellow et al. 2013.
    """

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = pieces

    def forward(self, a: Tensor) -> Tensor:
        return a.unflatten(1, (-1, self.pieces)).max(2).values

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class BatchNorm(nn.Module):
    """Batch normalisation of pre-activations, (rows, width) -> (rows, width).

    In training it uses the statistics of the batch, and gradients flow through them. Otherwise it uses `mean`
    and `var`: training moves them by `momentum` towards the statistics of each batch, and `exact_statistics`
    replaces them at the end.

    Source: Ioffe & Szegedy 2015.
    """

    def __init__(self, width: int, momentum: float, eps: float, exact: bool):
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.exact = exact
        self.gain = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def forward(self, a: Tensor) -> Tensor:
        return F.batch_norm(
            a, self.mean, self.var, self.gain, self.shift, self.training, self.momentum, self.eps
        )

    def extra_repr(self) -> str:
        return f"{self.gain.numel()}, momentum={self.momentum}, eps={self.eps}"


class Dropout(nn.Module):
    """Multiplies (rows, width) by factors that are drawn outside, in training only."""

    def __init__(self, width: int, rate: float, draw: Callable):
        super().__init__()
        self.width = width
        self.rate = rate
        self.draw = draw

    def forward(self, h: Tensor, noise: Iterator[Tensor]) -> Tensor:
        return h * next(noise) if self.training else h

    def extra_repr(self) -> str:
        return f"{self.width}, rate={self.rate}"


class Layer(nn.Module):
    """One hidden layer, (rows, inputs) -> (rows, units): a = W h + b, normalisation, activation, dropout."""

    def __init__(
        self, linear: nn.Linear, norm: nn.Module | None, activation: nn.Module, dropout: Dropout | None
    ):
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.activation = activation
        self.dropout = dropout

    def forward(self, h: Tensor, noise: Iterator[Tensor]) -> Tensor:
        a = self.linear(h)
        if self.norm is not None:
            a = self.norm(a)
        h = self.activation(a)
        return h if self.dropout is None else self.dropout(h, noise)


class Embeddings(nn.Module):
    """A learned vector for each category of a column, (rows, numbers + categories) -> (rows, inputs).

    The last columns hold the numbers of categories, from 0 on; the other columns pass unchanged. Category 0,
    which stands for unknown, starts at zero, in the middle of the others. Those start with a length of about
    1, the length of a one-hot code.

    Source: Guo & Berkhahn 2016, "Entity embeddings of categorical variables".
    https://arxiv.org/abs/1604.06737
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], generator: Generator):
        super().__init__()
        tables = [torch.empty(s).normal_(0, s[1] ** -0.5, generator=generator) for s in shapes]
        for table in tables:
            table[0] = 0
        self.tables = nn.ParameterList(tables)

    def forward(self, x: Tensor) -> Tensor:
        numbers = x.shape[1] - len(self.tables)
        places = x[:, numbers:].long()
        vectors = [F.embedding(places[:, k], table) for k, table in enumerate(self.tables)]
        return torch.cat([x[:, :numbers], *vectors], 1)

    def extra_repr(self) -> str:
        return ", ".join(f"{table.shape[0]} x {table.shape[1]}" for table in self.tables)


class MLP(nn.Module):
    """A multi-layer perceptron, (rows, inputs) -> (rows, outputs); the last layer is linear.

    Softmax or sigmoid belongs to the loss, and is applied at prediction.
    """

    def __init__(
        self, dropout: Dropout | None, hidden: list[Layer], output: nn.Linear, embeddings: Embeddings | None
    ):
        super().__init__()
        self.embeddings = embeddings
        self.dropout = dropout
        self.hidden = nn.ModuleList(hidden)
        self.output = output

    def forward(self, x: Tensor, noise: Iterable[Tensor] = ()) -> Tensor:
        """Outputs before softmax or sigmoid. `noise`: the factors of each dropout, required in training."""
        noise = iter(noise)
        x = x if self.embeddings is None else self.embeddings(x)
        h = x if self.dropout is None else self.dropout(x, noise)
        for layer in self.hidden:
            h = layer(h, noise)
        return self.output(h)

    @property
    def embedded_columns(self) -> int:
        """The number of input columns (the last ones) that hold embedded categories."""
        return 0 if self.embeddings is None else len(self.embeddings.tables)

    @property
    def inputs(self) -> int:
        """The number of inputs of the first layer, after the embeddings."""
        return next(iter(self.layers().values())).in_features

    def layers(self) -> dict[str, nn.Linear]:
        """The linear map of each layer by its displayed name: layer1, layer2, ..., output."""
        return {f"layer{i}": layer.linear for i, layer in enumerate(self.hidden, 1)} | {"output": self.output}

    def noise(self, rows: int, generator: Generator) -> list[Tensor]:
        """The factors of one training step: (rows, width) for each dropout, in the order of `forward`."""
        return [d.draw((rows, d.width), d.rate, generator) for d in self.modules() if isinstance(d, Dropout)]


class Network(nn.Module):
    """A net with its preprocessing: raw rows (rows, columns) -> (rows, outputs).

    Outputs are logits of classes, or standardised numbers that `target.inverse` converts to their own unit.

    Attributes:
        preprocessing: normalises the inputs.
        body: the net itself.
        target: normalises the targets; None for classes.
    """

    def __init__(self, preprocessing: nn.Module, body: nn.Module, target: Standardise | None):
        super().__init__()
        self.preprocessing = preprocessing
        self.body = body
        self.target = target

    def ready(self, x: Tensor) -> Tensor:
        """Normalise the inputs of a part on the device: pixels are raw bytes there, all else is ready."""
        return self.preprocessing(x) if x.dtype == torch.uint8 else x

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.preprocessing(x))


def linear(inputs: int, units: int, bias: bool, initialize: Callable, generator: Generator) -> nn.Linear:
    """A linear map with W by the initializer and b = 0.

    torch.nn.Linear by itself would draw from the global generator, so it is made without storage first
    (torch's own skip_init imports for a second).
    """
    layer = nn.Linear(inputs, units, bias=bias, device="meta")
    layer.weight = nn.Parameter(torch.empty(units, inputs))
    layer.bias = nn.Parameter(torch.zeros(units)) if bias else None
    with torch.no_grad():
        initialize(layer.weight, generator)
    return layer


def build_mlp(
    inputs: int,
    outputs: int,
    hidden: Sequence[int],
    *,
    activation: Callable[[], nn.Module],
    initialize: Callable[[Tensor, Generator], None],
    norm: Callable[[int], nn.Module | None],
    noise: Noise | None,
    generator: Generator,
    embedded: Sequence[tuple[int, int]] = (),
) -> MLP:
    """Build the net layer by layer from the input; `generator` draws the weights in that order.

    Args:
        inputs: the number of input columns.
        outputs: the number of outputs.
        hidden: the widths of the hidden layers.
        embedded: for each of the last columns, which are embedded: (categories, width of the vectors).
    """
    embeddings = Embeddings(embedded, generator) if embedded else None
    inputs += sum(width - 1 for _, width in embedded)

    def dropout(width: int, rate: float) -> Dropout | None:
        return Dropout(width, rate, noise.draw) if rate > 0 else None

    layers = []
    for below, width in zip([inputs, *hidden], hidden, strict=False):
        g = activation()
        units = width * getattr(g, "pieces", 1)  # pre-activations: maxout takes several per unit
        normalisation = norm(units)  # its shift replaces the bias
        weights = linear(below, units, normalisation is None, initialize, generator)
        layers.append(Layer(weights, normalisation, g, noise and dropout(width, noise.hidden)))
    output = linear([inputs, *hidden][-1], outputs, True, initialize, generator)
    return MLP(noise and dropout(inputs, noise.input), layers, output, embeddings)


@torch.no_grad()
def exact_statistics(model: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> None:
    """Give each batch normalisation the mean and variance of all rows, in place.

    It makes one pass for each normalised layer, from the bottom up, in evaluation mode: dropout is off, and
    the layers below are exact already. The float64 sums over all rows make batches of any size count
    correctly.

    Args:
        model: modules in the order of the forward pass.
        batches: a function that returns the training inputs in batches, again at each call.
    """
    model.eval()
    for norm in [m for m in model.modules() if isinstance(m, BatchNorm)]:
        sums: list[tuple[int, Tensor, Tensor]] = []
        hook = norm.register_forward_pre_hook(partial(_add_sums, sums))
        for x in batches():
            model(x)
        hook.remove()
        rows, total, squares = (sum(column) for column in zip(*sums, strict=True))
        mean = total / rows
        norm.mean.copy_(mean)
        norm.var.copy_((squares / rows - mean.square()).clamp(min=0))


def _add_sums(sums: list[tuple], module: nn.Module, args: tuple[Tensor]) -> None:
    """Add the rows of a module's input, and the sums of it and of its squares over them."""
    a = args[0].double()
    sums.append((len(a), a.sum(0), a.square().sum(0)))
