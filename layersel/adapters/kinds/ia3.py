"""(IA)³ (Liu et al. 2022): trained factors of keys, values and the feed-forward layer's inner activations."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.peft_adapter import PeftAdapter

if TYPE_CHECKING:
    from peft import IA3Config

    from layersel.selection.selection import Selection


@dataclass
class IA3(PeftAdapter):
    """diag(l)·(W·x + c), where l starts at 1; for `down` W·diag(l)·x + c, for its input is what is scaled.

    Merged, it changes biases too.

    Reference: Liu et al. 2022, "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context
    learning", section 3.3.
    """

    projections: list[str] = field(default_factory=lambda: ["key", "value", "down"])
    """Which projections of a chosen layer: query, key, value, output, gate, up, down."""

    moves_biases: ClassVar[bool] = True
    counts_layers: ClassVar[bool] = True

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns one for each output, of `down` for each input."""
        return inputs if projection == "down" else outputs

    def peft_config(self, selection: "Selection") -> "IA3Config":
        """Returns the PEFT configuration for the chosen layers."""
        from peft import IA3Config

        return IA3Config(
            target_modules=selection.target_modules(self.projections),
            feedforward_modules=selection.target_modules([name for name in self.projections if name == "down"]),
        )
