"""What scores share that are computed again of resamples of their probe, which tells how stable the choice is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import Measure
from layersel.terminal.tables import note

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Shapes: L layers, S bootstrap samples, N texts of the probe, or labelled batches that have a loss.


@dataclass
class ResampledScore(Measure):
    """A score that is computed again of bootstrap samples of its probe, from what it keeps of each text.

    A sample has as many texts as the probe, drawn with repeats, each as a whole. Of labelled batches the batch is what
    is drawn. No text passes through the model a second time.
    """

    bootstrap: int = 100
    """Resamples of the probe for the stability of the choice; 0 = none."""

    def draws(self, n_texts: int, generator: "torch.Generator") -> "Tensor | None":
        """Draws the texts of each sample (S×N); None without samples, and for one text, which has none but itself."""
        import torch

        if self.bootstrap == 0:
            return None
        if n_texts < 2:
            note(
                f"probe: selection={self.name} looks at one text or batch alone, so that nothing tells how stable the "
                "choice is; use more of them",
                once=True,
            )
            return None
        return torch.randint(n_texts, (self.bootstrap, n_texts), generator=generator)

    def resampled(
        self, n_texts: int, generator: "torch.Generator", of: "Callable[[Tensor], Tensor]"
    ) -> "Tensor | None":
        """Computes the scores of each sample (S×L); `of` gives those (L) of the texts (N indices) of one."""
        import torch

        draws_SN = self.draws(n_texts, generator)
        return None if draws_SN is None else torch.stack([of(rows) for rows in draws_SN])

    def resampled_means(self, parts_LN: "Tensor", generator: "torch.Generator") -> "Tensor | None":
        """Computes the scores of each sample (S×L), where they are the mean of a number for each layer and text."""
        return self.resampled(parts_LN.shape[1], generator, lambda rows: parts_LN[:, rows].mean(dim=1))

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, fewer resamples than none among them."""
        found = super().problems()
        if self.bootstrap < 0:
            found.append(f"selection.bootstrap: expected 0 or more, but got {self.bootstrap}")
        return found
