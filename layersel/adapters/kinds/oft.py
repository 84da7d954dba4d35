"""OFT (Qiu et al. 2023): rotations of the inputs of a weight matrix, block by block."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.peft_adapter import PeftAdapter
from layersel.errors import UserError

if TYPE_CHECKING:
    from peft import OFTConfig

    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class Oft(PeftAdapter):
    """W·diag(R₁, …, R_k) with R_i = (I + Q_i)⁻¹·(I − Q_i) orthogonal, where Q_i is skew-symmetric and starts at 0.

    Reference: Qiu et al. 2023, "Controlling text-to-image diffusion by orthogonal finetuning", section 3.3.
    """

    block_size: int = 32
    """Width of a block R_i, which must divide the inputs of every adapted module."""

    counts_layers: ClassVar[bool] = True
    takes_conv1d: ClassVar[bool] = False

    def peft_config(self, selection: "Selection") -> "OFTConfig":
        """Returns the PEFT configuration, with the exact Cayley transform instead of its series."""
        from peft import OFTConfig

        return OFTConfig(
            oft_block_size=self.block_size,
            use_cayley_neumann=False,
            target_modules=selection.target_modules(self.projections),
        )

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns b·(b − 1)/2 for each of the d_in/b blocks."""
        return inputs * (self.block_size - 1) // 2

    def check_modules(self, backbone: "Backbone", names: list[str]) -> None:
        """Raises a `UserError` if the adapter does not fit these modules; PEFT would change the size of the blocks."""
        super().check_modules(backbone, names)
        for name in names:
            inputs = backbone.model.get_submodule(name).in_features
            if inputs % self.block_size:
                raise UserError(
                    f"adapter.block_size: expected a divisor of {inputs}, the inputs of {name}, but got "
                    f"{self.block_size}"
                )

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a block too small to rotate among them."""
        found = super().problems()
        if self.block_size < 2:
            found.append(f"adapter.block_size: expected at least 2, but got {self.block_size}")
        return found
