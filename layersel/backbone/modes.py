"""A model's training and evaluation mode, and its adapters' absence, for the length of a block."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from layersel.errors import UserError


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Puts the model into evaluation mode within the block; each module's own mode returns afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[bool]:
    """Switches PEFT's adapters off within the block, and yields whether there are any; afterwards they are as before.

    PEFT's own `disable_adapter` would change which parameters require gradients, and undo a merge.

    Raises:
        UserError: They are merged into the weights.
    """
    parts = [part for part in model.modules() if isinstance(part, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    if any(isinstance(part, BaseTunerLayer) and part.merged for part in parts):
        raise UserError(
            "model: expected adapters beside the weights, but they are merged; use merge_and_unload() to have them in "
            "the scores, or unmerge_adapter() to score the model without them"
        )
    before = [part._disable_adapters for part in parts]
    for part in parts:
        part._disable_adapters = True
    try:
        yield bool(parts)
    finally:
        for part, own in zip(parts, before, strict=True):
            part._disable_adapters = own


@contextmanager
def adapters_scaled(parts: Iterable[nn.Module], factor: float) -> Iterator[None]:
    """Within the block PEFT's adapters in `parts` add `factor` times what they add to what their modules give.

    An adapted module y(x) gives W(x) + factor·(y(x) − W(x)), where W is the module without its adapter. Compiled
    modules run as they are written meanwhile, for else they would not see it.
    """

    def scale(layer: BaseTunerLayer, args: tuple[Any, ...], adapted: Tensor) -> Tensor:
        plain: Tensor = layer.get_base_layer()(*args)
        return plain + factor * (adapted - plain)

    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for part in parts:
            for module in part.modules():
                if isinstance(module, BaseTunerLayer):
                    stack.callback(module.register_forward_hook(scale).remove)
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts the model into evaluation mode, without gradients, within the block."""
    with eval_mode(model), torch.no_grad():
        yield
