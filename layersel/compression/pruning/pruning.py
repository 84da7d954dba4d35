"""The base class of ways to prune a model in place, by unlabelled texts if a method needs any."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.config import Choice
from layersel.errors import UserError

if TYPE_CHECKING:
    import torch

    from layersel.backbone.backbone import Backbone
    from layersel.compression.pruning.pruned import Pruned
    from layersel.data.tokens import TokenIds


@dataclass
class Pruning(Choice):
    """A way to prune a model."""

    prunes: ClassVar[bool] = True
    """This flag says whether anything is pruned."""

    structured: ClassVar[bool] = False
    """This flag says whether whole layers are taken out, which makes the model faster; else weights become zero."""

    watches_inputs: ClassVar[bool] = False
    """This flag says whether the method looks at what enters the modules that it prunes."""

    def components(self) -> list[object]:
        """Returns the further options that compute what it does, whose code counts too."""
        return []

    def layers_left(self, depth: int) -> int:
        """Returns how many of a model's `depth` layers are left.

        Raises:
            UserError: None of them, as the options stand.
        """
        return depth

    def check(self, backbone: "Backbone") -> None:
        """Checks that the options fit the model, before anything slow starts.

        Raises:
            UserError: They do not.
        """

    def prune(self, backbone: "Backbone", tokens: "Sequence[TokenIds]", generator: "torch.Generator") -> "Pruned":
        """Prunes the model of `backbone` in place.

        Args:
            backbone: A plain model or one with adapters; of these only weight pruning takes it, and it prunes the
                pretrained weights, never those of an adapter.
            tokens: Token ids of all texts, without their labels: methods that look at texts draw theirs from them.
            generator: Makes every random draw.

        Returns:
            What was done, by which later steps leave the model pruned.

        Raises:
            UserError: The options do not fit the model, whose weights are then as before.
        """
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, as far as shows without a model."""
        return []


def drawn(tokens: "Sequence[TokenIds]", count: int, generator: "torch.Generator") -> "list[TokenIds]":
    """Returns `count` of the texts, or all of them if there are fewer, drawn without replacement.

    Raises:
        UserError: There is none.
    """
    if not tokens:
        raise UserError("pruning: expected texts to look at, but got none")
    import torch

    order = torch.randperm(len(tokens), generator=generator)[:count]
    return [tokens[index] for index in order.tolist()]
