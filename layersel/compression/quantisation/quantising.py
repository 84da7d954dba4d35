"""Quantises a model, and compares its vectors with those that it gave before."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from layersel.backbone.backbone import Backbone
from layersel.backbone.modes import evaluating
from layersel.compression.quantisation.dynamic import to_int8, watched_columns
from layersel.compression.quantisation.formats import DYNAMIC, FORMATS, WEIGHT_BITS
from layersel.compression.quantisation.quantised import Quantised
from layersel.compression.quantisation.rounding import snap_weights
from layersel.data.tokens import TokenIds
from layersel.errors import one_of
from layersel.terminal.progress import progress


def quantise(
    backbone: Backbone, number_format: str, texts: Sequence[TokenIds], engine: str = "auto", outliers: float = 0.01
) -> Quantised:
    """Quantises the model of `backbone` in place.

    Args:
        backbone: A model in float32; with int8 a plain one on the CPU.
        number_format: `int8` (integer products), `int8_weight` or `int4` (rounded weights in float modules).
        texts: Token ids of texts, at least one, to find outlier columns on and to compare vectors with fp32.
        engine: What multiplies integers, see `ENGINES`; `auto` is the fastest here.
        outliers: Share of the input columns of each linear layer that int8 keeps in fp32.

    Raises:
        UserError: The format is unknown, or is int8 where no engine works or the model is not a plain one on the CPU.
    """
    if number_format not in FORMATS:
        raise one_of("precision.infer", number_format, FORMATS)
    if number_format == DYNAMIC:
        with watched_columns(backbone) as largest:
            before_ND = _vectors(backbone, texts)
        done = Quantised(number_format, race=to_int8(backbone, largest, outliers, engine), outlier_share=outliers)
    else:
        before_ND = _vectors(backbone, texts)
        done = Quantised(number_format, grids=snap_weights(backbone, WEIGHT_BITS[number_format]))
    cosines_N = cosine_similarity(before_ND, _vectors(backbone, texts))
    return replace(done, cosine_median=float(cosines_N.median()), cosine_min=float(cosines_N.min()))


def _vectors(backbone: Backbone, texts: Sequence[TokenIds]) -> Tensor:
    """Computes the vectors (N×D) of the texts one by one: padding would be calibrated on too."""
    with evaluating(backbone):
        return torch.cat([backbone(backbone.batch([text])) for text in progress(texts, "calibrating")])
