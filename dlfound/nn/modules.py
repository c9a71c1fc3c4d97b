"""The modules that torch.nn lacks, and the factory's products: layers, the net, the net with its preprocessing."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlfound.nn.dropout import Noise


class Maxout(nn.Module):
    """The largest of each unit's pieces, (rows, units * pieces) -> (rows, units). Source: Goodfellow et al. 2013."""

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = pieces

    def forward(self, a: Tensor) -> Tensor:
        return a.unflatten(1, (-1, self.pieces)).max(2).values

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class BatchNorm(nn.Module):
    """Batch normalisation of pre-activations, (rows, width) -> (rows, width).

    In training by the statistics of the batch, with gradients through them; else by `mean` and `var`, which
    training moves by `momentum` towards each batch's, and `exact_statistics` replaces at the end.
    Source: Ioffe & Szegedy 2015.
    """

    def __init__(self, width: int, momentum: float, eps: float, exact: bool):
        super().__init__()
        self.momentum, self.eps, self.exact = momentum, eps, exact
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
    """A place where noise enters, (rows, width): in training the product with factors drawn outside."""

    def __init__(self, width: int, rate: float, draw: Callable):
        super().__init__()
        self.width, self.rate, self.draw = width, rate, draw

    def forward(self, h: Tensor, noise: Iterator[Tensor]) -> Tensor:
        return h * next(noise) if self.training else h

    def extra_repr(self) -> str:
        return f"{self.width}, rate={self.rate}"


class Layer(nn.Module):
    """One hidden layer: a = W h + b, then normalisation, then the activation, then dropout."""

    def __init__(
        self, linear: nn.Linear, norm: nn.Module | None, activation: nn.Module, dropout: Dropout | None
    ):
        super().__init__()
        self.linear, self.norm, self.activation, self.dropout = linear, norm, activation, dropout

    def forward(self, h: Tensor, noise: Iterator[Tensor]) -> Tensor:
        a = self.linear(h)  # (rows, inputs) -> (rows, units)
        if self.norm is not None:
            a = self.norm(a)
        h = self.activation(a)
        return h if self.dropout is None else self.dropout(h, noise)


class Embeddings(nn.Module):
    """A learned vector for each place of a category: (rows, numbers + categories) -> (rows, inputs).

    The last columns hold places, from 0 on; the others pass. Place 0, the unknown, begins at zero, amid all;
    the others with a length of about 1, as that of a one-hot code.
    Source: Guo & Berkhahn 2016, "Entity embeddings of categorical variables".
    """

    def __init__(self, places: Sequence[int], width: int, generator: torch.Generator):
        super().__init__()
        tables = [torch.empty(count, width).normal_(0, width**-0.5, generator=generator) for count in places]
        self.tables = nn.ParameterList(nn.Parameter(table) for table in tables)
        with torch.no_grad():
            for table in self.tables:
                table[0] = 0

    def forward(self, x: Tensor) -> Tensor:
        passed = x.shape[1] - len(self.tables)
        places = x[:, passed:].long()
        vectors = [F.embedding(places[:, k], table) for k, table in enumerate(self.tables)]
        return torch.cat([x[:, :passed], *vectors], 1)

    def extra_repr(self) -> str:
        return ", ".join(f"{table.shape[0]} x {table.shape[1]}" for table in self.tables)


