"""How many entries of the weights stand far out, given what enters them (Yin et al. 2023)."""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.inputs import add_squares
from layersel.backbone.layers import weight_OI
from layersel.selection.activations import see_probe
from layersel.selection.measures.records import check_finite
from layersel.selection.module_types import linear_layers
from layersel.selection.score import LayerScores

# Shapes: N real tokens, O outputs, I inputs of a linear module.


def outlier_shares(backbone: Backbone, batches: Iterable[Batch], score: str, m: float) -> LayerScores:
    """Computes the share of the entries |W_ij|·‖X_j‖₂ of each layer that are above m times their mean in that layer.

    X_j is what enters input j over all real tokens. One pass, which keeps a number for each input of each module. The
    shares of the linear modules are against their layer's mean too.

    Raises:
        UserError: What enters a module is not finite, or no text does.
    """
    layers = linear_layers(backbone, score)
    squares: dict[str, Tensor] = {}
    every = {name: module for own in layers for name, module in own.items()}
    see_probe(backbone, batches, every, partial(add_squares, squares), score)
    shares: list[float] = []
    modules: dict[str, float] = {}
    for linears in layers:
        for name in linears:
            check_finite(squares[name], score, f"norms of the inputs of {name}")
        sizes = {name: weight_OI(module).numel() for name, module in linears.items()}
        rows = [_weighed(module, squares[name]).sum(dim=1).cpu() for name, module in linears.items()]
        sums = [own_O.sum(dtype=torch.float64) for own_O in rows]
        bound = m * float(sum(sums)) / sum(sizes.values())
        above = {name: int((_weighed(module, squares[name]) > bound).sum()) for name, module in linears.items()}
        shares.append(sum(above.values()) / sum(sizes.values()))
        modules |= {name: count / sizes[name] for name, count in above.items()}
    return LayerScores(torch.tensor(shares, dtype=torch.float64), modules=modules)


def _weighed(module: nn.Module, squares_I: Tensor) -> Tensor:
    return weight_OI(module).detach().float().abs() * squares_I.sqrt()
