"""From scores to chosen layers: the library's front door."""

import math
import warnings
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

import torch
from peft import PeftModel
from scipy.stats import spearmanr
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.encode import token_batches
from layersel.backbone.initialisations import changing_initialisation
from layersel.backbone.layers import find_linear, namesakes, widths
from layersel.backbone.loading import positions
from layersel.backbone.modes import adapters_off
from layersel.backbone.pooling import default_pooling
from layersel.data.tokens import tokenize
from layersel.errors import UserError
from layersel.selection.budget import (
    ParameterCount,
    affordable_layers,
    best_first,
    layers_within,
    trained_parameters,
)
from layersel.selection.score import LayerScores, Probe, Score, score_named
from layersel.selection.selection import Selection, Stability


def select_layers(
    model: PreTrainedModel | PeftModel,
    texts: Iterable[str | Batch],
    n: float = 0.5,
    score: str | Score = "cka",
    tokenizer: PreTrainedTokenizerBase | None = None,
    pooling: str | None = None,
    max_length: int = 512,
    seed: int = 0,
) -> Selection:
    """Chooses the `n` layers of `model` that most need an adapter.

    Args:
        model: An encoder or a decoder of texts, of transformers and with one stack of layers, with or without a head;
            it is left as it was. Of a `PeftModel` the base model is scored, with its adapters switched off.
        texts: Probe texts (some 100 are enough), or ready batches with `input_ids` and `attention_mask` (and
            `position_ids` where they are padded on the left, as everywhere in Hugging Face). Controls and scores of
            the weights look at none: [] will do.
        n: A number of layers, or a share of them below 1.
        score: Name of a score that needs no labels, such as `cka`, `cosine` or `spectrum`, or of a control (`last`,
            `first`, `first_last`, `spread`, `random`, `all`, `none`), or a `Score` with its own n.
        tokenizer: Needed for texts.
        pooling: What stands for a text: `cls`, `mean` or `last` (token). None is `last` for a decoder, `cls` for an
            encoder with a [CLS] token, and `mean` for one without.
        max_length: Longest text in tokens; less where the model has fewer positions.
        seed: Decides the random draws (bootstrap, `random`).

    Returns:
        A `Selection` with `scores` (one float a layer), `layers` (sorted indices from 0) and `lora_config(r=8)`.

    Raises:
        UserError: Unknown score or pooling, n larger than the model, texts without a tokenizer, too few texts, no list
            of texts or padded batches, a model that is not such a one.
    """
    if not hasattr(seed, "__index__"):
        raise UserError(f"seed: expected a whole number, but got {seed!r}")
    backbone = backbone_of(model, tokenizer, pooling, max_length)
    chooser = score if isinstance(score, Score) else score_named(score)
    if not isinstance(score, Score) and chooser.takes_n:
        if not hasattr(n, "__float__") or isinstance(n, bool):
            raise UserError(f"selection.n: expected a number of layers, or a share of them below 1, but got {n!r}")
        chooser.n = n
    problems = chooser.problems()
    if problems:
        raise UserError("; ".join(problems))
    if isinstance(texts, str | Mapping) or not isinstance(texts, Iterable):
        raise UserError(
            f"texts: expected a list of texts or of token batches, but got one {type(texts).__name__}; put some 100 "
            "texts into a list"
        )
    listed = list(texts)
    if not listed and chooser.needs:
        raise UserError(f"texts: expected some 100 texts, at which selection={chooser.name} looks, but got none")
    batches = _batches(listed, backbone) if listed else []
    probe = Probe(batches, torch.Generator().manual_seed(seed))
    with adapters_off(backbone.model) as found:
        if found:
            warnings.warn(
                "select_layers: the model is scored without its adapters; merge_and_unload() has them in the scores",
                stacklevel=2,
            )
        return make_selection(backbone, chooser, probe)


