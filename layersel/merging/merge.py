"""Merging adapters into one: the union of their modules, the method, and factors of the wanted rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.adapters.change import Change
from layersel.adapters.factoring import truncate
from layersel.errors import UserError
from layersel.merging.method import MergeMethod

# Shapes: T adapters, L layers, O outputs and I inputs of a weight matrix, R rank.

AdapterChanges = Mapping[str, Change]
"""The changes that an adapter makes, by full module name."""


@dataclass(frozen=True)
class Merged:
    """One adapter, merged from several.

    Attributes:
        factors: B (O×R) and A (R×I) of each module, ΔW = B·A, for `save_lora`.
        lost: For each module, the share of the squared Frobenius norm of the merged ΔW that B·A leaves out.
        total_lost: That share over all modules together.
        weights_TL: The λ that were used.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    lost: dict[str, float]
    total_lost: float
    weights_TL: Tensor


def merge_adapters(
    method: MergeMethod,
    adapters: Sequence[AdapterChanges],
    layer_of: Mapping[str, int],
    generator: torch.Generator,
    weights_TL: Tensor | None = None,
) -> Merged:
    """Merges adapters, whatever layers and ranks each of them has; where one has no change, its ΔW is zero.

    Args:
        method: The method with its options.
        adapters: The changes of each, in the order of the weights.
        layer_of: The layer of every module that can be adapted, over all layers of the model (`module_layers`).
        generator: Draws what the method needs (dropped entries, first centroids).
        weights_TL: λ (T×L, or T×1 for the same in all layers), if searched or learnt; None for that of the options.

    Raises:
        UserError: No adapter, or one without a change; modules that the model lacks or of differing shapes, as with
            adapters of different bases; values that are not finite; a rank larger than a matrix; a number of weights
            other than that of the adapters.
    """
    given_TL = check_mergeable(method, adapters, layer_of)
    shapes = checked_shapes(adapters, layer_of)
    weights_TL = given_TL if weights_TL is None else weights_TL.detach().cpu().double().expand_as(given_TL)
    scale_TL = method.scale(weights_TL)
    changes = {
        name: [
            _scaled(adapter.get(name, _nothing(shape)), float(scale_TL[row, layer_of[name]]))
            for row, adapter in enumerate(adapters)
        ]
        for name, shape in shapes.items()
    }
    return _factored(method.merge(changes, generator), method.rank, weights_TL)


def check_mergeable(method: MergeMethod, adapters: Sequence[AdapterChanges], layer_of: Mapping[str, int]) -> Tensor:
    """Returns λ (T×L) of the options; raises what `merge_adapters` would, before λ is searched or learnt."""
    _check_rank(method.rank, checked_shapes(adapters, layer_of))
    return method.given_weights(len(adapters), max(layer_of.values()) + 1)


def checked_shapes(adapters: Sequence[AdapterChanges], layer_of: Mapping[str, int]) -> dict[str, torch.Size]:
    """Returns the shapes of all modules that some adapter changes, sorted by name.

    Raises:
        UserError: The adapters do not fit together, see `merge_adapters`.
    """
    if not adapters:
        raise UserError("merging: expected adapters, but got none")
    shapes: dict[str, torch.Size] = {}
    for number, adapter in enumerate(adapters, start=1):
        which = f"merging: adapter {number} of {len(adapters)}"
        if not adapter:
            raise UserError(f"{which} changes no weight; leave it out")
        for name, change in adapter.items():
            if name not in layer_of:
                raise UserError(f"{which} changes {name}, which this model lacks; merge adapters of one base")
            shape = change.dense.shape
            if shapes.setdefault(name, shape) != shape:
                other, own = (" by ".join(map(str, size)) for size in (shapes[name], shape))
                raise UserError(f"{which}: {name} is {own} here but {other} before it; merge adapters of one base")
            if not bool(change.dense.isfinite().all()):
                raise UserError(f"{which}: its change of {name} is not finite; train it again")
    return dict(sorted(shapes.items()))


def _check_rank(rank: int | None, shapes: Mapping[str, torch.Size]) -> None:
    name, shape = min(shapes.items(), key=lambda item: min(item[1]))
    if rank is not None and rank > min(shape):
        size = " by ".join(map(str, shape))
        raise UserError(f"merging.rank: expected at most {min(shape)}, since {name} is {size}, but got {rank}")


def _nothing(shape: torch.Size) -> Change:
    return Change.low_rank(torch.zeros(shape[0], 0), torch.zeros(0, shape[1]))


def _scaled(change: Change, weight: float) -> Change:
    """Returns λ·ΔW; √|λ| goes to each factor, so that they keep their proportion."""
    if change.factors is None:
        return Change(change.dense * weight)
    (up_OR, down_RI), root = change.factors, abs(weight) ** 0.5
    return Change(change.dense * weight, (up_OR * (root if weight >= 0 else -root), down_RI * root))


def _factored(merged: Mapping[str, Tensor], rank: int | None, weights_TL: Tensor) -> Merged:
    norms = {name: float(matrix_OI.double().square().sum()) for name, matrix_OI in merged.items()}
    parts = {name: truncate(matrix_OI, rank) for name, matrix_OI in merged.items()}
    return Merged(
        factors={name: factors for name, (factors, _) in parts.items()},
        lost={name: _share(lost, norms[name]) for name, (_, lost) in parts.items()},
        total_lost=_share(sum(lost for _, lost in parts.values()), sum(norms.values())),
        weights_TL=weights_TL,
    )


def _share(lost: float, norm: float) -> float:
    return lost / norm if norm > 0 else 0.0
