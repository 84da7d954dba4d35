"""LISA: a few layers drawn anew every few steps (Pan et al. 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass

from layersel.selection.regime import Regime, State


@dataclass
class Lisa(Regime):
    """Every `every` steps, `n` of the layers that carry an adapter are drawn and trained, while the others rest.

    The paper trains whole layers, and the embedding and the head always; here a drawn layer trains its adapter, and a
    task's own head is always trained. A resting adapter stays in the model as it is, and keeps its optimizer's means.
    The backward pass ends at the lowest layer that is drawn.

    Reference: Pan et al. 2024, "LISA: Layerwise importance sampling for memory-efficient large language model
    fine-tuning", algorithm 1, γ and K.
    """

    n: int = 2
    """Layers that are trained at a time."""
    every: int = 5
    """Steps after which they are drawn again."""

    def layers_at(self, step: int, layers: Sequence[int], seed: int, state: State) -> list[int]:
        """Returns the layers that the period of this step draws."""
        import torch

        from layersel.seeding import stream

        order = torch.randperm(len(layers), generator=stream(seed, f"layers of period {step // self.every}"))
        return sorted(layers[place] for place in order[: self.n])

    def line(self, layers: int) -> str:
        """Returns how many of the layers are trained at a time."""
        return f"lisa: {self.n} of the {layers} layers are trained at a time, drawn anew every {self.every} steps"

    def check(self, layers: int, steps: int) -> None:
        """Raises a `UserError` if more layers are to be drawn than there are."""
        self.check_n(self.n, layers)

    def problems(self) -> list[str]:
        """Returns one line for each option below 1."""
        counts = {"n": self.n, "every": self.every}
        return [f"regime.{name}: expected at least 1, but got {own}" for name, own in counts.items() if own < 1]
