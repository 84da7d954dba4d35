"""Measures whether weights are aligned with what enters them: normalised feature norms (Hayou et al. 2025)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.layers import weight_OI
from layersel.selection.activations import see_probe
from layersel.selection.measures.records import check_finite

# Shapes: N real tokens, O outputs, I inputs of a linear module, R random directions.


def normalised_feature_norms(
    backbone: Backbone,
    batches: Iterable[Batch],
    linears: dict[str, nn.Module],
    directions: int,
    generator: torch.Generator,
    score: str,
) -> dict[str, float]:
    """Computes mean ‖Wẑ‖ / mean ‖Wz̃‖ of each linear module, ẑ its inputs and z̃ random ones, both at norm 1.

    One pass, which keeps two numbers for each module, and costs each product once more. Modules of one width share the
    random directions.

    Args:
        backbone: The model.
        batches: The texts, of which all real tokens count.
        linears: Linear modules by their names.
        directions: How many random directions there are.
        generator: Draws them.
        score: The score's name, for messages.

    Raises:
        UserError: A ratio is not finite, as inputs are not or a weight is zero, or no text enters a module.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def see(name: str, inputs_NI: Tensor) -> None:
        counts[name] = counts.get(name, 0) + len(inputs_NI)
        sums[name] = sums.get(name, 0) + _norms(linears[name], inputs_NI).cpu().sum(dtype=torch.float64)

    see_probe(backbone, batches, linears, see, score)
    random: dict[int, Tensor] = {}
    ratios = {}
    for name, module in linears.items():
        width = weight_OI(module).shape[1]
        if width not in random:
            random[width] = torch.randn(directions, width, generator=generator)
        baseline = _norms(module, random[width].to(backbone.device)).cpu().mean(dtype=torch.float64)
        ratio = sums[name] / counts[name] / baseline
        check_finite(ratio, score, f"normalised feature norms of {name}")
        ratios[name] = float(ratio)
    return ratios


def _norms(module: nn.Module, inputs_NI: Tensor) -> Tensor:
    """Computes ‖Wẑ‖ = ‖Wz‖/‖z‖ of each input z; 0 for one of zeros."""
    inputs_NI = inputs_NI.float()
    outputs_NO = inputs_NI @ weight_OI(module).detach().float().T
    norms_N: Tensor = torch.linalg.norm(outputs_NO, dim=1) / torch.linalg.norm(inputs_NI, dim=1).clamp(min=1e-30)
    return norms_N
