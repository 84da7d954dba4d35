"""Texts for scores of what enters linear modules, the scores, and a plain loop over what enters."""

import numpy as np
import torch
from models import padded, ragged
from transformers import PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_linear
from layersel.selection.score import LayerScores, Probe, score_named

TEXTS = ragged([7, 12, 3, 30, 12, 5])


def scored(model: PreTrainedModel, name: str, seed: int = 0, **options: object) -> LayerScores:
    """The scores on the texts, in two batches with padding."""
    batches = [padded(model, TEXTS[:4]), padded(model, TEXTS[4:])]
    return score_named(name, **options).scores(
        Backbone(model, pooling="mean"), Probe(batches, torch.Generator().manual_seed(seed))
    )


def entering(model: PreTrainedModel) -> list[dict[str, np.ndarray]]:
    """For each layer all that enters each linear module (N×I), text by text."""
    layers = find_linear(model)
    seen: dict[str, list[torch.Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: seen.setdefault(name, []).append(args[0][0]))
        for own in layers
        for name, module in own.items()
    ]
    with torch.no_grad():
        for text in TEXTS:
            model.base_model(input_ids=torch.tensor([text]))
    for handle in handles:
        handle.remove()
    return [{name: torch.cat(seen[name]).double().numpy() for name in own} for own in layers]
