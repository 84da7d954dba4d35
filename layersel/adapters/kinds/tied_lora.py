"""Tied-LoRA (Renduchintala et al. 2023): two factors for all chosen layers, scaled by vectors of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.peft_adapter import PeftAdapter, dropout_problems, rank_problems
from layersel.errors import one_of

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel

    from layersel.adapters.placed import ExportedLora, PeftPlaced
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection

# Shapes: O outputs and I inputs of a fused matrix, R rank.

TRAINED, FROZEN, ABSENT = "trained", "frozen", "absent"
MATRIX, VECTOR = (TRAINED, FROZEN), (TRAINED, FROZEN, ABSENT)
STATES = {"b": MATRIX, "v": VECTOR, "u": VECTOR, "a": MATRIX}  # the first that is trained starts at 0

# Projections that read the same input: modules of the same row are rows of one fused matrix.
SAME_INPUT = (("query", "key", "value"), ("output",), ("gate", "up"), ("down",))


@dataclass
class TiedLora(PeftAdapter):
    """W_l + diag(v_l)·B·diag(u_l)·A in layer l, with A and B in common.

    The modules of a layer that read the same input (query, key and value; gate and up) are taken for one matrix: they
    share A and u_l, and each has rows of its own in B and v_l. So it does not matter whether a model fuses them.

    A and a frozen B start normally distributed, with variances 1/d_in and 1/rank, u and v at 1. B starts at 0 if it is
    trained, and otherwise the first of v, u and A that is, so that training starts from the pretrained model. The
    adapter is saved as a standard LoRA.

    Reference: Renduchintala et al. 2023, "Tied-LoRA: enhancing parameter efficiency of LoRA with weight tying",
    equation 2.
    """

    rank: int = 8
    """r, the inner dimension of A and B."""
    dropout: float = 0.0
    """Dropout of the adapter's input."""
    v: str = TRAINED
    """v, which scales the outputs in each layer: trained, frozen (at 1) or absent."""
    b: str = TRAINED
    """B, in common: trained or frozen."""
    u: str = TRAINED
    """u, which scales the inner dimensions in each layer: trained, frozen (at 1) or absent."""
    a: str = TRAINED
    """A, in common: trained or frozen."""

    layers_apart: ClassVar[bool] = False

    def peft_config(self, selection: "Selection") -> "LoraConfig":
        """Returns the configuration of the LoRA whose factors are then tied."""
        return selection.lora_config(
            r=self.rank, alpha=self.rank, projections=self.projections, lora_dropout=self.dropout
        )

    def place(self, backbone: "Backbone", selection: "Selection", generator: "torch.Generator") -> "PeftPlaced":
        """Places LoRA through PEFT and replaces its factors by tied ones.

        Raises:
            UserError: A projection does not have the same shape in all chosen layers.
        """
        from layersel.adapters.module_checks import check_same_shapes

        selection.target_modules(self.projections)
        groups = list(self._groups(selection))
        for names_by_layer in groups:
            check_same_shapes(backbone, names_by_layer)
        placed = super().place(backbone, selection, generator)
        for names_by_layer in groups:
            self._tie(backbone, names_by_layer, generator)
        return placed

    def placed(self, backbone: "Backbone", layers: list[int], adapted: "PeftModel") -> "ExportedLora":
        """Returns an `ExportedLora`, which is saved as a standard LoRA."""
        from layersel.adapters.placed import ExportedLora

        return ExportedLora(backbone, layers, adapted)

    def check_modules(self, backbone: "Backbone", names: list[str]) -> None:
        """Raises a `UserError` if the adapter does not fit these modules, the rank included."""
        from layersel.adapters.module_checks import check_rank

        super().check_modules(backbone, names)
        check_rank(backbone, names, self.rank)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, states that a factor cannot have among them."""
        found = super().problems() + rank_problems(self.rank) + dropout_problems(self.dropout)
        states = {name: getattr(self, name) for name in STATES}
        found += [
            str(one_of(f"adapter.{name}", states[name], known))
            for name, known in STATES.items()
            if states[name] not in known
        ]
        if TRAINED not in states.values():
            found.append("adapter.a, b, u, v: expected at least one to be trained, but got none; or use adapter=frozen")
        return found

    def _groups(self, selection: "Selection") -> Iterator[list[list[str]]]:
        """Yields, for each fused matrix, the names of its modules in every chosen layer."""
        for group in SAME_INPUT:
            wanted = [name for name in group if name in self.projections]
            if wanted:
                yield [
                    list(dict.fromkeys(selection.modules[layer][name] for name in wanted)) for layer in selection.layers
                ]

    def _tie(self, backbone: "Backbone", names_by_layer: list[list[str]], generator: "torch.Generator") -> None:
        import torch
        from torch import nn

        from layersel.adapters.scaled_rows import ScaledRows
        from layersel.backbone.layers import widths

        sizes = [widths(backbone.model.get_submodule(name).get_base_layer()) for name in names_by_layer[0]]
        outputs, inputs = sum(outputs for outputs, _ in sizes), sizes[0][1]

        def factor(name: str, value: torch.Tensor) -> nn.Parameter:
            start = torch.zeros_like(value) if name == self._zero else value
            return nn.Parameter(start.to(backbone.device), requires_grad=getattr(self, name) == TRAINED)

        def vector(name: str, size: int) -> nn.Parameter | None:
            return None if getattr(self, name) == ABSENT else factor(name, torch.ones(size))

        down_RI = factor("a", torch.randn(self.rank, inputs, generator=generator) / inputs**0.5)
        up_OR = factor("b", torch.randn(outputs, self.rank, generator=generator) / self.rank**0.5)
        for names in names_by_layer:
            inner_R, outer_O = vector("u", self.rank), vector("v", outputs)
            first = 0
            for name, (own, _) in zip(names, sizes, strict=True):
                layer = backbone.model.get_submodule(name)
                layer.lora_A["default"] = ScaledRows(down_RI, inner_R)
                layer.lora_B["default"] = ScaledRows(up_OR, outer_O, slice(first, first + own))
                first += own

    @property
    def _zero(self) -> str:
        """Returns the name of the factor that starts at 0."""
        return next(name for name in STATES if getattr(self, name) == TRAINED)
