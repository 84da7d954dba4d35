"""The short training with LoRA in every layer that some scores look at, after which the backbone is as it was."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from layersel.adapters.adapter import Adapter
from layersel.adapters.kinds.lora import Lora
from layersel.adapters.placed import LoraPlaced
from layersel.backbone.backbone import Backbone
from layersel.backbone.modes import adapters_off, eval_mode
from layersel.cell.adapter_training import AdapterTraining
from layersel.cell.options import Cell
from layersel.errors import UserError
from layersel.runs.folder import RunFolder
from layersel.selection.regimes.fixed import Fixed
from layersel.selection.score import WarmedUp
from layersel.selection.selection import Selection
from layersel.tasks.problem import Problem
from layersel.training.adapter_module import AdapterModule
from layersel.training.datamodule import TrainingData


@dataclass(frozen=True)
class WarmUp:
    """Trains a plain LoRA in every layer by the same loop as the cell's own adapter, and takes it out again.

    It runs in this process and on one device, also where a training is shared by several; it logs nothing and writes
    no checkpoint. Random draws begin as those of the cell do, and the global generator is left as it was.

    Attributes:
        cell: The options.
        problem: Gives the module with its loss.
        backbone: The pretrained model.
        data: What is learnt from.
        folder: The run's folder, in which nothing is written.
    """

    cell: Cell
    problem: Problem
    backbone: Backbone
    data: TrainingData
    folder: RunFolder

    @contextmanager
    def __call__(self, steps: int | None, rank: int | None, projections: list[str] | None) -> Iterator[WarmedUp]:
        """Makes the block within which the backbone carries the LoRA, in evaluation mode.

        Raises:
            UserError: The LoRA does not fit the model, the training fails, or it changes nothing.
        """
        lora = plain_lora(self.cell.adapter, rank, projections)
        with _restored(self.backbone, self.cell.trainer.device), torch.random.fork_rng():
            torch.manual_seed(self.cell.seed)
            try:
                module = self._trained(steps, lora)
                factors = cast("LoraPlaced", module.placed).factors()
                if not any(bool(up_OR.any()) for up_OR, _ in factors.values()):
                    raise UserError("no weight has changed; use more steps")
                if not all(bool(factor.isfinite().all()) for own in factors.values() for factor in own):
                    raise UserError("a changed weight is not finite; lower task.learning_rate")
            except UserError as error:
                own = str(error).replace("adapter.", "selection.")  # rank and projections are the warm-up's own
                raise UserError(f"selection={self.cell.selection.name}: in its warm-up: {own}") from error
            module.eval()
            yield WarmedUp(factors, module.loss, lambda layer: adapters_off(self.backbone.layers[layer]))

    def _trained(self, steps: int | None, lora: Lora) -> AdapterModule:
        cell = self.cell
        limits = [limit for limit in (steps, cell.task.max_steps) if limit is not None]
        own = replace(
            cell,
            adapter=lora,
            regime=Fixed(),
            task=replace(cell.task, max_steps=min(limits, default=None)),
            trainer=replace(cell.trainer, devices=1, checkpoint_seconds=None),
        )
        layers = list(range(self.backbone.n_layers))
        everywhere = Selection("all", [1.0 for _ in layers], layers, ["" for _ in layers], self.backbone.projections)
        data = copy.copy(self.data)  # Lightning ties the trainer to it
        training = AdapterTraining(
            own, self.problem, self.backbone, data, everywhere, self.folder, resumes=False, what="warming up"
        )
        return training.run([]).module


def plain_lora(adapter: Adapter, rank: int | None = None, projections: list[str] | None = None) -> Lora:
    """Returns the LoRA of a warm-up: that which the cell's adapter is a kind of, else one with the default options.

    Args:
        adapter: The cell's adapter, which also says on which projections, where it stands on some.
        rank: Another rank, with the same scale alpha/rank.
        projections: Other projections.
    """
    like = (
        adapter if isinstance(adapter, Lora) else Lora(projections=getattr(adapter, "projections", Lora().projections))
    )
    rank = like.rank if rank is None else rank
    alpha = None if like.alpha is None else like.alpha / like.rank * rank
    return Lora(rank=rank, alpha=alpha, dropout=like.dropout, projections=projections or like.projections)


@contextmanager
def _restored(backbone: Backbone, device: torch.device) -> Iterator[None]:
    """After the block the model has no adapters, and its modes, device and what requires gradients are as before."""
    flags = [(parameter, parameter.requires_grad) for parameter in backbone.parameters()]
    with eval_mode(backbone):
        try:
            yield
        finally:
            model = backbone.model
            for name, module in list(model.named_modules()):
                if isinstance(module, BaseTunerLayer):
                    model.set_submodule(name, module.get_base_layer())
            vars(model).pop("peft_config", None)
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            backbone.to(device)