class MLP(nn.Module):
    """A multi-layer perceptron, (rows, inputs) -> (rows, outputs); the last layer is linear.

    Softmax or sigmoid belongs to the loss, and is applied at prediction.
    """

    def __init__(
        self,
        dropout: Dropout | None,
        hidden: Sequence[Layer],
        output: nn.Linear,
        embeddings: Embeddings | None = None,
    ):
        super().__init__()
        self.embeddings, self.dropout = embeddings, dropout
        self.hidden, self.output = nn.ModuleList(hidden), output

    def forward(self, x: Tensor, noise: Iterable[Tensor] = ()) -> Tensor:
        """Outputs before softmax or sigmoid. `noise`: the factors of each dropout in turn, needed in training."""
        noise = iter(noise)
        x = x if self.embeddings is None else self.embeddings(x)
        h = x if self.dropout is None else self.dropout(x, noise)
        for layer in self.hidden:
            h = layer(h, noise)
        return self.output(h)

    @property
    def places(self) -> int:
        """How many of the columns that come in, the last ones, are places of embedded categories."""
        return 0 if self.embeddings is None else len(self.embeddings.tables)

    @property
    def inputs(self) -> int:
        """Columns that the first layer takes, embedded categories being vectors."""
        return next(iter(self.layers().values())).in_features

    def layers(self) -> dict[str, nn.Linear]:
        """The weights of each layer by its name for people: layer1, layer2, ..., output."""
        return {f"layer{i}": layer.linear for i, layer in enumerate(self.hidden, 1)} | {"output": self.output}

    def noise(self, rows: int, generator: torch.Generator) -> list[Tensor]:
        """Factors for one training step: (rows, width) for each dropout, in the order of the forward pass."""
        return [d.draw((rows, d.width), d.rate, generator) for d in self.modules() if isinstance(d, Dropout)]


def linear(
    inputs: int, units: int, bias: bool, initialize: Callable, generator: torch.Generator
) -> nn.Linear:
    """W by the initializer, b = 0. (Left to itself, torch.nn.Linear draws from the global generator.)"""
    layer = nn.Linear(
        inputs, units, bias=bias, device="meta"
    )  # no numbers yet; torch's skip_init imports for a second
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
    initialize: Callable[[Tensor, torch.Generator], None],
    norm: Callable[[int], nn.Module | None],
    noise: Noise | None,
    generator: torch.Generator,
    embedded: Sequence[int] = (),
    embedding: int = 0,
) -> MLP:
    """The net, layer by layer from the input; `generator` draws its weights in that order.

    Args:
        inputs: columns that come in.
        embedded: the last of them are categories with so many places each; embedding: the width of their vectors.
    """
    embeddings = Embeddings(embedded, embedding, generator) if embedded else None
    inputs += len(embedded) * (embedding - 1)

    def dropout(width: int, rate: float) -> Dropout | None:
        return Dropout(width, rate, noise.draw) if rate > 0 else None

    layers = []
    for below, width in zip([inputs, *hidden], hidden, strict=False):
        g = activation()
        units = width * getattr(g, "pieces", 1)  # pre-activations: maxout takes several a unit
        normalised = norm(units)  # its shift takes the place of the layer's own bias
        weights = linear(below, units, normalised is None, initialize, generator)
        layers.append(Layer(weights, normalised, g, noise and dropout(width, noise.hidden)))
    output = linear([inputs, *hidden][-1], outputs, True, initialize, generator)
    return MLP(noise and dropout(inputs, noise.input), layers, output, embeddings)


@torch.no_grad()
def exact_statistics(model: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> None:
    """Give each batch normalisation the mean and variance of all rows, in place.

    One pass for each normalised layer, from the bottom up, in evaluation mode (dropout off, the layers below
    already exact); sums in float64 over all rows, so that batches of any size count rightly.

    Args:
        model: modules in the order of the forward pass.
        batches: returns the training inputs anew, in batches.
    """
    model.eval()
    for norm in [m for m in model.modules() if isinstance(m, BatchNorm)]:
        rows, total, squares = 0, 0.0, 0.0

        def add(module: nn.Module, args: tuple[Tensor]) -> None:
            nonlocal rows, total, squares
            a = args[0].double()
            rows, total, squares = rows + len(a), total + a.sum(0), squares + a.square().sum(0)

        hook = norm.register_forward_pre_hook(add)
        for x in batches():
            model(x)
        hook.remove()
        norm.mean.copy_(total / rows)
        norm.var.copy_((squares / rows - (total / rows).square()).clamp(min=0))
