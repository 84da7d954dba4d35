"""Measures whether weights are aligned with what enters them: normalised feature norms (Hayou et al. 2025)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.layers import weight_OI
from layersel.selection.activations import see_probe, sums_by_text
from layersel.selection.measures.records import check_finite

# Shapes: N real tokens, T texts, O outputs, I inputs of a linear module, R random directions.


@dataclass(frozen=True)
class FeatureNorms:
    """The normalised feature norms of linear modules.

    Attributes:
        ratios: Those of all texts, by module.
        sums: For each module the sum of the norms ‖Wẑ‖ of each text's tokens, over the mean of the random directions'
            (T, float64), so that Σ sums / Σ counts is the ratio of some texts.
        counts_T: How many tokens each text has.
    """

    ratios: dict[str, float]
    sums: dict[str, Tensor]
    counts_T: Tensor


def normalised_feature_norms(
    backbone: Backbone,
    batches: Sequence[Batch],
    linears: dict[str, nn.Module],
    directions: int,
    generator: torch.Generator,
    score: str,
) -> FeatureNorms:
    """Computes mean ‖Wẑ‖ / mean ‖Wz̃‖ of each linear module, ẑ its inputs and z̃ random ones, both at norm 1.

    One pass, which keeps a number for each module and text, and costs each product once more. Modules of one width
    share the random directions.

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
    by_text: dict[str, list[Tensor]] = {name: [] for name in linears}

    def see(name: str, inputs_NI: Tensor, lengths: list[int]) -> None:
        norms_N = _norms(linears[name], inputs_NI).cpu()
        sums[name] = sums.get(name, 0) + norms_N.sum(dtype=torch.float64)
        by_text[name].append(sums_by_text(norms_N.double(), lengths))

    see_probe(backbone, batches, linears, see, score)
    counts_T = torch.cat([batch["attention_mask"].sum(dim=1) for batch in batches]).cpu()
    random: dict[int, Tensor] = {}
    ratios, scaled = {}, {}
    for name, module in linears.items():
        width = weight_OI(module).shape[1]
        if width not in random:
            random[width] = torch.randn(directions, width, generator=generator)
        baseline = _norms(module, random[width].to(backbone.device)).cpu().mean(dtype=torch.float64)
        ratio = sums[name] / int(counts_T.sum()) / baseline
        check_finite(ratio, score, f"normalised feature norms of {name}")
        ratios[name] = float(ratio)
        scaled[name] = torch.cat(by_text[name]) / baseline
    return FeatureNorms(ratios, scaled, counts_T)


def _norms(module: nn.Module, inputs_NI: Tensor) -> Tensor:
    """Computes ‖Wẑ‖ = ‖Wz‖/‖z‖ of each input z; 0 for one of zeros."""
    inputs_NI = inputs_NI.float()
    outputs_NO = inputs_NI @ weight_OI(module).detach().float().T
    norms_N: Tensor = torch.linalg.norm(outputs_NO, dim=1) / torch.linalg.norm(inputs_NI, dim=1).clamp(min=1e-30)
    return norms_N
