"""LoRA (Hu et al. 2022) on the chosen layers."""

from dataclasses import dataclass, field

from peft import LoraConfig

from layersel.backbone.layers import PROJECTIONS
from layersel.errors import one_of
from layersel.selection import Selection


@dataclass
class Lora:
    """W + (alpha/rank)·B·A with A Gaussian-uniform and B zero at the start."""

    rank: int = 8
    """r, the inner dimension of A and B."""
    alpha: float | None = None
    """Scale of the update, alpha/rank; null = 2·rank."""
    dropout: float = 0.0
    """Dropout of the adapter's input."""
    projections: list[str] = field(default_factory=lambda: ["query", "value"])
    """Which projections of a chosen layer: query, key, value, output, gate, up, down."""

    def peft_config(self, selection: Selection) -> LoraConfig:
        """The PEFT configuration for the chosen layers."""
        return selection.lora_config(
            r=self.rank, alpha=self.alpha, projections=self.projections, lora_dropout=self.dropout
        )

    def problems(self) -> list[str]:
        """What is wrong with the options, as far as can be seen without a model."""
        found = []
        if self.rank < 1:
            found.append(f"adapter.rank: expected at least 1, but got {self.rank}; use selection=none for no adapter")
        if self.alpha is not None and self.alpha <= 0:
            found.append(f"adapter.alpha: expected a number above 0, but got {self.alpha:g}")
        if not 0 <= self.dropout < 1:
            found.append(f"adapter.dropout: expected 0 <= p < 1, but got {self.dropout:g}")
        found += [
            str(one_of("adapter.projections", name, PROJECTIONS))
            for name in self.projections
            if name not in PROJECTIONS
        ]
        if not self.projections:
            found.append(f"adapter.projections: expected some of {', '.join(PROJECTIONS)}, but got none")
        return found
