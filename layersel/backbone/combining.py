"""Makes one vector of the pooled states of several layers, each brought to length 1.

Otherwise the layer with the largest norm would rule the cosine: in MiniLM the states of some layer are nearly three
times as long as those of the last one. Concatenation is that of Head2Toe (Evci et al. 2022), which normalises too.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from layersel.backbone.vector_layers import COMBINATIONS
from layersel.errors import one_of

# Shapes: B texts, D hidden size, K layers.

Combination = Callable[[Sequence[Tensor]], Tensor]


def mean_of_layers(pooled_KBD: Sequence[Tensor]) -> Tensor:
    """Computes the mean (B×D, float32) of the layers' vectors at length 1."""
    return torch.stack(_units(pooled_KBD)).mean(dim=0)


def concatenation_of_layers(pooled_KBD: Sequence[Tensor]) -> Tensor:
    """Puts the layers' vectors at length 1 side by side (B×KD, float32).

    The cosine of two concatenations is the mean of the cosines by each layer.
    """
    return torch.cat(_units(pooled_KBD), dim=1)


_NAMED: dict[str, Combination] = dict(zip(COMBINATIONS, (mean_of_layers, concatenation_of_layers), strict=True))


def combination_named(name: str) -> Combination:
    """Returns the combination of that name.

    Raises:
        UserError: The name is unknown.
    """
    if name not in _NAMED:
        raise one_of("combine", name, _NAMED)
    return _NAMED[name]


def _units(pooled_KBD: Sequence[Tensor]) -> list[Tensor]:
    return [normalize(pooled_BD.float(), dim=1) for pooled_BD in pooled_KBD]