def backbone_of(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    pooling: str | None = None,
    max_length: int = 512,
) -> Backbone:
    """Returns the backbone of a model as `select_layers` sees it, whose arguments these are.

    Raises:
        UserError: Unknown pooling, a `max_length` that leaves no token of a text, or a model that is not such a one, or
            whose weights an adapter has changed.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(base, PreTrainedModel):
        raise UserError(
            f"model: expected a PreTrainedModel of transformers or a PeftModel, but got {type(base).__name__}"
        )
    for config in getattr(base, "peft_config", {}).values():
        initial = changing_initialisation(config)
        if initial is not None:
            raise UserError(
                f"model: expected the pretrained weights beside the adapters, but init_lora_weights={initial!r} has "
                "changed them; give the model as it was before get_peft_model, or what merge_and_unload() returns"
            )
    if any(parameter.is_meta for parameter in base.parameters()):
        raise UserError("model: expected its weights, but got them on the device meta, where there are none; load them")
    if tokenizer is not None and not hasattr(tokenizer, "num_special_tokens_to_add"):
        raise UserError(f"tokenizer: expected one of transformers, but got {type(tokenizer).__name__}")
    least = 1 + (0 if tokenizer is None else tokenizer.num_special_tokens_to_add())
    if max_length < least:  # fewer than the special tokens would cut nothing
        raise UserError(f"max_length: expected at least {least} tokens, special ones included, but got {max_length}")
    pooling = default_pooling(base, tokenizer) if pooling is None else pooling
    return Backbone(base, tokenizer, pooling, min(max_length, positions(base, max_length)))


def make_selection(
    backbone: Backbone,
    score: Score,
    probe: Probe,
    scores: LayerScores | None = None,
    count: ParameterCount | None = None,
) -> Selection:
    """Scores the layers, unless their scores are given, and chooses the best within the score's budget.

    Args:
        backbone: The model.
        score: The score with its budget.
        probe: What it looks at.
        scores: The layers' scores, if they are known.
        count: Counts what the adapter trains in each layer, which a score with `max_parameters` needs.

    Raises:
        UserError: The score needs what the probe does not offer, has no number for some layer, or chooses a layer above
            those that vectors are made of.
    """
    sides = [{name: list(widths(linear)) for name, linear in own.items()} for own in find_linear(backbone.model)]
    weights = [sum(math.prod(own) for own in layer.values()) for layer in sides]
    head = backbone.model.get_output_embeddings()
    head_weights = 0 if head is None else head.weight.numel()
    score.budget(backbone.n_layers)  # what cannot be is refused before the layers are scored
    affordable = affordable_layers(score, weights, head_weights)
    parameters = trained_parameters(score, backbone, count, affordable)
    if scores is None:
        scores = score_layers(score, backbone, probe)
    values_L, excluded = scores.values_L, set(scores.excluded)
    meaningless = [layer for layer in range(backbone.n_layers) if values_L[layer].isnan() and layer not in excluded]
    if meaningless:
        raise UserError(
            f"score {score.name}: not a number for layers {meaningless}; the probe texts are all alike there"
        )

    def choose(some_L: Tensor) -> list[int]:
        return layers_within(score, some_L, affordable, excluded, parameters)

    def choose_again(some_L: Tensor) -> list[int]:
        try:
            return choose(some_L)
        except UserError:  # a resample without scores above 0 has no shares of them
            return []

    layers = choose(values_L)
    unseen = [layer for layer in layers if layer > backbone.vector_layers[-1]]
    if unseen:
        raise UserError(
            f"selection: layers {unseen} were chosen, above all that vectors are made of ({backbone.vector_layers}), "
            "so that training them changes nothing; use selection=manual or none, or let model.layers have the last one"
        )
    known = {name for projections in backbone.projections for name in projections.values()}
    return Selection(
        score=score.name,
        scores=values_L.tolist(),
        layers=layers,
        reasons=_reasons(scores, layers, affordable),
        modules=backbone.projections,
        stability=_stability(scores, choose_again),
        measured=score.measures,
        weights=weights,
        head_weights=head_weights,
        module_scores=scores.modules,
        widths={name: own for layer in sides for name, own in layer.items() if name in known},
        namesakes=namesakes(backbone.model, backbone.projections),
    )


def score_layers(score: Score, backbone: Backbone, probe: Probe) -> LayerScores:
    """Scores all layers, if the probe offers what the score needs.

    Raises:
        UserError: The score needs what the probe does not offer.
    """
    missing = sorted(score.needs - probe.offers)
    if missing:
        raise UserError(
            f"selection={score.name}: expected a score that needs no more than is offered here, but it needs "
            f"{', '.join(missing)}; use another one, such as cka"
        )
    return score.scores(backbone, probe)


def _reasons(scores: LayerScores, layers: list[int], affordable: Container[int]) -> list[str]:
    order = best_first(scores.values_L, set(scores.excluded))
    last = max((order.index(layer) for layer in layers), default=-1)
    reasons = []
    if not layers:
        return ["no layer is chosen" for _ in order]
    for layer in range(len(order)):
        why = scores.excluded.get(layer, f"rank {order.index(layer) + 1} of {len(order)}")
        if layer in layers:
            place = f"within the budget of {len(layers)}"
        elif layer not in affordable:
            place = "too low for selection.max_cost"
        elif order.index(layer) < last:
            place = "too large for what is left of selection.max_parameters"
        else:
            place = f"beyond the budget of {len(layers)}"
        reasons.append(f"{why}; {place}")
    return reasons


def _stability(scores: LayerScores, choose: Callable[[Tensor], list[int]]) -> Stability | None:
    if scores.resampled_SL is None:
        return None
    excluded = set(scores.excluded)
    compared = [layer for layer in range(len(scores.values_L)) if layer not in excluded]
    counts = torch.zeros(len(scores.values_L), dtype=torch.float64)
    for values_L in scores.resampled_SL:
        counts[choose(values_L)] += 1
    whole = scores.values_L[compared]
    ordered = [own for own in scores.resampled_SL[:, compared] if len(set(own.tolist())) > 1]  # equal: no order
    correlations = [float(spearmanr(own, whole).statistic) for own in ordered] if len(set(whole.tolist())) > 1 else []
    samples = len(scores.resampled_SL)
    correlation = math.fsum(correlations) / len(correlations) if correlations else math.nan
    return Stability(samples, (counts / samples).tolist(), correlation)


def _batches(texts: Sequence[str | Batch], backbone: Backbone) -> list[Batch]:
    strings = [text for text in texts if isinstance(text, str)]
    batches = [text for text in texts if isinstance(text, Mapping)]
    other = next((place for place, text in enumerate(texts) if not isinstance(text, str | Mapping)), None)
    if other is not None:
        raise UserError(f"texts: expected strings or token batches, but got {texts[other]!r} at place {other}")
    if strings and batches:
        raise UserError(f"texts: expected strings or token batches, but got {len(strings)} and {len(batches)} of them")
    if strings and backbone.tokenizer is None:
        raise UserError("tokenizer: expected the model's tokenizer for texts, but got None; or give token batches")
    if strings:
        batches = token_batches(backbone, tokenize(strings, backbone.tokenizer, backbone.max_length))
    else:
        batches = [_on_device(batch, backbone) for batch in batches]
    rows = len(backbone.model.get_input_embeddings().weight)
    largest = max(int(batch["input_ids"].max()) for batch in batches)
    if largest >= rows:
        raise UserError(
            f"texts: expected token ids below {rows}, the model's vocabulary, but got {largest}; give the model's own "
            "tokenizer"
        )
    return batches


def _on_device(batch: Batch, backbone: Backbone) -> Batch:
    if not {"input_ids", "attention_mask"} <= set(batch):
        named = ", ".join(map(str, batch)) or "nothing"
        raise UserError(
            f"texts: expected strings, or token batches with input_ids and attention_mask, but got one with {named}; "
            "of a dataset give the column of texts"
        )
    for name, value in batch.items():
        if not isinstance(value, Tensor) or (name in ("input_ids", "attention_mask") and value.dim() != 2):
            got = f"a {value.dim()}-dimensional tensor" if isinstance(value, Tensor) else type(value).__name__
            raise UserError(
                f"texts: expected batches of tensors, texts by tokens, but got {name} of {got}; give the strings, or "
                "pad the rows of a dataset: [tokenizer.pad(rows, return_tensors='pt')]"
            )
    return {name: value.to(backbone.device) for name, value in batch.items()}
