"""Adapters that PEFT places on projections of the chosen layers."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.adapter import Adapter
from layersel.backbone.projection_names import PROJECTIONS
from layersel.errors import one_of

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel

    from layersel.adapters.placed import PeftPlaced
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class PeftAdapter(Adapter):
    """An adapter on some projections of the chosen layers."""

    projections: list[str] = field(default_factory=lambda: ["query", "value"])
    """Which projections of a chosen layer: query, key, value, output, gate, up, down."""

    takes_conv1d: ClassVar[bool] = True
    """This flag says whether PEFT's implementation is right on `Conv1D`, the linear layer of GPT-2."""
    seed_option: ClassVar[str | None] = None
    """The option of PEFT's configuration that seeds what is drawn without the global generator."""

    def peft_config(self, selection: "Selection") -> "PeftConfig":
        """Returns the PEFT configuration for the chosen layers, with the full names of their modules."""
        raise NotImplementedError

    def place(self, backbone: "Backbone", selection: "Selection", generator: "torch.Generator") -> "PeftPlaced":
        """Places the adapter through PEFT."""
        import torch

        from layersel.adapters.placement import place

        config = self.peft_config(selection)
        self.check_modules(backbone, sorted(config.target_modules))
        if self.seed_option is not None:
            setattr(config, self.seed_option, int(torch.randint(2**31, (), generator=generator)))
        return self.placed(backbone, selection.layers, place(backbone, selection, config, generator))

    def placed(self, backbone: "Backbone", layers: list[int], adapted: "PeftModel") -> "PeftPlaced":
        """Returns the object with which the placed adapter is used; `place` returns it."""
        from layersel.adapters.placed import PeftPlaced

        return PeftPlaced(backbone, layers, adapted)

    def layer_parameters(self, backbone: "Backbone") -> list[int] | None:
        """Returns how many parameters the adapter would train in each layer; None where that is not counted.

        Raises:
            UserError: A layer lacks a projection that the adapter stands on.
        """
        from layersel.backbone.layers import linear_modules, modules_of, widths

        if not self.counts_layers:
            return None
        linears, counts = linear_modules(backbone.model), []
        for named in backbone.projections:
            standing = dict(zip(modules_of(named, self.projections), self.projections, strict=True))
            own = [self.module_parameters(*widths(linears[name]), projection) for name, projection in standing.items()]
            counts.append(sum(own))
        return counts

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns how many parameters are trained in a module of these widths, by a kind that counts."""
        raise NotImplementedError

    def check_modules(self, backbone: "Backbone", names: list[str]) -> None:
        """Raises a `UserError` if the adapter does not fit these modules."""
        from layersel.adapters.module_checks import check_linear

        if not self.takes_conv1d:
            check_linear(backbone, names, self.name)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: projections that no model has, or none."""
        found = [
            str(one_of("adapter.projections", name, PROJECTIONS))
            for name in self.projections
            if name not in PROJECTIONS
        ]
        if not self.projections:
            found.append(f"adapter.projections: expected some of {', '.join(PROJECTIONS)}, but got none")
        return found


def rank_problems(rank: int) -> list[str]:
    """Returns a line for a rank below 1."""
    return (
        [] if rank >= 1 else [f"adapter.rank: expected at least 1, but got {rank}; use selection=none for no adapter"]
    )


def dropout_problems(dropout: float) -> list[str]:
    """Returns a line for a probability outside of [0, 1)."""
    return [] if 0 <= dropout < 1 else [f"adapter.dropout: expected 0 <= p < 1, but got {dropout:g}"]
