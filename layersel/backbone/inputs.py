"""What enters the linear modules of a backbone while texts pass through it, real tokens only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError

# Shapes: B texts, T tokens, N real tokens, I inputs of a linear module.


def add_squares(squares: dict[str, Tensor], name: str, inputs_NI: Tensor) -> None:
    """Adds the squares of a module's inputs, summed over the tokens, to those of earlier batches (I, float32)."""
    squares[name] = squares.get(name, 0) + inputs_NI.float().square().sum(dim=0)


@contextmanager
def seeing_inputs(
    backbone: Backbone, linears: Mapping[str, nn.Module], see: Callable[[str, Tensor], None], user: str, instead: str
) -> Iterator[None]:
    """Within the block `see` is given what enters each linear module, for each batch that the backbone runs.

    Only the first call of a module in a batch counts: DeBERTa's attention sends its relative positions through the same
    weights. Modules that one after the other are given the same tensor, as query, key and value are, have `see` given
    the same tensor too.

    Args:
        backbone: The model.
        linears: Some of its linear modules, by name.
        see: Is given the module's name and the inputs of the real tokens (N×I), with their gradients if there are any.
        user: What asks for them, such as `pruning=wanda`; it begins the line of an error.
        instead: What does without them; it ends the line.

    Raises:
        UserError: A module is given something else than tokens of texts.
    """
    seen: set[str] = set()
    masks: list[Tensor] = []
    last: list[tuple[Tensor, Tensor]] = []

    def begin(_: nn.Module, __: Sequence[Any], named: Mapping[str, Any]) -> None:
        seen.clear()
        last.clear()
        mask_BT = named.get("attention_mask")  # none where only the head of a language model runs
        masks[:] = [] if mask_BT is None else [mask_BT.bool()]

    def enter(name: str, _: nn.Module, args: Sequence[Tensor]) -> None:
        if name in seen:
            return
        (real_BT,) = masks
        if args[0].shape[:2] != real_BT.shape:
            raise UserError(
                f"{user}: expected inputs of texts by tokens in {name}, but got {tuple(args[0].shape)}; use {instead}"
            )
        seen.add(name)
        if not last or last[0][0] is not args[0]:
            last[:] = [(args[0], args[0][real_BT])]
        see(name, last[0][1])

    with ExitStack() as stack:
        base = backbone.model.base_model
        stack.callback(base.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for name, module in linears.items():
            stack.callback(module.register_forward_pre_hook(partial(enter, name)).remove)
        yield
