"""FourierFT (Gao et al. 2024): a change of the weights with few frequencies."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.peft_adapter import PeftAdapter
from layersel.errors import UserError

if TYPE_CHECKING:
    from peft import FourierFTConfig

    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class FourierFT(PeftAdapter):
    """W + scaling·Re(IDFT₂(F)), where F has n trained entries at random places, the same for all modules of a shape.

    They start at 0, not normally distributed as in the paper, so that training starts from the pretrained model.

    Reference: Gao et al. 2024, "Parameter-efficient fine-tuning with discrete Fourier transform", equations 2 to 4.
    """

    n_frequency: int = 1000
    """n, the number of trained frequencies of a matrix."""
    scaling: float = 150.0
    """Factor of the change; it makes up for the small entries of an inverse transform."""

    counts_layers: ClassVar[bool] = True
    seed_option: ClassVar[str] = "random_loc_seed"

    def peft_config(self, selection: "Selection") -> "FourierFTConfig":
        """Returns the PEFT configuration for the chosen layers."""
        from peft import FourierFTConfig

        return FourierFTConfig(
            n_frequency=self.n_frequency,
            scaling=self.scaling,
            init_weights=True,
            target_modules=selection.target_modules(self.projections),
        )

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns the number of frequencies."""
        return self.n_frequency

    def check_modules(self, backbone: "Backbone", names: list[str]) -> None:
        """Raises a `UserError` if the adapter does not fit these modules, or one has fewer frequencies than n."""
        super().check_modules(backbone, names)
        for name in names:
            size = backbone.model.get_submodule(name).weight.numel()
            if self.n_frequency > size:
                raise UserError(
                    f"adapter.n_frequency: expected at most {size}, the size of {name}, but got {self.n_frequency}"
                )

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, numbers out of range among them."""
        found = super().problems()
        if self.n_frequency < 1:
            found.append(f"adapter.n_frequency: expected at least 1, but got {self.n_frequency}")
        if self.scaling <= 0:
            found.append(f"adapter.scaling: expected a number above 0, but got {self.scaling:g}")
        return found
