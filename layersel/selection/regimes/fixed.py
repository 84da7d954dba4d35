"""All adapted layers in every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from layersel.selection.regime import Regime, State


@dataclass
class Fixed(Regime):
    """Every step trains all layers that carry an adapter."""

    moves: ClassVar[bool] = False

    def layers_at(self, step: int, layers: Sequence[int], seed: int, state: State) -> list[int]:
        """Returns all of them."""
        return list(layers)
