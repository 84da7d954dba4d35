"""The training of a cell's adapter, in one process or in several."""

from collections.abc import Sequence
from dataclasses import dataclass

from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger

from layersel.adapters.placed import Placed
from layersel.backbone.backbone import Backbone
from layersel.callbacks import LayerSelection
from layersel.cell.options import Cell
from layersel.runs.folder import RunFolder
from layersel.tasks.screening.datamodule import ScreeningData
from layersel.tasks.screening.module import ContrastiveScreening
from layersel.training.devices import Ranks, helped
from layersel.training.trainer import fit, make_trainer


@dataclass
class AdapterTraining:
    """Select, place, train.

    Attributes:
        cell: The options.
        backbone: Is adapted.
        data: What is learnt from.
        folder: Where checkpoints are.
        resumes: Whether it goes on from one.
    """

    cell: Cell
    backbone: Backbone
    data: ScreeningData
    folder: RunFolder
    resumes: bool

    def run(
        self, selector: LayerSelection, callbacks: Sequence[Callback], loggers: Sequence[Logger]
    ) -> tuple[Placed, str]:
        """On as many devices as the cell wants, if there is anything to train.

        Returns:
            The adapter in its place, and the training's effective precision.
        """
        cell = self.cell
        trains = cell.adapter.trains and cell.selection.budget(self.backbone.n_layers) > 0
        with helped(self.help, cell.trainer.devices if trains else 1) as ranks:
            trainer, module = self._fit([selector, *callbacks], loggers, ranks)
        cell.trainer.apply_threads()  # Lightning has shared them out among the processes
        self.backbone.to(cell.trainer.device)  # Lightning's teardown took it to the CPU
        return module.placed, str(trainer.precision)

    def help(self, ranks: Ranks) -> None:
        """One rank's part in a process of its own: it is told the selection, and logs nothing."""
        cell = self.cell
        cell.trainer.apply_threads()
        seed_everything((cell.seed + ranks.rank) % 2**32, verbose=False)  # other dropout for other texts
        with cell.precision.matmuls():
            self._fit([LayerSelection(cell.selection, cell.adapter, cell.seed)], [], ranks)

    def _fit(
        self, callbacks: Sequence[Callback], loggers: Sequence[Logger], ranks: Ranks | None
    ) -> tuple[Trainer, ContrastiveScreening]:
        cell = self.cell
        trainer = make_trainer(
            cell.trainer,
            cell.precision,
            cell.task.epochs,
            cell.task.max_steps,
            self.folder.path,
            callbacks,
            loggers,
            checkpoint=self.folder.checkpoints,
            resume_from=self.folder.checkpoint if self.resumes else None,
            ranks=ranks,
        )
        module = ContrastiveScreening(self.backbone, cell.task)
        fit(trainer, module, self.data)
        return trainer, module
