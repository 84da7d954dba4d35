"""Gradients of a task's loss with respect to the pretrained matrices of each layer, one labelled batch at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import IntegerLinear, linear_modules
from layersel.backbone.modes import eval_mode
from layersel.errors import UserError
from layersel.selection.module_types import check_unpacked
from layersel.selection.score import LayerScores, Probe

# Shapes: N labelled batches that have a loss, L layers; O outputs and I inputs of a weight matrix, R rank.


def layer_matrices(backbone: Backbone) -> list[dict[str, nn.Parameter]]:
    """Finds, for each layer, its weight matrices: all parameters with more than one axis, so no biases and no norms.

    That of a linear module is named by the module, as `find_linear` names it, another one by itself.
    """
    linears = linear_modules(backbone.model).items()
    modules = {id(module.weight): name for name, module in linears if not isinstance(module, IntegerLinear)}
    own = {id(parameter): name for name, parameter in backbone.model.named_parameters()}
    names = own | modules
    return [{names[id(each)]: each for each in layer.parameters() if each.ndim > 1} for layer in backbone.layers]


def see_gradients(backbone: Backbone, probe: Probe, see: Callable[[dict[str, Tensor]], None]) -> None:
    """Calls `see` with the gradients of the loss of each labelled batch that has one, by the names of the matrices.

    A batch takes one forward and one backward pass, in evaluation mode. The gradients of one batch are gone before
    those of the next are there, unless `see` keeps them; the model is left as it was.

    Raises:
        UserError: A weight is packed, the loss is undefined for all batches, or a gradient is not finite.
    """
    matrices = {name: own for layer in layer_matrices(backbone) for name, own in layer.items()}
    check_unpacked(matrices, "selection")
    with _trainable(backbone, list(matrices.values())), eval_mode(backbone), torch.enable_grad():
        for loss in probe.losses():
            see(_gradients(loss, matrices))


def mean_gradients(backbone: Backbone, probe: Probe) -> dict[str, Tensor]:
    """Computes the gradient of the mean loss over the labelled batches for each matrix in float32, by name.

    Raises:
        UserError: As `see_gradients`.
    """
    sums: dict[str, Tensor] = {}
    count = 0

    def add(gradients: dict[str, Tensor]) -> None:
        nonlocal count
        count += 1
        for name, own in gradients.items():
            sums[name] = sums[name].add_(own) if name in sums else own.to(torch.float32, copy=True)

    see_gradients(backbone, probe, add)
    return {name: own.div_(count) for name, own in sums.items()}


def squared_norms(backbone: Backbone, probe: Probe) -> dict[str, Tensor]:
    """Computes the squared Frobenius norm of each matrix' gradient in each labelled batch (N, float64), by name.

    Raises:
        UserError: As `see_gradients`.
    """
    found: dict[str, list[float]] = {}

    def measure(gradients: dict[str, Tensor]) -> None:
        for name, own in gradients.items():
            found.setdefault(name, []).append(squared_norm(own))

    see_gradients(backbone, probe, measure)
    return {name: torch.tensor(squares, dtype=torch.float64) for name, squares in found.items()}


def squared_norm(matrix: Tensor) -> float:
    """Computes the squared Frobenius norm, summed in float64."""
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64) ** 2)


def squared_norm_of_product(up_OR: Tensor, down_RI: Tensor) -> float:
    """Computes ‖U·D‖²_F = tr(UᵀU·DDᵀ) of a product of low rank without making it, in float64."""
    up_OR, down_RI = up_OR.double(), down_RI.double()
    return float(((up_OR.T @ up_OR) * (down_RI @ down_RI.T)).sum().clamp(min=0))


def layer_sums(backbone: Backbone, parts: Mapping[str, Tensor]) -> Tensor:
    """Sums what there is of each matrix in each labelled batch (N, by name) over the matrices of each layer (L×N)."""
    return torch.stack(
        [torch.stack([parts[name] for name in layer if name in parts]).sum(dim=0) for layer in layer_matrices(backbone)]
    )


def summed_scores(backbone: Backbone, values: Mapping[str, float], resampled_SL: Tensor | None = None) -> LayerScores:
    """Returns scores of which a layer's is the sum of its matrices' `values`, and a linear module's that of its own."""
    layers = [sum(values.get(name, 0.0) for name in layer) for layer in layer_matrices(backbone)]
    linears = linear_modules(backbone.model)
    modules = {name: value for name, value in values.items() if name in linears}
    return LayerScores(torch.tensor(layers, dtype=torch.float64), resampled_SL=resampled_SL, modules=modules)


def _gradients(loss: Tensor, matrices: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(matrices.values()), materialize_grads=True)
    if not all(bool(own.isfinite().all()) for own in found):
        raise UserError("selection: a gradient of the loss is not finite; use a score without gradients, such as cka")
    return dict(zip(matrices, found, strict=True))


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
