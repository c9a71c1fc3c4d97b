"""One update, as three functions of vectors: `loss_grad`, `update`, `project`.

One vector holds all parameters of a net, another all buffers (moving averages); the net's own tensors are
views of them. The functions depend on their arguments alone, and noise is one of them. So a step can be
repeated, traced, checked by finite differences, or run for another vector of parameters.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

RULE_ELEMENTS = 1 << 15  # elements that a rule updates at a time: its temporaries stay in a core's cache


class Layout:
    """The position of each tensor of a net in a vector.

    Args:
        slots: (dictionary of a module, name in it) for each tensor.
        matrices: the indices of the tensors that are a layer's weights, (units, inputs).
    """

    def __init__(self, slots: Sequence[tuple[dict[str, Tensor], str]], matrices: Sequence[int] = ()):
        self.slots = list(slots)
        self.matrices = list(matrices)
        self.shapes = [owner[name].shape for owner, name in self.slots]
        self.sizes = [shape.numel() for shape in self.shapes]

    def vector(self) -> Tensor:
        """Make a vector of the net's tensors, which become views of it."""
        tensors = [owner[name].detach() for owner, name in self.slots]
        vector = torch.cat([t.flatten() for t in tensors]) if tensors else torch.empty(0)
        for (owner, name), view in zip(self.slots, self.views(vector), strict=True):
            owner[name].data = view
        return vector

    def views(self, vector: Tensor) -> list[Tensor]:
        """Views of the vector, in the shapes of the tensors."""
        return [piece.view(shape) for piece, shape in zip(vector.split(self.sizes), self.shapes, strict=True)]

    def swap(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Put other tensors into the net, and return its former ones."""
        old = [owner[name] for owner, name in self.slots]
        for (owner, name), tensor in zip(self.slots, tensors, strict=True):
            owner[name] = tensor
        return old


def parameter_layout(model: nn.Module) -> Layout:
    """The layout of a net's parameters, in the order of `model.named_parameters()`."""
    parameters = [(m, n) for m in model.modules() for n, p in m._parameters.items() if p is not None]
    matrices = [i for i, (m, n) in enumerate(parameters) if isinstance(m, nn.Linear) and n == "weight"]
    return Layout([(m._parameters, n) for m, n in parameters], matrices)


def buffer_layout(model: nn.Module) -> Layout:
    """The layout of a net's buffers, which are moving averages."""
    buffers = [(m._buffers, n, b) for m in model.modules() for n, b in m._buffers.items()]
    return Layout([(owner, n) for owner, n, b in buffers if b is not None and b.is_floating_point()])


class Gradient(NamedTuple):
    """The result of `loss_grad`.

    Attributes:
        loss: the mean loss over the rows, without the penalty (scalar).
        objective: the loss plus the penalty (scalar).
        grads: the gradient of the objective, as one vector.
        outputs: the outputs of the net, (rows, outputs).
        buffers: the moving averages after this batch, as one vector.
    """

    loss: Tensor
    objective: Tensor
    grads: Tensor
    outputs: Tensor
    buffers: Tensor


class Stepped(NamedTuple):
    """The result of one update, for the parameters before it.

    Attributes:
        loss: the mean loss, without the penalty (scalar); not finite if the gradient is not finite.
        outputs: the outputs of the net, (rows, outputs).
        grad_norm: the 2-norm of the objective's gradient by all parameters (scalar).
    """

    loss: Tensor
    outputs: Tensor
    grad_norm: Tensor


class Step:
    """The update of one net, and the vectors that it works on.

    Args: model: called as model(x, noise). loss: (outputs, targets) -> mean loss over rows. penalty: weight
        matrices -> scalar. constraint: weight matrix -> allowed matrix; None if all matrices are allowed.
        optimizer: a rule of `optim.optimizers`; its `lr` becomes a tensor, so that it can change between
        steps.

    Attributes: base_lr: the configured learning rate. lr: the learning rate of the next step. params: the
        parameters of the net, as one vector. buffers: the moving averages of the net, as one vector. slots:
        the vectors that the optimizer keeps. t: the number of updates so far (scalar). skip: 1 from the first
        step on whose loss or gradient is not finite, and then no step updates anything.
    """

    def __init__(
        self, model: nn.Module, loss: Callable, penalty: Callable, constraint: Callable | None, optimizer
    ):
        self.model = model
        self.loss = loss
        self.penalty = penalty
        self.constraint = constraint
        self.optimizer = optimizer
        self.parameter_layout = parameter_layout(model)
        self.buffer_layout = buffer_layout(model)
        self.weights = [i for i, shape in enumerate(self.parameter_layout.shapes) if len(shape) >= 2]
        self.params = self.parameter_layout.vector()
        self.buffers = self.buffer_layout.vector()
        self.base_lr = optimizer.lr
        self.lr = optimizer.lr
        optimizer.lr = torch.tensor(optimizer.lr, dtype=self.params.dtype, device=self.params.device)
        zeros = tuple(torch.zeros_like(self.params) for _ in optimizer.slots)
        self.slots = optimizer.start(self.params) if hasattr(optimizer, "start") else zeros
        self.t = self.params.new_zeros(())
        self.skip = torch.zeros((), device=self.params.device)  # float32, as torch's kernels require

    def loss_grad(
        self, params: Tensor, buffers: Tensor, x: Tensor, y: Tensor, noise: Sequence[Tensor]
    ) -> Gradient:
        """The gradient of the objective at `params`.

        Args:
            params: the parameters, as one vector.
            buffers: the moving averages, as one vector.
            x: inputs (rows, columns).
            y: targets as the loss takes them.
            noise: factors (rows, width) for each dropout.
        """
        leaves = [view.requires_grad_() for view in self.parameter_layout.views(params.detach())]
        buffers = buffers.clone()
        own_parameters = self.parameter_layout.swap(leaves)
        own_buffers = self.buffer_layout.swap(self.buffer_layout.views(buffers))
        try:
            outputs = self.model(x, noise)
        finally:
            self.parameter_layout.swap(own_parameters)
            self.buffer_layout.swap(own_buffers)
        loss = self.loss(outputs, y)
        objective = loss + self.penalty([leaves[i] for i in self.weights])
        grads = torch.autograd.grad(objective, leaves, materialize_grads=True)
        flat = torch.cat([g.flatten() for g in grads])
        return Gradient(loss.detach(), objective.detach(), flat, outputs.detach(), buffers)

    def update(self, params: Tensor, grads: Tensor, slots: Sequence[Tensor], t: Tensor, skip: Tensor) -> None:
        """Apply the optimizer's rule of step t to params and slots, in place; do nothing if `skip` is 1."""
        if hasattr(self.optimizer, "fused"):
            self.optimizer.fused(params, grads, slots, t, skip)
        elif getattr(self.optimizer, "whole", False):
            _put((params, *slots), self.optimizer.rule(params, grads, slots, t, self.parameter_layout), skip)
        else:
            for w, g, *s in zip(*(v.split(RULE_ELEMENTS) for v in (params, grads, *slots)), strict=True):
                _put((w, *s), self.optimizer.rule(w, g, s, t), skip)

    def search(self, params: Tensor, at: Gradient, x: Tensor, y: Tensor, noise: Sequence[Tensor]) -> None:
        """Update with an optimizer that evaluates the objective itself, for the same rows and noise.

        Args:
            at: the gradient at `params`.
        """

        def evaluate(candidate: Tensor) -> Tensor:
            return self.loss_grad(candidate, self.buffers, x, y, noise).objective

        new = self.optimizer.search(params, at.grads, at.objective, self.slots, self.t, evaluate)
        _put((params, *self.slots), new, self.skip)

    def project(self, params: Tensor) -> None:
        """Replace each weight matrix by the nearest allowed one, in place."""
        if self.constraint is not None:
            views = self.parameter_layout.views(params)
            for i in self.parameter_layout.matrices:
                torch.where(self.skip > 0, views[i], self.constraint(views[i]), out=views[i])

    def __call__(self, x: Tensor, y: Tensor, noise: Sequence[Tensor]) -> Stepped:
        """Make one update of the net's own vectors."""
        gradient = self.loss_grad(self.params, self.buffers, x, y, noise)
        # The sum makes the loss not finite if any gradient is not. (The squares of a norm overflow earlier,
        # and the largest magnitude is slow.)
        loss = gradient.loss + 0 * gradient.grads.sum()
        # The flag stays on the device, so that no step waits for it. The loop reads it at the end of an
        # epoch.
        torch.maximum(self.skip, loss.isfinite().logical_not(), out=self.skip)
        norm = torch.linalg.vector_norm(gradient.grads)
        self.t += 1 - self.skip
        if hasattr(self.optimizer, "search"):
            self.search(self.params, gradient, x, y, noise)
        else:
            self.update(self.params, gradient.grads, self.slots, self.t, self.skip)
        self.project(self.params)
        if len(gradient.buffers):
            torch.where(self.skip > 0, self.buffers, gradient.buffers, out=self.buffers)
        return Stepped(loss, gradient.outputs, norm)

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next steps."""
        if lr != self.lr:
            self.lr = lr
            self.optimizer.lr.fill_(lr)


def _put(old: Sequence[Tensor], new: tuple[Tensor, Sequence[Tensor]], skip: Tensor) -> None:
    """Overwrite old parameters and slots by new ones unless `skip` is 1, by a select on the device."""
    for vector, updated in zip(old, (new[0], *new[1]), strict=True):
        torch.where(skip > 0, vector, updated, out=vector)
