"""An adapter in a model: it is switched off and on, trained, merged, compared with the pretrained weights, saved."""

import copy
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from layersel.adapters.change import Change
from layersel.adapters.factoring import svd_of
from layersel.adapters.originals import Originals
from layersel.adapters.saving import save_adapter, save_lora
from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import weight_OI
from layersel.errors import UserError
from layersel.selection.gradients import squared_norm, squared_norm_of_product

# Shapes: O outputs and I inputs of a weight matrix, R rank.


class Placed:
    """An adapter in the layers of a backbone.

    Attributes:
        backbone: The backbone that carries it.
        layers: Indices of the layers that it can change, sorted.
    """

    def __init__(self, backbone: Backbone, layers: list[int]):
        self.backbone = backbone
        self.layers = layers

    def disabled(self) -> AbstractContextManager[None]:
        """Within the block the model gives the pretrained model's outputs."""
        raise NotImplementedError

    def train_mode(self) -> None:
        """Turns the adapter's own dropout on, whatever mode the rest of the model is in."""

    def begin(self, n_steps: int) -> None:
        """Prepares a training; called once before the first of `n_steps` optimizer steps."""

    def state(self) -> dict[str, Any]:
        """Returns what it keeps between steps beside its parameters: tensors and plain values, for checkpoints."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores an earlier `state`, which may be empty; called after `begin`, or when the training is over."""

    def penalty(self) -> Tensor | None:
        """Returns what the adapter adds to the loss of a step; None for nothing."""
        return None

    def after_step(self, step: int) -> None:
        """Reacts to the optimizer's step `step`, counted from 0, while its gradients are still there.

        In Lightning that is `on_train_batch_end`: gradients are dropped within the next step, after its forward pass.
        """

    def merge(self) -> None:
        """Puts the adapter into the weights: a plain frozen model remains, and this object is of no further use.

        Raises:
            UserError: The weights cannot take it.
        """
        raise NotImplementedError

    def changes(self) -> dict[str, Change]:
        """Returns ΔW of each changed weight matrix, by the full name of its module; the model stays as it is.

        Raises:
            UserError: What it changes is not only matrices.
        """
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Writes the adapter so that `load_adapter` restores it; a folder that stands there is replaced whole."""
        raise NotImplementedError


class Unadapted(Placed):
    """This class stands for a model without an adapter: there is nothing to switch off, to merge or to save."""

    def __init__(self, backbone: Backbone):
        super().__init__(backbone, [])

    def disabled(self) -> AbstractContextManager[None]:
        """Changes nothing."""
        return nullcontext()

    def merge(self) -> None:
        """Changes nothing."""

    def changes(self) -> dict[str, Change]:
        """Returns no change."""
        return {}

    def save(self, folder: Path) -> None:
        """Writes nothing: the pretrained model is all there is."""


class PeftPlaced(Placed):
    """An adapter that PEFT has placed, saved in its own format.

    Attributes:
        adapted: PEFT's wrapper of `backbone.model`.
    """

    def __init__(self, backbone: Backbone, layers: list[int], adapted: PeftModel):
        super().__init__(backbone, layers)
        self.adapted = adapted

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Bypasses the adapters; what was trainable is so again afterwards, which PEFT alone would not keep."""
        trainable = [(parameter, parameter.requires_grad) for parameter in self.adapted.parameters()]
        try:
            with self.adapted.disable_adapter():
                yield
        finally:
            for parameter, flag in trainable:
                parameter.requires_grad_(flag)

    def train_mode(self) -> None:
        """Turns on the dropout inside PEFT's layers, in which nothing else depends on the mode."""
        for _, layer in self._tuners():
            layer.train()

    def merge(self) -> None:
        """Merges through PEFT, which puts the plain modules back under their names."""
        self.adapted.merge_and_unload()
        self.backbone.requires_grad_(False)

    def changes(self) -> dict[str, Change]:
        """Returns ΔW from merged copies of the adapted modules, made one at a time."""
        return {name: self._change(name, layer) for name, layer in self._tuners()}

    def squared_changes(self) -> dict[str, float]:
        """Computes ‖ΔW‖²_F of each adapted weight matrix by the full name of its module, one at a time.

        Raises:
            UserError: What it changes is not only matrices.
        """
        return {name: squared_norm(self._change(name, layer).dense) for name, layer in self._tuners()}

    def keep(self, layers: Collection[int]) -> None:
        """Takes the adapter out of all layers but these, of which there is at least one; others are as pretrained.

        What is saved afterwards names the modules of these layers only. It is for adapters that stand beside weights
        which they leave as they are, and are of one rank everywhere.
        """
        model = self.backbone.model
        kept = {id(part) for layer in layers for part in self.backbone.layers[layer].modules()}
        for name, part in self._tuners():
            if id(part) not in kept:
                model.set_submodule(name, part.get_base_layer())
        for config in self.adapted.peft_config.values():
            config.target_modules = {name for name, _ in self._tuners()}
        self.layers = sorted(layers)

    def save(self, folder: Path) -> None:
        """Writes a plain PEFT folder."""
        save_adapter(self.adapted, folder)

    def _change(self, name: str, layer: BaseTunerLayer) -> Change:
        merged = copy.deepcopy(layer)
        merged.merge()
        before, after = (getattr(part.get_base_layer(), "bias", None) for part in (layer, merged))
        if before is not None and after is not None and not torch.equal(before, after):
            raise UserError("adapter: it changes biases too, so weight changes are not all of it; use adapter=lora")
        return Change(weight_of(merged) - weight_of(layer))

    def _tuners(self) -> list[tuple[str, BaseTunerLayer]]:
        """Returns PEFT's layers, by the names that their modules have in the plain model."""
        return [(name, part) for name, part in self.backbone.model.named_modules() if isinstance(part, BaseTunerLayer)]


