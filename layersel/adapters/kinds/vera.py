"""VeRA (Kopiczko et al. 2024): random matrices that all layers share, and trained vectors of each layer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.peft_adapter import PeftAdapter, dropout_problems, rank_problems

if TYPE_CHECKING:
    from peft import VeraConfig

    from layersel.selection.selection import Selection


@dataclass
class Vera(PeftAdapter):
    """W + diag(b)·B·diag(d)·A with A, B random and frozen; b starts at 0, d at a constant.

    A module that is smaller than the largest one takes the first rows and columns of B and A.

    Reference: Kopiczko et al. 2024, "VeRA: vector-based random matrix adaptation", equation 2.
    """

    rank: int = 256
    """r, the inner dimension of A and B; only d grows with it, so it may be large."""
    dropout: float = 0.0
    """Dropout of the adapter's input."""
    d_initial: float = 0.1
    """The value that d starts at."""

    counts_layers: ClassVar[bool] = True
    seed_option: ClassVar[str] = "projection_prng_key"

    def peft_config(self, selection: "Selection") -> "VeraConfig":
        """Returns the PEFT configuration; the random matrices are saved too."""
        from peft import VeraConfig

        return VeraConfig(
            r=self.rank,
            vera_dropout=self.dropout,
            d_initial=self.d_initial,
            target_modules=selection.target_modules(self.projections),
        )

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns one for each output, and the rank."""
        return outputs + self.rank

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, numbers out of range among them."""
        found = super().problems() + rank_problems(self.rank) + dropout_problems(self.dropout)
        if self.d_initial == 0:
            found.append("adapter.d_initial: expected another number than 0, with which b has no gradient, but got 0")
        return found
