"""λ, the weights of the adapters in a merge: searched on the labelled records, or learnt on the unlabelled ones."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from layersel.adapters.change import Change
from layersel.backbone.prefix import PrefixCache
from layersel.cell.encoder import Encoder
from layersel.cell.members import Member
from layersel.data.tokens import TokenIds
from layersel.merging.live import merged_live, module_layers
from layersel.merging.merge import merge_adapters
from layersel.merging.method import MergeMethod
from layersel.merging.methods.adamerging import AdaMerging, learn_weights, mean_prediction
from layersel.merging.search import search_weights
from layersel.seeding import stream
from layersel.tasks.screening.head import LogisticHead
from layersel.terminal.progress import progress

# Shapes: T adapters, L layers, N records.

POOL = 256
"""Most unlabelled records of a review that λ is learnt on."""

Adapters = Sequence[dict[str, Change]]


def searched_weights(
    method: MergeMethod,
    encoder: Encoder,
    members: Sequence[Member],
    tokens: Sequence[Sequence[TokenIds]],
    adapters: Adapters,
) -> Tensor:
    """The λ (T×1) under which the labelled records of all reviews are told apart best.

    What counts is the log loss of a head that has not seen the record: leave-one-out, mean over records and reviews.
    """
    layer_of = module_layers(encoder.backbone)
    start = _first_changed(adapters, layer_of)
    caches = [
        encoder.cache([own[index] for index in member.screened.split.train], start)
        for member, own in zip(members, tokens, strict=True)
    ]

    def loss(weights_T1: Tensor) -> float:
        merged = merge_adapters(method, adapters, layer_of, stream(encoder.cell.seed, "merging"), weights_T1)
        change = {name: Change.low_rank(*factors) for name, factors in merged.factors.items()}
        with (
            torch.no_grad(),
            merged_live(encoder.backbone, [change], layer_of, torch.ones(1, encoder.backbone.n_layers)),
        ):
            losses = [_held_out_loss(member, encoder, cache) for member, cache in zip(members, caches, strict=True)]
        bar.update()
        return sum(losses) / len(losses)

    with progress((), "searching λ", unit=" λ") as bar:
        return search_weights(loss, len(adapters), method.grid, each=method.search == "each")


def learnt_weights(
    method: AdaMerging,
    encoder: Encoder,
    members: Sequence[Member],
    tokens: Sequence[Sequence[TokenIds]],
    adapters: Adapters,
) -> Tensor:
    """The λ (T×L) that the unlabelled records of all reviews teach.

    Each review is scored by the head that its own adapter has, which stays as it is.
    """
    layer_of = module_layers(encoder.backbone)
    generator = stream(encoder.cell.seed, "unlabelled records")
    caches = [
        encoder.cache(_pool(own, member, generator), _first_changed(adapters, layer_of))
        for member, own in zip(members, tokens, strict=True)
    ]
    heads = [LogisticHead.load(member.folder.head) for member in members]
    start_TL = method.given_weights(len(adapters), encoder.backbone.n_layers).float()

    def logits(weights_TL: Tensor, batches: Callable[[PrefixCache], list[int]]) -> list[Tensor]:
        with merged_live(encoder.backbone, adapters, layer_of, weights_TL):
            return [head.scores(cache.vectors(batches(cache)).cpu()) for head, cache in zip(heads, caches, strict=True)]

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
    rest = member.screened.split.rest
    order = torch.randperm(len(rest), generator=generator)[:POOL]
    return [tokens[rest[index]] for index in order.tolist()]


def _first_changed(adapters: Adapters, layer_of: dict[str, int]) -> int:
    return min(layer_of[name] for adapter in adapters for name in adapter)


def _held_out_loss(member: Member, encoder: Encoder, cache: PrefixCache) -> float:
    task, train = encoder.cell.task, member.screened.split.train
    vectors_ND = cache.vectors(range(len(train))).float().cpu()
    return LogisticHead.held_out_loss(vectors_ND, member.screened.labels(train), task.head_c, task.normalize)
