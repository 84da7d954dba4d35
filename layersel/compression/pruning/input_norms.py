"""The norms of what enters linear modules, and Wanda's scores by them (Sun et al. 2023)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn

from layersel.backbone.backbone import Backbone, Batch
from layersel.compression.pruning.weight_pruning import Linears
from layersel.errors import UserError

# Shapes: B texts, T tokens, D hidden size, N real tokens; O outputs, I inputs of a linear layer.


def wanda_scores(weight_OI: Tensor, norms_I: Tensor) -> Tensor:
    """Computes S_ij = |W_ij|·‖X_j‖₂ (eq. 1), O×I.

    Example:
        >>> import torch
        >>> wanda_scores(torch.tensor([[1.0, -2.0]]), torch.tensor([8.0, 3.0]))
        tensor([[8., 6.]])
    """
    return weight_OI.abs() * norms_I


def input_norms(
    backbone: Backbone, layer: int, linears: Linears, batches: Sequence[Batch], states: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Computes ‖X_j‖₂ over all real tokens for each input j of a block's linear modules, given what enters it."""
    squares: dict[str, Tensor] = {}
    for batch, states_BTD in zip(batches, states, strict=True):
        with _adding_squares(linears, batch["attention_mask"].bool(), squares):
            backbone.advance(batch, layer, states_BTD)
    for name in set(linears) - set(squares):
        raise UserError(
            f"pruning=wanda: no text passes through {name}, whose adapter goes around it; merge the adapter first"
        )
    return {name: squares_I.sqrt() for name, squares_I in squares.items()}


@contextmanager
def _adding_squares(linears: Mapping[str, nn.Module], real_BT: Tensor, squares: dict[str, Tensor]) -> Iterator[None]:
    """Within the block, the sum over real tokens of the squared inputs of each module is added to `squares`.

    Only the first call of a module counts: DeBERTa's attention sends its relative positions through the same weights.
    """
    seen: set[str] = set()

    def add(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        if name in seen:
            return
        if args[0].shape[:2] != real_BT.shape:
            raise UserError(
                f"pruning=wanda: expected inputs of texts by tokens in {name}, but got {tuple(args[0].shape)}; "
                "use pruning=magnitude"
            )
        seen.add(name)
        squares[name] = squares.get(name, 0) + args[0][real_BT].float().square().sum(dim=0)

    with ExitStack() as stack:
        for name, module in linears.items():
            stack.callback(module.register_forward_pre_hook(partial(add, name)).remove)
        yield
