"""The base class of adapters, whose options place something trainable in the chosen layers of a backbone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.config import Choice
from layersel.errors import UserError

if TYPE_CHECKING:
    import torch

    from layersel.adapters.placed import Placed
    from layersel.backbone.backbone import Backbone
    from layersel.selection.rank_rule import RankRule
    from layersel.selection.selection import Selection


@dataclass
class Adapter(Choice):
    """Options of a kind of adapter."""

    trains: ClassVar[bool] = True
    """This flag says whether an adapter of the kind has trainable parameters."""
    keeps_modules: ClassVar[bool] = True
    """This flag says whether modules of the adapter's own stand beside the model's after the training."""
    bypasses_modules: ClassVar[bool] = False
    """This flag says whether the adapter has a pass of its own, so that no text enters the modules that it adapts."""
    moves_base: ClassVar[bool] = False
    """This flag says whether placing or training the adapter changes the pretrained weights themselves."""
    moves_biases: ClassVar[bool] = False
    """This flag says whether the adapter changes biases too, so that weight changes are not all of it."""
    layers_apart: ClassVar[bool] = True
    """This flag says whether layers can be trained apart: they share no parameters and are not compared meanwhile."""
    quantised_base: ClassVar[bool] = False
    """This flag says whether the adapter's base has quantised weights."""
    counts_layers: ClassVar[bool] = False
    """This flag says whether `layer_parameters` counts: layers share nothing, and what each trains is known before."""

    def place(self, backbone: "Backbone", selection: "Selection", generator: "torch.Generator") -> "Placed":
        """Freezes the model and puts the adapter into the chosen layers, of which there is at least one.

        Of the selection it looks at the layers, their modules and the ranks alone: cells that agree in these share a
        training.

        Args:
            backbone: The backbone with the pretrained model, on its device.
            selection: The chosen layers and the names of their projections.
            generator: Draws the initial values.

        Raises:
            UserError: The options do not fit this model: a projection that it lacks, a rank above its width.
        """
        raise NotImplementedError

    def layer_parameters(self, backbone: "Backbone") -> list[int] | None:
        """Returns how many parameters the adapter would train in each layer; None where that is not counted.

        Raises:
            UserError: A layer lacks a projection that the adapter stands on.
        """
        return None

    def with_ranks(self, selection: "Selection", ranks: "RankRule") -> "Selection":
        """Returns the selection with the ranks that a rule gives to the modules that are adapted.

        Raises:
            UserError: The modules of this kind have no ranks of their own, or the rule gives none.
        """
        problem = self.ranks_problem(ranks)
        if problem is not None:
            raise UserError(problem)
        return selection

    def ranks_problem(self, ranks: "RankRule") -> str | None:
        """Returns the line on a rule of ranks that this kind cannot follow; None if it can."""
        if not ranks.allocates:
            return None
        return (
            f"ranks={ranks.name}: adapter={self.name} does not take a rank for each module; use ranks=uniform, or "
            "adapter=lora, dora, rslora, pissa, olora or qlora"
        )

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, as far as shows without a model."""
        return []
