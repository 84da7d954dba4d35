"""Every kind of adapter, sized for the tiny models, placed in two of their three layers."""

from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from models import padded, ragged, tiny
from torch import Tensor
from transformers import PreTrainedModel

from layersel.adapters.adapter import Adapter
from layersel.adapters.placed import Placed
from layersel.backbone.backbone import Backbone
from layersel.selection.score import score_named
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection

CHOSEN = [0, 2]
CONF = Path(__file__).parents[2] / "conf" / "adapter"
KINDS = sorted(path.stem for path in CONF.glob("*.yaml"))
ADAPTING = [name for name in KINDS if name != "frozen"]
ON_LINEAR_ONLY = ["oft", "olora", "shira"]
SIZES: dict[str, Any] = {"rank": 4, "target_rank": 2, "block_size": 8, "n_frequency": 50}


def kind_of(name: str) -> type[Adapter]:
    """The dataclass of a kind: the one that its module defines as an `Adapter`."""
    module = import_module(f"layersel.adapters.kinds.{name}")
    (kind,) = (
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Adapter) and item.__module__ == module.__name__
    )
    return kind


def adapter_of(name: str, model: PreTrainedModel, **options: Any) -> Adapter:
    """An adapter of that kind for a tiny model, on all of its projections."""
    kind = kind_of(name)
    sizes = SIZES | {"projections": list(selection_of(model).modules[0])} | options
    return kind(**{field.name: sizes[field.name] for field in fields(kind) if field.name in sizes})


def selection_of(model: PreTrainedModel, layers: list[int] | None = None) -> Selection:
    """Layers 0 and 2, or those given."""
    score = score_named("manual", layers=CHOSEN if layers is None else layers)
    return select_layers(model, [padded(model, ragged())], score=score, pooling="mean")


def vectors_of(backbone: Backbone) -> Tensor:
    """What the model makes of four texts, in evaluation mode."""
    with torch.no_grad():
        return backbone.eval()(padded(backbone.model, ragged()))


@dataclass(frozen=True)
class InPlace:
    """A tiny model with an adapter, and the vectors that it gave before there was one."""

    backbone: Backbone
    placed: Placed
    pretrained: Tensor

    @property
    def vectors(self) -> Tensor:
        """Those of the model as it is."""
        return vectors_of(self.backbone)

    def shaken(self, scale: float = 0.2) -> "InPlace":
        """With noise on everything that is trained, as if it were: no factor is 0 any more."""
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.backbone.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)
        return self


def in_place(name: str, architecture: str = "bert", layers: list[int] | None = None, **options: Any) -> InPlace:
    """An adapter of that kind in a fresh tiny model; a test of one whose extra is not installed is skipped."""
    if kind_of(name).quantised_base:
        pytest.importorskip("bitsandbytes")
    model = tiny(architecture)
    backbone = Backbone(model, None, "mean")
    pretrained = vectors_of(backbone)
    adapter = adapter_of(name, model, **options)
    placed = adapter.place(backbone, selection_of(model, layers), torch.Generator().manual_seed(0))
    return InPlace(backbone, placed, pretrained)
