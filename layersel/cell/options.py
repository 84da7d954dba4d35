"""One cell of a grid: everything that its run depends on, and the steps that follow from it."""

from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from layersel.adapters.adapter import Adapter
from layersel.adapters.kinds.lora import Lora
from layersel.backbone.pretrained import Pretrained
from layersel.backbone.vector_layers import layers_named
from layersel.cell.rules import validate, validate_machine
from layersel.cell.steps import MERGE, PRUNE, QUANTISE, STEPS
from layersel.compression.precision import Precision
from layersel.compression.pruning.pruning import Pruning
from layersel.data.source import Source
from layersel.errors import one_of
from layersel.merging.method import Merging
from layersel.runs.folder import check_writable
from layersel.runs.tracking import WandbOptions
from layersel.selection.rank_rule import RankRule
from layersel.selection.regime import Regime
from layersel.selection.score import Score
from layersel.tasks.task import Task
from layersel.training.options import TrainerOptions

OTHER_CODE = ("rerun", "accept")
AUTO, ALL, FEW = FIGURES = ("auto", "all", "few")


@dataclass
class Cell:
    """One cell of a grid: everything that its run depends on."""

    data: Source = MISSING
    """What is learnt from and judged on."""
    model: Pretrained = MISSING
    """The pretrained model."""
    task: Task = MISSING
    """What is learnt, how it is trained, and how a model is judged."""
    selection: Score = MISSING
    """The score that chooses the layers, and its budget."""
    ranks: RankRule = MISSING
    """From scores to the rank of each adapted module."""
    adapter: Adapter = MISSING
    """What is placed in the chosen layers."""
    regime: Regime = MISSING
    """Which of the adapted layers are trained at each step."""
    precision: Precision = MISSING
    """The numeric precision of training and of inference, integers included."""
    pruning: Pruning = MISSING
    """Which weights or layers are left out."""
    merging: Merging = MISSING
    """One adapter out of those of several datasets."""
    trainer: TrainerOptions = MISSING
    """The device."""
    logger: WandbOptions = MISSING
    """Weights & Biases."""
    order: list[str] = field(default_factory=lambda: list(STEPS))
    """In which order the adapter is trained (and adapters of several datasets are merged into one), merged into the
    weights, and the weights are pruned and quantised. A step with nothing to do is skipped; leave merge out to keep
    the adapter beside compressed weights."""
    seed: int = 0
    """Seed of every random draw: split, probe, batches, initial values, dropout, pruning."""
    output: str = "runs"
    """Folder in which the run makes a folder of its own."""
    shared: str | None = None
    """Folder of what cells share (token ids, base vectors, layer scores, references; those of a grid trainings of the
    same layers too), safe for several processes; null shares nothing, within a process either."""
    keep_model: bool = True
    """Write a pruned or quantised model to the run's folder, which evaluate.py needs."""
    figures: str = AUTO
    """Which figures the run draws: `all` (each as PNG and SVG), `few` (those of the layers and of the metrics, as PNG),
    or `auto`: all, but of a grid's cells few; evaluate.py run=FOLDER figures=FOLDER draws a cell's others later."""
    force: bool = False
    """Run a cell again that has already finished."""
    retry: bool = False
    """In a grid: run cells again that failed in an earlier call. Interrupted ones always go on."""
    other_code: str = "rerun"
    """What to do with a finished cell that other code computed: `rerun` it, or `accept` it as it is."""
    grid: str | None = None
    """Name of a grid (-m): its folder below output/grids and its group in W&B; null = made of its axes."""

    @property
    def standing(self) -> Adapter:
        """The kind of adapter that stands in the encoder after the step train: out of a merge comes a LoRA."""
        return Lora() if self.merging.merges else self.adapter

    @property
    def steps(self) -> list[str]:
        """The steps of `order` that have something to do."""
        idle = set()
        if not self.pruning.prunes:
            idle.add(PRUNE)
        if not self.precision.quantises:
            idle.add(QUANTISE)
        if not self.standing.trains or {PRUNE, QUANTISE} <= idle:
            idle.add(MERGE)
        return [step for step in self.order if step not in idle]

    @property
    def draws_all(self) -> bool:
        """Returns whether the run draws all figures."""
        return self.figures == ALL or (self.figures == AUTO and self.grid is None)

    def problems(self) -> list[str]:
        """Returns a line for each thing that does not fit together between groups, or that no group has."""
        found = list(validate(self).values())
        if self.figures not in FIGURES:
            found.append(str(one_of("figures", self.figures, FIGURES)))
        if self.other_code not in OTHER_CODE:
            found.append(str(one_of("other_code", self.other_code, OTHER_CODE)))
        if not 0 <= self.seed < 2**32:
            found.append(f"seed: expected 0 to {2**32 - 1}, but got {self.seed}")
        if not self.output.strip():
            return [*found, "output: expected the name of a folder, but got none; output=runs is the usual one"]
        unwritable = check_writable(Path(self.output))
        return found if unwritable is None else [*found, unwritable]

    def check_depth(self, depth: int) -> None:
        """Checks what depends on how many layers the model has, before and after pruning.

        Raises:
            UserError: It has fewer than are dropped, than vectors are made of, or than a training adapts.
        """
        layers_named(self.model.layers, depth)
        layers_named(self.model.layers, self.pruning.layers_left(depth))
        if not self.merging.merges:  # else the runs that are merged have chosen theirs
            self.selection.budget(depth)

    def machine_problems(self) -> list[str]:
        """Returns a line for each thing that this machine lacks; asked when work is about to begin."""
        groups = (self.model, self.adapter, self.precision, self.pruning, self.trainer)
        found = [line for group in groups for line in getattr(group, "machine_problems", list)()]
        return found or list(validate_machine(self).values())
