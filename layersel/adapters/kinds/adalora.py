"""AdaLoRA (Zhang et al. 2023): the ranks of the modules are found in training, under a budget."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.kinds.lora import Lora

if TYPE_CHECKING:
    from peft import AdaLoraConfig, PeftModel

    from layersel.adapters.adalora_placed import AdaLoraPlaced
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class AdaLora(Lora):
    """W + (alpha/rank)·B·diag(E)·A; training zeroes the least important entries of E down to the target rank.

    The importance of a triplet is the product of the running means of |w·∇w| and of its deviation. The adapter is saved
    as the standard LoRA that is left.

    Reference: Zhang et al. 2023, "Adaptive budget allocation for parameter-efficient fine-tuning", equations 8 to 12.
    """

    rank: int = 12
    """Rank of every module at the start."""
    target_rank: int = 8
    """Mean rank of the modules at the end; below `rank`."""
    start: float = 0.1
    """Share of the training steps before ranks begin to fall."""
    end: float = 0.5
    """Share of the training steps after which ranks stay."""
    beta1: float = 0.85
    """Decay of the running mean of the importance."""
    beta2: float = 0.85
    """Decay of the running mean of its deviation."""
    orthogonality: float = 0.1
    """Weight of the penalty that keeps A and B orthogonal."""

    takes_ranks: ClassVar[bool] = False
    layers_apart: ClassVar[bool] = False

    def peft_config(self, selection: "Selection") -> "AdaLoraConfig":
        """Returns the PEFT configuration; the schedule is set when the number of training steps is known."""
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            init_r=self.rank,
            target_r=self.target_rank,
            lora_alpha=2 * self.rank if self.alpha is None else self.alpha,
            lora_dropout=self.dropout,
            beta1=self.beta1,
            beta2=self.beta2,
            orth_reg_weight=self.orthogonality,
            total_step=1,
            target_modules=selection.target_modules(self.projections),
        )

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns r·(d_in + d_out) and the r entries of E, of the rank at the start."""
        return super().module_parameters(outputs, inputs, projection) + self.rank

    def placed(self, backbone: "Backbone", layers: list[int], adapted: "PeftModel") -> "AdaLoraPlaced":
        """Returns an `AdaLoraPlaced`, which has the schedule of the ranks."""
        from layersel.adapters.adalora_placed import AdaLoraPlaced

        return AdaLoraPlaced(backbone, layers, adapted, self.start, self.end)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a schedule that leaves nothing to allocate among them."""
        found = super().problems()
        if not 1 <= self.target_rank < max(self.rank, 2):
            found.append(f"adapter.target_rank: expected 1 to {self.rank - 1}, below rank, but got {self.target_rank}")
        if not 0 <= self.start < self.end <= 1:
            found.append(f"adapter.end: expected 0 <= start < end <= 1, but got {self.start:g} and {self.end:g}")
        found += [
            f"adapter.{name}: expected 0 < beta < 1, but got {getattr(self, name):g}"
            for name in ("beta1", "beta2")
            if not 0 < getattr(self, name) < 1
        ]
        if self.orthogonality < 0:
            found.append(f"adapter.orthogonality: expected 0 or more, but got {self.orthogonality:g}")
        return found
