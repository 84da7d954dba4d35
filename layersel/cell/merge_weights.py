"""λ, the weights of the adapters in a merge: searched on what was learnt from, or learnt on unlabelled texts."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from layersel.adapters.change import Change
from layersel.backbone.prefix import PrefixCache
from layersel.cell.adapted_model import AdaptedModel
from layersel.cell.members import Member
from layersel.data.tokens import TokenIds
from layersel.merging.learning import learn_weights, mean_prediction
from layersel.merging.live import merged_live, module_layers
from layersel.merging.merge import merge_adapters
from layersel.merging.method import LearntWeights, MergeMethod
from layersel.merging.search import search_weights
from layersel.seeding import stream
from layersel.terminal.progress import progress

# Shapes: T adapters, L layers, N texts.

POOL = 256
"""Most unlabelled texts of a dataset that λ is learnt on."""

Adapters = Sequence[dict[str, Change]]


def searched_weights(
    method: MergeMethod,
    model: AdaptedModel,
    members: Sequence[Member],
    tokens: Sequence[Sequence[TokenIds]],
    adapters: Adapters,
) -> Tensor:
    """Returns the λ (T×1) with the least held-out loss on what was learnt from, mean over the datasets."""
    layer_of = module_layers(model.backbone)
    start = _first_changed(adapters, layer_of)
    caches = [
        model.cache([own[index] for index in member.problem.train], start)
        for member, own in zip(members, tokens, strict=True)
    ]

    def loss(weights_T1: Tensor) -> float:
        merged = merge_adapters(method, adapters, layer_of, stream(model.cell.seed, "merging"), weights_T1)
        change = {name: Change.low_rank(*factors) for name, factors in merged.factors.items()}
        with (
            torch.no_grad(),
            merged_live(model.backbone, [change], layer_of, torch.ones(1, model.backbone.n_layers)),
        ):
            losses = [member.problem.held_out_loss(cache) for member, cache in zip(members, caches, strict=True)]
        bar.update()
        return sum(losses) / len(losses)

    with progress((), "searching λ", unit=" λ") as bar:
        return search_weights(loss, len(adapters), method.grid, each=method.search == "each")


def learnt_weights(
    method: LearntWeights,
    model: AdaptedModel,
    members: Sequence[Member],
    tokens: Sequence[Sequence[TokenIds]],
    adapters: Adapters,
) -> Tensor:
    """Returns the λ (T×L) that the unlabelled texts of all datasets teach.

    The predictions for each dataset are made by the head of its own run, which stays as it is.
    """
    layer_of = module_layers(model.backbone)
    generator = stream(model.cell.seed, "unlabelled records")
    caches = [
        model.cache(_pool(own, member, generator), _first_changed(adapters, layer_of))
        for member, own in zip(members, tokens, strict=True)
    ]
    heads = [member.head() for member in members]
    start_TL = method.given_weights(len(adapters), model.backbone.n_layers).float()

    def logits(weights_TL: Tensor, batches: Callable[[PrefixCache], list[int]]) -> list[Tensor]:
        with merged_live(model.backbone, adapters, layer_of, weights_TL):
            return [
                member.problem.logits(head, cache, batches(cache))
                for member, head, cache in zip(members, heads, caches, strict=True)
            ]

    def batch(cache: PrefixCache) -> list[int]:
        return torch.randperm(len(cache.tokens), generator=generator)[: method.batch_size].tolist()

    def loss(weights_TL: Tensor) -> Tensor:
        bar.update()
        return method.loss(logits(weights_TL, batch), priors)

    with progress((), "learning λ", total=method.steps, unit=" steps") as bar:
        with torch.no_grad():
            priors = [mean_prediction(own) for own in logits(start_TL, lambda cache: list(range(len(cache.tokens))))]
        return learn_weights(loss, start_TL, method.steps, method.learning_rate)


def _pool(tokens: Sequence[TokenIds], member: Member, generator: torch.Generator) -> list[TokenIds]:
    rest = member.problem.unlabelled
    order = torch.randperm(len(rest), generator=generator)[:POOL]
    return [tokens[rest[index]] for index in order.tolist()]


def _first_changed(adapters: Adapters, layer_of: dict[str, int]) -> int:
    return min(layer_of[name] for adapter in adapters for name in adapter)
