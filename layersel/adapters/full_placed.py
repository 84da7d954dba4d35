"""Layers whose own parameters are trained."""

from contextlib import AbstractContextManager
from pathlib import Path

from safetensors.torch import save_file

from layersel.adapters.change import Change
from layersel.adapters.originals import Originals
from layersel.adapters.placed import Placed
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.files import atomic_folder

LAYERS = "layers.safetensors"
"""The name of the file with the trained parameters."""


class FullPlaced(Placed):
    """Layers whose own parameters are trained, made while these are the pretrained ones, of which it keeps a copy."""

    def __init__(self, backbone: Backbone, layers: list[int]):
        super().__init__(backbone, layers)
        self._names = [
            name
            for name, parameter in backbone.model.named_parameters()
            if any(parameter is own for layer in layers for own in backbone.layers[layer].parameters())
        ]
        self._originals = Originals(backbone.model.get_parameter(name) for name in self._names)

    def disabled(self) -> AbstractContextManager[None]:
        """Within the block the layers have their pretrained parameters."""
        return self._originals.swapped_in()

    def merge(self) -> None:
        """Freezes the layers, whose weights are the trained ones already."""
        self.backbone.requires_grad_(False)

    def changes(self) -> dict[str, Change]:
        """Raises a `UserError`, since biases and norms change too."""
        raise UserError(
            "adapter=full: its changes are not only weight matrices (biases and norms change too), so they cannot be "
            "compared or merged with others; use adapter=lora"
        )

    def save(self, folder: Path) -> None:
        """Writes `layers.safetensors`, the parameters of the chosen layers by their full names."""
        parameters = {name: self.backbone.model.get_parameter(name).detach().cpu().contiguous() for name in self._names}
        with atomic_folder(folder) as draft:
            save_file(parameters, draft / LAYERS, metadata={"format": "pt"})
