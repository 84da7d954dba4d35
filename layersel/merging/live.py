"""A backbone that runs with merged weights, so that λ can be learnt through it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.merging.merge import AdapterChanges, checked_shapes

# Shapes: T adapters, L layers, O outputs and I inputs of a weight matrix.


def module_layers(backbone: Backbone) -> dict[str, int]:
    """Returns the layer of each projection of the backbone, by full module name."""
    return {name: layer for layer, named in enumerate(backbone.projections) for name in named.values()}


@contextmanager
def merged_live(
    backbone: Backbone, adapters: Sequence[AdapterChanges], layer_of: Mapping[str, int], weights_TL: Tensor
) -> Iterator[None]:
    """Within the block the backbone runs with W + Σ_t λ_{t,l}·ΔW_t, differentiable in λ.

    Args:
        backbone: The pretrained backbone, without an adapter in place; its own parameters stay what and where they are.
        adapters: The changes of each adapter.
        layer_of: The layer of every module that can be adapted, as from `module_layers`.
        weights_TL: λ (T×L).

    Raises:
        UserError: The adapters do not fit together (see `merge_adapters`), or a matrix has another shape than here.
    """
    names = checked_shapes(adapters, layer_of)
    modules = {name: backbone.model.get_submodule(name) for name in names}
    try:
        for name, module in modules.items():
            weighted = [
                weights_TL[row, layer_of[name]].to(module.weight) * adapter[name].dense.to(module.weight)
                for row, adapter in enumerate(adapters)
                if name in adapter
            ]
            # An instance's own attribute hides the parameter, which keeps its place and its order in the module.
            vars(module)["weight"] = _changed_weight(name, module, torch.stack(weighted).sum(0))
        yield
    finally:
        for module in modules.values():
            vars(module).pop("weight", None)


def _changed_weight(name: str, module: nn.Module, change_OI: Tensor) -> Tensor:
    """Returns W + ΔW in the orientation of the module's own weight."""
    weight: Tensor = module.get_parameter("weight")
    change = change_OI.T if isinstance(module, Conv1D) else change_OI
    if change.shape != weight.shape:
        expected, got = (" by ".join(map(str, matrix.shape)) for matrix in (weight, change))
        raise UserError(f"merging: {name} is {expected} in this model but {got} in the adapters")
    return weight + change
