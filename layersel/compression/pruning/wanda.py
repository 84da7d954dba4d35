"""Wanda: pruning by weights and activations (Sun et al. 2023)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.encode import token_batches
from layersel.backbone.layers import weight_OI
from layersel.backbone.modes import evaluating
from layersel.compression.pruning.pruning import drawn
from layersel.compression.pruning.weight_pruning import Linears, WeightPruning
from layersel.data.tokens import TokenIds
from layersel.errors import UserError
from layersel.terminal.progress import progress

# Shapes: B texts, T tokens, D hidden size, N real tokens; O outputs, I inputs of a linear layer.


@dataclass
class Wanda(WeightPruning):
    """The lowest |W|·‖X‖ of each output become zero, X being the inputs on calibration records.

    Blocks are pruned one after the other, each by the inputs that it gets from the pruned ones before it. Adapters are
    active meanwhile.

    Reference: Sun et al. 2023, "A simple and effective pruning approach for large language models", eq. 1.
    """

    calibration: int = 128
    """Records to calibrate on, drawn from all of the review; their labels are never looked at."""

    watches_inputs: ClassVar[bool] = True

    def zero_layers(
        self, backbone: Backbone, layers: Sequence[Linears], tokens: Sequence[TokenIds], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """As `WeightPruning.zero_layers`; each block runs twice, and hidden states of one depth are in memory."""
        masks: dict[str, Tensor] = {}
        backbone.check_split()
        batches = token_batches(backbone, drawn(tokens, self.calibration, generator))
        with evaluating(backbone):
            states = [backbone.prefix(batch, 0) for batch in batches]
            for layer, linears in enumerate(progress(layers, "pruning")):
                norms = _input_norms(backbone, layer, linears, batches, states)
                for name, module in linears.items():
                    masks[name] = self.zero_lowest(module, wanda_scores(weight_OI(module), norms[name]))
                if layer + 1 < len(layers):
                    for index, batch in enumerate(batches):
                        states[index] = backbone.advance(batch, layer, states[index])
        return masks

    def problems(self) -> list[str]:
        """As `WeightPruning.problems`, and no records to calibrate on."""
        count = self.calibration
        return super().problems() + (
            [] if count >= 1 else [f"pruning.calibration: expected at least 1, but got {count}"]
        )


def wanda_scores(weight_OI: Tensor, norms_I: Tensor) -> Tensor:
    """S_ij = |W_ij|·‖X_j‖₂ (eq. 1), O×I.

    Example:
        >>> wanda_scores(torch.tensor([[1.0, -2.0]]), torch.tensor([8.0, 3.0]))
        tensor([[8., 6.]])
    """
    return weight_OI.abs() * norms_I


def _input_norms(
    backbone: Backbone, layer: int, linears: Linears, batches: Sequence[Batch], states: Sequence[Tensor]
) -> dict[str, Tensor]:
    """‖X_j‖₂ over all real tokens for each input j of the linear modules in a block, given the states that enter it."""
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
    """Within the block, add the sum over real tokens of the squared inputs of each module to `squares`.

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
