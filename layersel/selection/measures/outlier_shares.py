"""How many entries of the weights stand far out, given what enters them (Yin et al. 2023)."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.inputs import add_squares
from layersel.backbone.layers import weight_OI
from layersel.selection.activations import see_probe, sums_by_text
from layersel.selection.measures.records import check_finite
from layersel.selection.module_types import linear_layers
from layersel.selection.score import LayerScores

# Shapes: N real tokens, T texts, S bootstrap samples, O outputs, I inputs of a linear module, K of its entries.


def outlier_shares(
    backbone: Backbone, batches: Iterable[Batch], score: str, m: float, draws_ST: Tensor | None = None
) -> LayerScores:
    """Computes the share of the entries |W_ij|·‖X_j‖₂ of each layer that are above m times their mean in that layer.

    X_j is what enters input j over all real tokens. One pass, which keeps a number for each input of each module, and
    one for each text too where there are samples. The shares of the linear modules are against their layer's mean too.

    Args:
        backbone: The model.
        batches: The texts.
        score: The score's name, for messages.
        m: How many times the mean an entry must exceed.
        draws_ST: The texts of each bootstrap sample, of which the shares are computed again.

    Raises:
        UserError: What enters a module is not finite, or no text does.
    """
    layers = linear_layers(backbone, score)
    squares: dict[str, Tensor] = {}
    by_text: dict[str, list[Tensor]] = {}

    def see(name: str, inputs_NI: Tensor, lengths: list[int]) -> None:
        add_squares(squares, name, inputs_NI)
        if draws_ST is not None:
            by_text.setdefault(name, []).append(sums_by_text(inputs_NI.float().square(), lengths).cpu())

    see_probe(backbone, batches, {name: module for own in layers for name, module in own.items()}, see, score)
    shares: list[float] = []
    modules: dict[str, float] = {}
    resampled: list[Tensor] = []
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
        if draws_ST is not None:
            norms = {name: _sampled_norms(torch.cat(by_text.pop(name)), draws_ST) for name in linears}
            resampled.append(_sampled_shares(list(linears.values()), list(norms.values()), m))
    resampled_SL = torch.stack(resampled, dim=1) if resampled else None
    return LayerScores(torch.tensor(shares, dtype=torch.float64), resampled_SL=resampled_SL, modules=modules)


def _weighed(module: nn.Module, squares_I: Tensor) -> Tensor:
    return weight_OI(module).detach().float().abs() * squares_I.sqrt()


def _sampled_norms(squares_TI: Tensor, draws_ST: Tensor) -> Tensor:
    """Computes ‖X_j‖₂ of the texts of each sample (S×I), a text drawn twice counting twice."""
    times_ST = torch.stack([torch.bincount(rows, minlength=len(squares_TI)) for rows in draws_ST])
    return (times_ST.double() @ squares_TI.double()).sqrt()


def _sampled_shares(modules: list[nn.Module], norms: list[Tensor], m: float) -> Tensor:
    """Computes the share of a layer in each sample (S), from the norms of what enters its modules (S×I).

    |W_ij|·‖X_j‖ > bound is |W_ij| > bound/‖X_j‖, so that only the few entries have to be compared that exceed the
    lowest limit of their column.
    """
    weights = [weight_OI(module).detach().float().abs() for module in modules]
    size = sum(own.numel() for own in weights)
    sums = [norms_SI @ own.sum(dim=0).cpu().double() for own, norms_SI in zip(weights, norms, strict=True)]
    bounds_S = m * torch.stack(sums).sum(dim=0) / size
    above_S = torch.zeros_like(bounds_S)
    for own, norms_SI in zip(weights, norms, strict=True):
        limits_SI = (bounds_S[:, None] / norms_SI).nan_to_num(math.inf, posinf=math.inf)  # 0 is above nothing
        limits_SI = limits_SI.to(own.device, torch.float32)
        output_K, input_K = (own > limits_SI.amin(dim=0)).nonzero(as_tuple=True)
        entries_K = own[output_K, input_K]
        above_S += torch.stack([(entries_K > limits_I[input_K]).sum() for limits_I in limits_SI]).cpu()
    return above_S / size
