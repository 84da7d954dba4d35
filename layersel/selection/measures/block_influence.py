"""How far each layer turns the states of the texts that pass through it."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.modes import evaluating
from layersel.selection.similarity_names import POOLED
from layersel.terminal.progress import progress

# Shapes: L layers, N texts of the probe, B texts of a batch, T tokens or 1 pooled vector, D hidden size.


def cosines(
    backbone: Backbone, batches: Iterable[Batch], tokens: str, final_norm: bool = False
) -> tuple[Tensor, Tensor]:
    """Computes for each text the sum over its tokens of cos(x_in, x_out) of each layer, and how many tokens it has.

    This takes one pass, which keeps the states of a batch at two depths.

    Args:
        backbone: The model.
        batches: The texts.
        tokens: `all` for all real tokens, or `pooled` for the pooled vector alone.
        final_norm: Whether the last output is taken behind the model's final norm.

    Returns:
        Sums (L×N) and counts (N), in float64 on the CPU.
    """
    sums, counts = [], []
    with evaluating(backbone):
        for batch in progress(batches, "probing the layers"):
            sums.append(_sums(backbone, batch, tokens == POOLED, final_norm).cpu().double())
            mask_BT = batch["attention_mask"]
            counts.append((torch.ones_like(mask_BT[:, 0]) if tokens == POOLED else mask_BT.sum(dim=1)).cpu().double())
    return torch.cat(sums, dim=1), torch.cat(counts)


def _sums(backbone: Backbone, batch: Batch, pooled: bool, final_norm: bool) -> Tensor:
    """Computes the sums (L×B) of a batch over all real tokens, or the one cosine of the pooled vectors."""
    mask_BT = batch["attention_mask"]
    before: Tensor | None = None
    sums: list[Tensor] = []

    def see(states_BTD: Tensor) -> None:
        nonlocal before
        unit = normalize((backbone.pool(states_BTD, mask_BT) if pooled else states_BTD).float(), dim=-1)
        if before is not None:
            cosine = (before * unit).sum(dim=-1)
            sums.append(cosine if pooled else cosine.masked_fill(mask_BT == 0, 0).sum(dim=1))
        before = unit

    backbone.see_depths(batch, see, final_norm)
    return torch.stack(sums)
