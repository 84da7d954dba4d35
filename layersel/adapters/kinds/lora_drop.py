"""LoRA-drop (Zhou et al. 2025): the chosen layers own a LoRA, all the others share one."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.kinds.lora import Lora

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from layersel.adapters.placed import ExportedLora, PeftPlaced
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class LoraDrop(Lora):
    """W + (alpha/rank)·B·A in every layer, where the layers that are not chosen have the same B and A.

    Each projection has a shared B and A of its own. The adapter is saved as a standard LoRA.

    Reference: Zhou et al. 2025, "LoRA-drop: efficient LoRA parameter pruning based on output evaluation", section 3.
    """

    takes_ranks: ClassVar[bool] = False
    layers_apart: ClassVar[bool] = False
    counts_layers: ClassVar[bool] = False

    def place(self, backbone: "Backbone", selection: "Selection", generator: "torch.Generator") -> "PeftPlaced":
        """Places LoRA in all layers, then lets those that are not chosen share one.

        Raises:
            UserError: A projection does not have the same shape in all layers that share.
        """
        from layersel.adapters.module_checks import check_same_shapes

        everywhere = replace(selection, layers=list(range(backbone.n_layers)))
        everywhere.target_modules(self.projections)
        sharing = [layer for layer in everywhere.layers if layer not in selection.layers]
        for projection in self.projections:
            check_same_shapes(backbone, [[selection.modules[layer][projection]] for layer in sharing])
        placed = super().place(backbone, everywhere, generator)
        for projection in self.projections:
            modules = [backbone.model.get_submodule(selection.modules[layer][projection]) for layer in sharing]
            for module in modules[1:]:
                module.lora_A["default"] = modules[0].lora_A["default"]
                module.lora_B["default"] = modules[0].lora_B["default"]
        return placed

    def placed(self, backbone: "Backbone", layers: list[int], adapted: "PeftModel") -> "ExportedLora":
        """Returns an `ExportedLora`, which is saved as a standard LoRA."""
        from layersel.adapters.placed import ExportedLora

        return ExportedLora(backbone, layers, adapted)