class LoraPlaced(PeftPlaced):
    """Adapters that add scale·B·A to the weight, and nothing else."""

    def changes(self) -> dict[str, Change]:
        """Returns ΔW with its factors."""
        return {name: Change.low_rank(*factors) for name, factors in self.factors().items()}

    def squared_changes(self) -> dict[str, float]:
        """Computes ‖ΔW‖²_F of each adapted weight matrix by the full name of its module, from the factors."""
        return {name: squared_norm_of_product(*own) for name, own in self.factors().items()}

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns copies of scale·B (O×R) and A (R×I) by the full name of the module."""
        return {name: lora_factors(layer) for name, layer in self._tuners()}


class ExportedLora(LoraPlaced):
    """Low-rank adapters of another kind than LoRA, saved as the standard LoRA that they are equal to."""

    def save(self, folder: Path) -> None:
        """Writes a plain LoRA folder, to be used on the pretrained model."""
        save_lora(self.factors(), folder)


class MovedBaseLora(ExportedLora):
    """LoRA that takes its initial factors out of the weight: W_res = W − scale·B₀·A₀ (PiSSA, OLoRA).

    Args:
        backbone: The backbone that carries it.
        layers: Indices of its layers.
        adapted: PEFT's wrapper, with the adapters at their initial values.
        originals: The pretrained weights that PEFT has changed.
    """

    def __init__(self, backbone: Backbone, layers: list[int], adapted: PeftModel, originals: Originals):
        super().__init__(backbone, layers, adapted)
        self._originals = originals
        self._initial = super().factors()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Puts the pretrained weights back within the block, where PEFT alone would leave W_res."""
        with super().disabled(), self._originals.swapped_in():
            yield

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns the balanced factors of ΔW = scale·(B·A − B₀·A₀), with up to twice the rank.

        B₀·A₀ are the greatest terms of the weight itself: side by side the factors of a small ΔW would be large ones
        that cancel out.
        """
        found = {}
        for name, (up_OR, down_RI) in super().factors().items():
            initial_up_OR, initial_down_RI = self._initial[name]
            whole = Change.low_rank(torch.cat([up_OR, -initial_up_OR], dim=1), torch.cat([down_RI, initial_down_RI]))
            changed_OR, changed_RI = svd_of(whole).balanced()
            found[name] = changed_OR.float().contiguous(), changed_RI.float().contiguous()
        return found


def lora_factors(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """Returns copies of scale·B (O×R) and A (R×I) of a LoRA layer."""
    (name,) = layer.active_adapters
    up_OR, down_RI = layer.lora_B[name].weight.detach(), layer.lora_A[name].weight.detach()
    return up_OR * layer.scaling[name], down_RI.clone()


def weight_of(module: nn.Module) -> Tensor:
    """Returns the weight (O×I, float32, CPU) of a linear module or `Conv1D`, below a PEFT layer if there is one."""
    base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    return weight_OI(base).detach().to("cpu", torch.float32)
