"""Adapters that PEFT places on projections of the chosen layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from peft import PeftConfig, PeftModel
from transformers.pytorch_utils import Conv1D

from layersel.adapters.adapter import Adapter
from layersel.adapters.placed import PeftPlaced
from layersel.adapters.placement import place, widths
from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import PROJECTIONS
from layersel.errors import UserError, one_of
from layersel.selection.selection import Selection


@dataclass
class PeftAdapter(Adapter):
    """An adapter on some projections of the chosen layers."""

    projections: list[str] = field(default_factory=lambda: ["query", "value"])
    """Which projections of a chosen layer: query, key, value, output, gate, up, down."""

    takes_conv1d: ClassVar[bool] = True
    """Whether PEFT's implementation is right on `Conv1D`, the linear layer of GPT-2."""
    seed_option: ClassVar[str | None] = None
    """The option of PEFT's configuration that seeds what is drawn without the global generator."""

    def peft_config(self, selection: Selection) -> PeftConfig:
        """The PEFT configuration for the chosen layers, with the full names of their modules."""
        raise NotImplementedError

    def place(self, backbone: Backbone, selection: Selection, generator: torch.Generator) -> PeftPlaced:
        """As `Adapter.place`, through PEFT."""
        config = self.peft_config(selection)
        self.check_modules(backbone, sorted(config.target_modules))
        if self.seed_option is not None:
            setattr(config, self.seed_option, int(torch.randint(2**31, (), generator=generator)))
        return self.placed(backbone, selection.layers, place(backbone, selection, config, generator))

    def placed(self, backbone: Backbone, layers: list[int], adapted: PeftModel) -> PeftPlaced:
        """What `place` returns."""
        return PeftPlaced(backbone, layers, adapted)

    def check_modules(self, backbone: Backbone, names: list[str]) -> None:
        """Raise a `UserError` if the adapter does not fit these modules."""
        if not self.takes_conv1d:
            check_linear(backbone, names, self.name)

    def problems(self) -> list[str]:
        """Projections that no model has, or none."""
        found = [
            str(one_of("adapter.projections", name, PROJECTIONS))
            for name in self.projections
            if name not in PROJECTIONS
        ]
        if not self.projections:
            found.append(f"adapter.projections: expected some of {', '.join(PROJECTIONS)}, but got none")
        return found


def rank_problems(rank: int) -> list[str]:
    """A rank below 1."""
    return (
        [] if rank >= 1 else [f"adapter.rank: expected at least 1, but got {rank}; use selection=none for no adapter"]
    )


def dropout_problems(dropout: float) -> list[str]:
    """A probability outside of [0, 1)."""
    return [] if 0 <= dropout < 1 else [f"adapter.dropout: expected 0 <= p < 1, but got {dropout:g}"]


def check_linear(backbone: Backbone, names: Sequence[str], kind: str) -> None:
    """Raise a `UserError` if one of the modules is a `Conv1D`."""
    for name in names:
        if isinstance(backbone.model.get_submodule(name), Conv1D):
            raise UserError(
                f"adapter: expected linear layers for {kind}, but {name} of {type(backbone.model).__name__} is a "
                "Conv1D; use adapter=lora, or a model without Conv1D"
            )


def check_same_shapes(backbone: Backbone, names_by_layer: Sequence[Sequence[str]]) -> None:
    """Raise a `UserError` if modules that are to share factors have other shapes in some layers than in the first."""
    for names in names_by_layer:
        for name, first in zip(names, names_by_layer[0], strict=True):
            shape, expected = (widths(backbone.model.get_submodule(module)) for module in (name, first))
            if shape != expected:
                raise UserError(
                    f"adapter.projections: expected the same shape in all layers that share factors, but {first} has "
                    f"{expected} and {name} {shape}; use adapter=lora"
                )


def check_rank(backbone: Backbone, names: Sequence[str], rank: int, option: str = "rank") -> None:
    """Raise a `UserError` if a rank is above that of one of the weight matrices."""
    least, name = min((min(widths(backbone.model.get_submodule(name))), name) for name in names)
    if rank > least:
        raise UserError(f"adapter.{option}: expected at most {least}, the smaller width of {name}, but got {rank}")
