"""SHiRA (Bhardwaj et al. 2024): a sparse change of the weights at random places."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.peft_adapter import PeftAdapter, rank_problems
from layersel.errors import UserError

if TYPE_CHECKING:
    from peft import ShiraConfig

    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class Shira(PeftAdapter):
    """W + S, where S has rank·(d_in + d_out) trained entries, as many as LoRA has parameters; they start at 0.

    Modules of the same shape have them at the same places.

    Reference: Bhardwaj et al. 2024, "Sparse high rank adapters", section 3 (SHiRA-Rand).
    """

    rank: int = 8
    """Sets the number of entries; the rank of S is not limited by it."""

    bypasses_modules: ClassVar[bool] = True
    takes_conv1d: ClassVar[bool] = False
    counts_layers: ClassVar[bool] = True
    seed_option: ClassVar[str] = "random_seed"

    def peft_config(self, selection: "Selection") -> "ShiraConfig":
        """Returns the PEFT configuration for the chosen layers."""
        from peft import ShiraConfig

        return ShiraConfig(r=self.rank, target_modules=selection.target_modules(self.projections))

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns the number of entries."""
        return self.rank * (outputs + inputs)

    def check_modules(self, backbone: "Backbone", names: list[str]) -> None:
        """Raises a `UserError` if the adapter does not fit these modules, or one has too few entries."""
        super().check_modules(backbone, names)
        for name in names:
            outputs, inputs = backbone.model.get_submodule(name).weight.shape
            most = outputs * inputs // (outputs + inputs)
            if self.rank > most:
                raise UserError(
                    f"adapter.rank: expected at most {most}, with which every entry of {name} is trained, but got "
                    f"{self.rank}"
                )

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, the rank among them."""
        return super().problems() + rank_problems(self.rank)
