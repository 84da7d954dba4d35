"""What quantisation did to a model."""

from dataclasses import dataclass, field
from typing import Any

from layersel.compression.quantisation.integer_grid import IntegerGrid


@dataclass(frozen=True)
class Quantised:
    """The outcome of quantisation.

    Attributes:
        format: The number format: int8, int8_weight or int4.
        grids: The grid of each weight that was rounded in place, by its name in the base model without adapters.
        engine: The name of what multiplies integers; None where nothing does.
        milliseconds: The time of each engine and of fp32 for the same texts, where they were timed.
        outlier_share: The share of input columns kept in fp32.
        cosine_median: The median cosine of the calibration texts' vectors with their fp32 vectors.
        cosine_min: The smallest of these cosines.
    """

    format: str
    grids: dict[str, IntegerGrid] = field(default_factory=dict)
    engine: str | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)
    outlier_share: float = 0.0
    cosine_median: float = 1.0
    cosine_min: float = 1.0

    @property
    def effective(self) -> str:
        """Returns the precision reached, as a line for the user."""
        likeness = f"cosine to fp32 {self.cosine_median:.5f}, at least {self.cosine_min:.5f}"
        if self.engine is None:
            return f"{self.format}, weights rounded in place; {likeness}"
        times = ", ".join(f"{name} {taken:.0f} ms" for name, taken in self.milliseconds.items())
        timed = f" ({times})" if times else ""
        outliers = f"{self.outlier_share:.1%} outlier columns in fp32"
        return f"{self.format} dynamic, engine {self.engine}{timed}, {outliers}; {likeness}"

    def report(self) -> dict[str, Any]:
        """Returns what was done, for logs."""
        return {
            "quantisation": self.effective,
            "engine": self.engine,
            "milliseconds": self.milliseconds,
            "outlier share": self.outlier_share,
            "cosine median": self.cosine_median,
            "cosine min": self.cosine_min,
        }
