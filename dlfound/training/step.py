"""One update, as three functions of vectors: `loss_grad`, `update`, `project`.

All parameters of a net lie in one vector, all buffers (moving averages) in another, and the net's own tensors are
views of them. The functions depend on their arguments alone; noise is an argument. So a step can be repeated,
traced, checked by finite differences, or run for another vector of parameters.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

BLOCK = 1 << 15  # elements of a rule's block: its temporaries stay in a core's cache


class Layout:
    """Where each tensor of a net lies in a vector.

    Args:
        slots: (dictionary of a module, name in it) for each tensor.

    Attributes:
        matrices: numbers of the tensors that are a layer's weights, (units, inputs).
    """

    def __init__(self, slots: Sequence[tuple[dict[str, Tensor], str]], matrices: Sequence[int] = ()):
        self.slots, self.matrices = list(slots), list(matrices)
        self.shapes = [owner[name].shape for owner, name in self.slots]
        self.sizes = [shape.numel() for shape in self.shapes]

    def vector(self) -> Tensor:
        """The net's tensors, one after the other; from now on they are views of it."""
        tensors = [owner[name].detach() for owner, name in self.slots]
        vector = torch.cat([t.flatten() for t in tensors]) if tensors else torch.empty(0)
        for (owner, name), view in zip(self.slots, self.views(vector), strict=True):
            owner[name].data = view
        return vector

    def views(self, vector: Tensor) -> list[Tensor]:
        """The vector's pieces in the tensors' shapes; writing to one writes to the vector."""
        return [piece.view(shape) for piece, shape in zip(vector.split(self.sizes), self.shapes, strict=True)]

    def swap(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Put other tensors into the net; returns those that were there."""
        old = [owner[name] for owner, name in self.slots]
        for (owner, name), tensor in zip(self.slots, tensors, strict=True):
            owner[name] = tensor
        return old


def parameter_layout(model: nn.Module) -> Layout:
    """The parameters of a net, in the order of `model.named_parameters()`."""
    found = [(m, n) for m in model.modules() for n, p in m._parameters.items() if p is not None]
    matrices = [i for i, (m, n) in enumerate(found) if isinstance(m, nn.Linear) and n == "weight"]
    return Layout([(m._parameters, n) for m, n in found], matrices)


def buffer_layout(model: nn.Module) -> Layout:
    """The buffers of a net: moving averages."""
    return Layout(
        [
            (m._buffers, n)
            for m in model.modules()
            for n, b in m._buffers.items()
            if b is not None and b.is_floating_point()
        ]
    )


class Gradient(NamedTuple):
    """What `loss_grad` returns.

    Attributes:
        loss: mean loss over the rows, without the penalty (scalar).
        objective: the loss and the penalty (scalar).
        grads: gradient of the objective, loss and penalty, as one vector.
        outputs: what the net put out, (rows, outputs).
        buffers: the moving averages after this batch.
    """

    loss: Tensor
    objective: Tensor
    grads: Tensor
    outputs: Tensor
    buffers: Tensor


class Stepped(NamedTuple):
    """What one update tells: the mean loss before it, what the net put out, and the gradient's length.

    Attributes:
        loss: without the penalty (scalar); not finite where the gradient is not.
        outputs: (rows, outputs).
        grad_norm: the 2-norm of the objective's gradient over all parameters (scalar).
    """

    loss: Tensor
    outputs: Tensor
    grad_norm: Tensor


class Step:
    """The update of one net, and the vectors that it works on.

    Args:
        model: called as model(x, noise).
        loss: (outputs, targets) -> mean loss over rows.
        penalty: weight matrices -> scalar.
        constraint: weight matrix -> allowed matrix; None where all are.
        optimizer: a rule of `optim.optimizers`; its `lr` becomes a tensor, so that it can change between steps.

    Attributes:
        base_lr, lr: the learning rate as configured, and that of the next step.
        params, buffers: the net's parameters and moving averages.
        slots: the vectors that the optimizer keeps.
        t: updates made so far (scalar).
        skip: 1 from the first step whose loss or gradient was not finite; nothing is updated any more then.
    """

    def __init__(
        self, model: nn.Module, loss: Callable, penalty: Callable, constraint: Callable | None, optimizer
    ):
        self.model, self.loss, self.penalty, self.constraint = model, loss, penalty, constraint
        self.parameter_layout, self.buffer_layout = parameter_layout(model), buffer_layout(model)
        self.weights = [i for i, shape in enumerate(self.parameter_layout.shapes) if len(shape) >= 2]
        self.params = self.parameter_layout.vector()
        self.buffers = self.buffer_layout.vector()
        self.optimizer, self.base_lr, self.lr = optimizer, optimizer.lr, optimizer.lr
        optimizer.lr = torch.tensor(optimizer.lr, dtype=self.params.dtype, device=self.params.device)
        zeros = tuple(torch.zeros_like(self.params) for _ in optimizer.slots)
        self.slots = optimizer.start(self.params) if hasattr(optimizer, "start") else zeros
        self.t = self.params.new_zeros(())
        self.skip = torch.zeros((), device=self.params.device)  # float32, as torch's kernels want it

    def loss_grad(
        self, params: Tensor, buffers: Tensor, x: Tensor, y: Tensor, noise: Sequence[Tensor]
    ) -> Gradient:
        """The objective's gradient at `params`, for rows x with targets y under the given noise."""
        leaves = [view.requires_grad_() for view in self.parameter_layout.views(params.detach())]
        buffers = buffers.clone()
        own = self.parameter_layout.swap(leaves), self.buffer_layout.swap(self.buffer_layout.views(buffers))
        try:
            outputs = self.model(x, noise)
        finally:
            self.parameter_layout.swap(own[0])
            self.buffer_layout.swap(own[1])
        loss = self.loss(outputs, y)
        objective = loss + self.penalty([leaves[i] for i in self.weights])
        grads = torch.autograd.grad(objective, leaves, materialize_grads=True)
        flat = torch.cat([g.flatten() for g in grads])
        return Gradient(loss.detach(), objective.detach(), flat, outputs.detach(), buffers)

    def update(self, params: Tensor, grads: Tensor, slots: Sequence[Tensor], t: Tensor, skip: Tensor) -> None:
        """The optimizer's rule at step t, written over params and slots; nothing where `skip` is 1."""
        if hasattr(self.optimizer, "fused"):
            self.optimizer.fused(params, grads, slots, t, skip)
            return
        if getattr(self.optimizer, "whole", False):
            _put((params, *slots), self.optimizer.rule(params, grads, slots, t, self.parameter_layout), skip)
            return
        for w, g, *s in zip(*(v.split(BLOCK) for v in (params, grads, *slots)), strict=True):
            _put((w, *s), self.optimizer.rule(w, g, s, t), skip)

    def search(self, params: Tensor, found: Gradient, x: Tensor, y: Tensor, noise: Sequence[Tensor]) -> None:
        """The update of an optimizer that evaluates the objective where it likes, under the same rows and noise."""

        def evaluate(candidate: Tensor) -> Tensor:
            return self.loss_grad(candidate, self.buffers, x, y, noise).objective

        new = self.optimizer.search(params, found.grads, found.objective, self.slots, self.t, evaluate)
        _put((params, *self.slots), new, self.skip)

    def project(self, params: Tensor) -> None:
        """Each weight matrix to the nearest allowed one, in place."""
        if self.constraint is not None:
            views = self.parameter_layout.views(params)
            for i in self.parameter_layout.matrices:
                torch.where(self.skip > 0, views[i], self.constraint(views[i]), out=views[i])

    def __call__(self, x: Tensor, y: Tensor, noise: Sequence[Tensor]) -> Stepped:
        """One update of the net's own vectors."""
        found = self.loss_grad(self.params, self.buffers, x, y, noise)
        # Not finite where a gradient is not. A sum: the norm's squares overflow early, the largest magnitude is slow.
        loss = found.loss + 0 * found.grads.sum()
        # A flag on the device: no step waits for it. The loop reads it when an epoch is over.
        torch.maximum(self.skip, loss.isfinite().logical_not(), out=self.skip)
        norm = torch.linalg.vector_norm(found.grads)
        self.t += 1 - self.skip
        if hasattr(self.optimizer, "search"):
            self.search(self.params, found, x, y, noise)
        else:
            self.update(self.params, found.grads, self.slots, self.t, self.skip)
        self.project(self.params)
        if len(found.buffers):
            torch.where(self.skip > 0, self.buffers, found.buffers, out=self.buffers)
        return Stepped(loss, found.outputs, norm)

    def set_lr(self, lr: float) -> None:
        """The learning rate of the next steps."""
        if lr != self.lr:
            self.lr = lr
            self.optimizer.lr.fill_(lr)


def _put(old: Sequence[Tensor], new: tuple[Tensor, Sequence[Tensor]], skip: Tensor) -> None:
    """Write new parameters and slots over the old ones, by a select on the device: nothing where skip is 1."""
    for kept, updated in zip(old, (new[0], *new[1]), strict=True):
        torch.where(skip > 0, kept, updated, out=kept)
