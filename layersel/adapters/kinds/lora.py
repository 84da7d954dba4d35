"""LoRA (Hu et al. 2022): low-rank updates of the chosen layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.adapters.peft_adapter import PeftAdapter, dropout_problems, rank_problems

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

    from layersel.adapters.placed import PeftPlaced
    from layersel.backbone.backbone import Backbone
    from layersel.selection.rank_rule import RankRule
    from layersel.selection.selection import Selection


@dataclass
class Lora(PeftAdapter):
    """W + (alpha/rank)·B·A with A uniform and B zero at the start.

    Reference: Hu et al. 2022, "LoRA: low-rank adaptation of large language models", equation 3.
    """

    rank: int = 8
    """r, the inner dimension of A and B."""
    alpha: float | None = None
    """Scale of the update, alpha/rank; null = 2·rank."""
    dropout: float = 0.0
    """Dropout of the adapter's input."""

    takes_ranks: ClassVar[bool] = True
    """This flag says whether each module may have a rank of its own."""
    counts_layers: ClassVar[bool] = True
    options: ClassVar[dict[str, Any]] = {}
    """Further options of `peft.LoraConfig`, by which a variant differs from LoRA."""

    def peft_config(self, selection: "Selection") -> "LoraConfig":
        """Returns the PEFT configuration for the chosen layers."""
        return selection.lora_config(
            r=self.rank, alpha=self.alpha, projections=self.projections, lora_dropout=self.dropout, **self.options
        )

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns r·(d_in + d_out)."""
        return self.rank * (outputs + inputs)

    def with_ranks(self, selection: "Selection", ranks: "RankRule") -> "Selection":
        """Returns the selection with the ranks that a rule gives to the modules that are adapted."""
        return ranks.allocate(super().with_ranks(selection, ranks), self.rank, self.projections)

    def ranks_problem(self, ranks: "RankRule") -> str | None:
        """Returns the line on a rule of ranks that cannot share out the parameters of this rank; None if it can."""
        return ranks.rank_problem(self.rank) if self.takes_ranks else super().ranks_problem(ranks)

    def placed(self, backbone: "Backbone", layers: list[int], adapted: "PeftModel") -> "PeftPlaced":
        """Returns a `LoraPlaced`: the change has low rank."""
        from layersel.adapters.placed import LoraPlaced

        return LoraPlaced(backbone, layers, adapted)

    def check_modules(self, backbone: "Backbone", names: list[str]) -> None:
        """Raises a `UserError` if the adapter does not fit these modules, the rank included."""
        from layersel.adapters.module_checks import check_rank

        super().check_modules(backbone, names)
        check_rank(backbone, names, self.rank)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, numbers out of range among them."""
        found = rank_problems(self.rank)
        if self.alpha is not None and self.alpha <= 0:
            found.append(f"adapter.alpha: expected a number above 0, but got {self.alpha:g}")
        return found + dropout_problems(self.dropout) + super().problems()
