"""What quantisation did to a model."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from layersel.compression.quantisation.integer_grid import IntegerGrid
from layersel.compression.quantisation.race import Race


@dataclass(frozen=True)
class Quantised:
    """The outcome of quantisation.

    Attributes:
        format: The number format: int8, int8_weight or int4.
        grids: The grid of each module whose weight was rounded in place; names change when layers are dropped.
        race: What multiplies integers, and how fast that is here; None where nothing does.
        outlier_share: The share of input columns kept in fp32.
        cosine_median: The median cosine of the calibration texts' vectors with their fp32 vectors.
        cosine_min: The smallest of these cosines.
    """

    format: str
    grids: dict[nn.Module, IntegerGrid] = field(default_factory=dict)
    race: Race | None = None
    outlier_share: float = 0.0
    cosine_median: float = 1.0
    cosine_min: float = 1.0

    @property
    def effective(self) -> str:
        """Returns the precision reached, as a line for the user."""
        likeness = f"cosine to fp32 {self.cosine_median:.5f}, at least {self.cosine_min:.5f}"
        if self.race is None:
            return f"{self.format}, weights rounded in place; {likeness}"
        outliers = f"{self.outlier_share:.1%} outlier columns in fp32"
        return f"{self.format} dynamic, engine {self.race}, {outliers}; {likeness}"

    def report(self) -> dict[str, Any]:
        """Returns what was done, for logs."""
        return {
            "quantisation": self.effective,
            "engine": None if self.race is None else self.race.winner,
            "times as fast as fp32": None if self.race is None else self.race.speedup,
            "milliseconds": {} if self.race is None else self.race.milliseconds,
            "dropped engines, times as long as fp32": {} if self.race is None else self.race.dropped,
            "outlier share": self.outlier_share,
            "cosine median": self.cosine_median,
            "cosine min": self.cosine_min,
        }
