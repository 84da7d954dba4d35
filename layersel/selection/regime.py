"""Which of the adapted layers are trained, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from layersel.config import Choice


@dataclass
class Regime(Choice):
    """A way to train the adapted layers, all of them or in turns."""

    moves: ClassVar[bool] = True
    """This flag says whether some layers rest while others are trained."""

    def layers_at(self, step: int, layers: Sequence[int], seed: int) -> list[int]:
        """Returns the layers, sorted, that a step trains, which depends on nothing else so that training can resume.

        Args:
            step: The number of the optimizer's step, from 0.
            layers: The layers that carry an adapter.
            seed: Of the draws.

        Raises:
            UserError: The regime wants more layers than there are.
        """
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, as far as shows without a model."""
        return []
