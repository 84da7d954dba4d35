"""Gradients of a task's loss with respect to the pretrained matrices of each layer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone
from layersel.backbone.modes import eval_mode
from layersel.errors import UserError
from layersel.selection.score import Probe


def layer_gradients(backbone: Backbone, probe: Probe) -> list[list[Tensor]]:
    """Computes, for each layer, the gradients of the mean loss over the labelled batches: one for each weight matrix.

    The batches are gone through one by one, in evaluation mode; the model is left as it was.

    Raises:
        UserError: The loss is undefined for all batches, or a gradient is not finite.
    """
    layers = [[own for own in layer.parameters() if own.ndim > 1] for layer in backbone.layers]
    matrices = [own for layer in layers for own in layer]
    sums, count = [torch.zeros_like(own) for own in matrices], 0
    with _trainable(backbone, matrices), eval_mode(backbone), torch.enable_grad():
        for batch in probe.labelled:
            loss = None if probe.loss is None else probe.loss(batch)
            if loss is not None:
                count += 1
                found = torch.autograd.grad(loss, matrices, allow_unused=True)
                sums = [own if new is None else own + new for own, new in zip(sums, found, strict=True)]
    if count == 0:
        raise UserError("selection.batches: no labelled batch has a loss; use more of them, or larger ones")
    if not all(bool(own.isfinite().all()) for own in sums):
        raise UserError("selection: a gradient of the loss is not finite; use a score without gradients, such as cka")
    means = iter([own / count for own in sums])
    return [[next(means) for _ in layer] for layer in layers]


@contextmanager
def _trainable(backbone: Backbone, chosen: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within the block only the chosen parameters require gradients; afterwards those do that did before."""
    before = [(own, own.requires_grad) for own in backbone.parameters()]
    backbone.requires_grad_(False)
    try:
        for own in chosen:
            own.requires_grad_(True)
        yield
    finally:
        for own, flag in before:
            own.requires_grad_(flag)
