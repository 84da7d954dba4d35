"""A model's training and evaluation mode, and its adapters' absence, for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

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
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts the model into evaluation mode, without gradients, within the block."""
    with eval_mode(model), torch.no_grad():
        yield
