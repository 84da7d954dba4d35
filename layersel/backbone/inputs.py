"""What enters the linear modules of a backbone while texts pass through it, real tokens only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError

# Shapes: B texts, T tokens, N real tokens, I inputs of a linear module.


@contextmanager
def seeing_inputs(
    backbone: Backbone, linears: Mapping[str, nn.Module], see: Callable[[str, Tensor], None], user: str, instead: str
) -> Iterator[None]:
    """Within the block `see` is given what enters each linear module, for each batch that the backbone runs.

    Only the first call of a module in a batch counts: DeBERTa's attention sends its relative positions through the same
    weights.

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

    def begin(_: nn.Module, __: Sequence[Any], named: Mapping[str, Any]) -> None:
        seen.clear()
        masks[:] = [named["attention_mask"].bool()]

    def enter(name: str, _: nn.Module, args: Sequence[Tensor]) -> None:
        if name in seen:
            return
        (real_BT,) = masks
        if args[0].shape[:2] != real_BT.shape:
            raise UserError(
                f"{user}: expected inputs of texts by tokens in {name}, but got {tuple(args[0].shape)}; use {instead}"
            )
        seen.add(name)
        see(name, args[0][real_BT])

    with ExitStack() as stack:
        base = backbone.model.base_model
        stack.callback(base.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for name, module in linears.items():
            stack.callback(module.register_forward_pre_hook(partial(enter, name)).remove)
        yield
