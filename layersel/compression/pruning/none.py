"""No pruning: the model keeps all its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.compression.pruning.pruning import Pruning

if TYPE_CHECKING:
    import torch

    from layersel.backbone.backbone import Backbone
    from layersel.compression.pruning.pruned import Pruned
    from layersel.data.tokens import TokenIds


@dataclass
class NoPruning(Pruning):
    """This option leaves the model as it is."""

    prunes: ClassVar[bool] = False

    def prune(self, backbone: "Backbone", tokens: "Sequence[TokenIds]", generator: "torch.Generator") -> "Pruned":
        """Leaves the model as it is."""
        from layersel.compression.pruning.pruned import Pruned

        return Pruned()
