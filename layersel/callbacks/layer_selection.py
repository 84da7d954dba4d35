"""Chooses the layers and places the adapters when training is set up."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from layersel.adapters.adapter import Adapter
from layersel.adapters.placed import Placed, Unadapted
from layersel.adapters.placement import adapted_layers
from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import token_batches
from layersel.callbacks.checkpoint_file import read_checkpoint
from layersel.errors import UserError
from layersel.files import write_json
from layersel.seeding import stream
from layersel.selection.score import Probe, ProbeScore, Score
from layersel.selection.select import Measure, make_selection
from layersel.selection.selection import Selection
from layersel.terminal import tables


class LayerSelection(Callback):
    """Scores the layers of `pl_module.backbone`, places the adapter in the best, writes `selection.json`.

    All this happens in `setup`, before Lightning restores weights and makes optimizers, and once: a second stage
    finds the adapter in place. The module is given it as `pl_module.placed`. A run that is resumed by
    `trainer.ckpt_path = FILE` takes the selection of that checkpoint and never scores again, or is refused with a
    `UserError` if the score or the adapter is another;
    `trainer.fit(ckpt_path=FILE)` names the file only after `setup`.

    Args:
        score: Which score, with its budget.
        adapter: What is placed.
        seed: Of the probe's draws and the adapter's initial values.
        folder: Where `selection.json` goes; None writes nothing.
        measure: How the scores are come by; None computes them.

    Attributes:
        selection: The outcome, after `setup`.
        placed: The adapter, after `setup`.
        seconds: How long the scoring took.
    """

    def __init__(
        self,
        score: Score,
        adapter: Adapter,
        seed: int = 0,
        folder: Path | None = None,
        measure: Measure | None = None,
    ):
        self.score = score
        self.adapter = adapter
        self.seed = seed
        self.folder = folder
        self.measure = measure
        self.selection: Selection | None = None
        self.placed: Placed | None = None
        self.seconds = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Select and place, unless that is done."""
        if self.selection is not None:
            return
        backbone: Backbone = pl_module.backbone  # type: ignore[assignment]
        backbone.requires_grad_(False)
        if adapted_layers(backbone):
            raise RuntimeError("the model carries adapters already; LayerSelection needs the pretrained one")
        started = time.perf_counter()
        saved = self._saved_selection(trainer)
        selection = saved if saved is not None else self._select(trainer, backbone)
        self.seconds = time.perf_counter() - started
        generator = stream(self.seed, "adapter")
        self.placed = self.adapter.place(backbone, selection, generator) if selection.layers else Unadapted(backbone)
        pl_module.placed = self.placed  # type: ignore[assignment]
        if not self.placed.layers:
            trainer.fit_loop.max_epochs = 0  # nothing to train
        self.selection = selection
        if trainer.is_global_zero:
            tables.show_selection(selection)
        if self.folder is not None and trainer.is_global_zero:
            write_json(self.folder / "selection.json", selection.to_dict())

    def state_dict(self) -> dict[str, Any]:
        """The selection and the options that led to it, for checkpoints."""
        return {} if self.selection is None else {"selection": self.selection.to_dict(), "options": self._options()}

    def _select(self, trainer: Trainer, backbone: Backbone) -> Selection:
        """On rank 0, so that all processes of a distributed run adapt the same layers."""
        backbone.to(trainer.strategy.root_device)
        selection: Selection | None = None
        if trainer.is_global_zero:
            data = trainer.datamodule  # type: ignore[attr-defined]
            size = self.score.probe_size if isinstance(self.score, ProbeScore) else 0
            batches = token_batches(backbone, data.probe_tokens(size)) if size else []
            probe = Probe(batches, stream(self.seed, "selection"))
            selection = make_selection(backbone, self.score, probe, self.measure)
        return trainer.strategy.broadcast(selection)  # type: ignore[return-value]

    def _options(self) -> dict[str, Any]:
        """By the names that the command line has for them."""
        groups: dict[str, Score | Adapter] = {"selection": self.score, "adapter": self.adapter}
        options: dict[str, Any] = {group: chosen.name for group, chosen in groups.items()}
        for group, chosen in groups.items():
            options |= {f"{group}.{name}": value for name, value in asdict(chosen).items()}
        return options

    def _saved_selection(self, trainer: Trainer) -> Selection | None:
        """The one in the checkpoint that this fit resumes from, which Lightning restores only after `setup`."""
        if trainer.ckpt_path is None:
            return None
        file = Path(trainer.ckpt_path)
        saved = read_checkpoint(file)["callbacks"][self.state_key]
        _check_same(saved["options"], self._options(), file)
        return Selection.from_dict(saved["selection"])


def _check_same(saved: dict[str, Any], here: dict[str, Any], file: Path) -> None:
    """Raise a `UserError` with the first option that is another in the checkpoint: that of a kind is before its own."""
    for name in sorted(saved.keys() | here.keys()):
        then, now = saved.get(name), here.get(name)
        if then != now:
            raise UserError(
                f"{name}: expected {then} as in the checkpoint {str(file)!r}, but got {now}; delete it to train anew"
            )
