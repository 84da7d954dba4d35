"""Layers that PyTorch compiles for a training."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from layersel.backbone.partial import giving

COMPILERS = ("g++", "c++", "clang++")


@contextmanager
def compiled(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within the block the layers run compiled, for texts of any length; afterwards as before."""
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(giving(layer, torch.compile(layer.forward, dynamic=True)))
        yield


def has_compiler() -> bool:
    """Returns whether there is a compiler of C++, without which PyTorch compiles nothing for the CPU."""
    return any(shutil.which(name) is not None for name in (os.environ.get("CXX", ""), *COMPILERS) if name)
