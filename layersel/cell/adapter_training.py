"""The training of a cell's adapter in its chosen layers, in one process or in several."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger

from layersel.backbone.backbone import Backbone
from layersel.callbacks.layer_selection import LayerSelection
from layersel.callbacks.logged_rows import LoggedRows, log_again
from layersel.callbacks.moving_layers import MovingLayers
from layersel.callbacks.training_progress import TrainingProgress
from layersel.cell.options import Cell
from layersel.runs.folder import RunFolder
from layersel.runs.store import Tensors
from layersel.selection.selection import Selection
from layersel.tasks.problem import Problem
from layersel.training.adapter_module import AdapterModule
from layersel.training.compiling import compiled
from layersel.training.datamodule import TrainingData
from layersel.training.devices import RankEnvironment, helper_processes
from layersel.training.trainer import Training, fit, make_deterministic, make_trainer

ABOUT = "about"
"""The name, among the packed tensors of a training, of all the rest, in the format of `torch.save`."""


@dataclass(frozen=True)
class Trained:
    """What comes of a training.

    Attributes:
        module: What was trained: the adapter in its place, and whatever the task trains beside it.
        precision: The training's effective precision.
        logged: What was logged, a dict of values and `step` for each step.
        selection: The layers whose adapter is left, with what the training has found of each.
        seconds: How long it took, wherever it was done, an interrupted part included.
    """

    module: AdapterModule
    precision: str
    logged: list[dict[str, float]]
    selection: Selection
    seconds: float

    def packed(self) -> Tensors:
        """Returns all but the selection as tensors, for `AdapterTraining.restored`."""
        content = io.BytesIO()
        about = {name: getattr(self, name) for name in ("precision", "logged", "seconds")}
        torch.save(about | {"n_tokens": self.module.n_tokens, "adapter": self.module.placed.state()}, content)
        return self.module.trained_state() | {ABOUT: torch.frombuffer(content.getbuffer(), dtype=torch.uint8)}


@dataclass
class AdapterTraining:
    """Places the adapter in the chosen layers and trains it.

    Attributes:
        cell: The options.
        problem: Gives the module with its loss.
        backbone: Is adapted.
        data: What is learnt from.
        selection: The chosen layers.
        folder: Where checkpoints are.
        resumes: Whether the training goes on from the last one.
        what: The name of the progress bar.
    """

    cell: Cell
    problem: Problem
    backbone: Backbone
    data: TrainingData
    selection: Selection
    folder: RunFolder
    resumes: bool
    what: str = "training"

    @property
    def trains(self) -> bool:
        """Returns whether there is anything to train."""
        return self.cell.task.trains_head or (self.cell.adapter.trains and bool(self.selection.layers))

    def run(self, loggers: Sequence[Logger]) -> Trained:
        """Trains on as many devices as the cell wants, if there is anything to train."""
        cell, begin = self.cell, time.perf_counter()
        with helper_processes(self.help, cell.trainer.devices if self.trains else 1) as environment:
            trainer, module = self._fit([TrainingProgress(self.what)], loggers, environment)
        cell.trainer.apply_threads()  # Lightning has shared them out among the processes
        module.to(cell.trainer.device)  # Lightning's teardown took it to the CPU
        (logged,) = (logger.rows for logger in trainer.loggers if isinstance(logger, LoggedRows))
        selection = self.selection
        for moving in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(moving, MovingLayers):
                selection = moving.regime.chosen(selection, moving.state)
        seconds = module.seconds_before + time.perf_counter() - begin
        return Trained(module, str(trainer.precision), logged, selection, seconds)

    def restored(self, packed: Tensors, loggers: Sequence[Logger]) -> Trained:
        """Returns what another cell's training of these layers has left, and logs what that had logged."""
        make_deterministic()
        about = torch.load(io.BytesIO(packed[ABOUT].numpy().tobytes()), weights_only=True)
        module = self.problem.module(self.backbone)
        module.placed = self._placing().place(self.backbone, self.selection)
        module.load_trained_state({name: value for name, value in packed.items() if name != ABOUT})
        module.placed.load_state(about["adapter"])
        module.n_tokens = about["n_tokens"]
        module.to(self.cell.trainer.device)
        for logger in loggers:
            log_again(logger, about["logged"])
        return Trained(module, about["precision"], about["logged"], self.selection, about["seconds"])

    def help(self, environment: RankEnvironment) -> None:
        """Does the part of one further rank in a process of its own, which logs nothing."""
        cell = self.cell
        cell.trainer.apply_threads()
        seed_everything((cell.seed + environment.rank) % 2**32, verbose=False)  # other dropout for other texts
        with cell.precision.matmuls():
            self._fit([], [], environment)

    def _fit(
        self, callbacks: Sequence[Callback], loggers: Sequence[Logger], environment: RankEnvironment | None
    ) -> tuple[Trainer, AdapterModule]:
        cell = self.cell
        moving = [MovingLayers(cell.regime, cell.seed)] if cell.regime.moves else []
        resume_from = self.folder.checkpoint if self.resumes else None
        training = Training(
            cell.task.epochs,
            cell.task.max_steps,
            self.folder.path,
            self.folder.checkpoints,
            resume_from,
            cell.task.accumulate,
            cell.task.clip,
        )
        trainer = make_trainer(
            cell.trainer, cell.precision, training, [self._placing(), *moving, *callbacks], loggers, environment
        )
        module = self.problem.module(self.backbone)
        with compiled(self.backbone.layers if cell.trainer.compile else ()):
            fit(trainer, module, self.data)
        return trainer, module

    def _placing(self) -> LayerSelection:
        cell = self.cell
        return LayerSelection(cell.selection, cell.adapter, cell.seed, selection=self.selection, ranks=cell.ranks)
