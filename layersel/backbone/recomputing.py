"""Layers whose activations are not kept for the backward pass but computed again in it (Chen et al. 2016)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from layersel.backbone.partial import giving


@contextmanager
def recomputed(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within the block each layer keeps only what enters it; dropout draws the same when it is computed again."""
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(giving(layer, _again(layer.forward)))
        yield


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
