"""One cell of a grid: everything that its run depends on, and the steps that follow from it."""

from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from layersel.adapters.adapter import Adapter
from layersel.adapters.kinds.lora import Lora
from layersel.backbone.pretrained import Pretrained
from layersel.cell.rules import validate
from layersel.cell.steps import MERGE, PRUNE, QUANTISE, STEPS
from layersel.compression.precision import Precision
from layersel.compression.pruning.pruning import Pruning
from layersel.data.reviews.source import Source
from layersel.merging.method import Merging
from layersel.runs.folder import check_writable
from layersel.runs.tracking import WandbOptions
from layersel.selection.score import Score
from layersel.tasks.screening.module import Screening
from layersel.tasks.screening.pairs import Pairs
from layersel.training.trainer import TrainerOptions


@dataclass
class Cell:
    """One cell of a grid: everything that its run depends on."""

    data: Source = MISSING
    """The review."""
    model: Pretrained = MISSING
    """The pretrained encoder."""
    task: Screening = MISSING
    """The training and its head."""
    pairs: Pairs = MISSING
    """Which pairs of labelled records are contrasted."""
    selection: Score = MISSING
    """The score that chooses the layers, and its budget."""
    adapter: Adapter = MISSING
    """What is placed in the chosen layers."""
    precision: Precision = MISSING
    """The numeric precision of training and of inference, integers included."""
    pruning: Pruning = MISSING
    """Which weights or layers are left out."""
    merging: Merging = MISSING
    """One adapter out of those of several reviews."""
    trainer: TrainerOptions = MISSING
    """The device."""
    logger: WandbOptions = MISSING
    """Weights & Biases."""
    order: list[str] = field(default_factory=lambda: list(STEPS))
    """In which order the adapter is trained (and adapters of several reviews are merged into one), merged into the
    weights, and the weights are pruned and quantised. A step with nothing to do is skipped; leave merge out to keep
    the adapter beside compressed weights."""
    seed: int = 0
    """Seed of every random draw: split, probe, pairs, initial values, dropout, pruning."""
    output: str = "runs"
    """Folder in which the run makes a folder of its own."""
    shared: str | None = None
    """Folder of what cells share (token ids, base vectors, layer scores, TF-IDF), safe for several processes; null
    shares nothing, within a process either."""
    keep_model: bool = True
    """Write a pruned or quantised model to the run's folder, which evaluate.py needs."""
    force: bool = False
    """Run a cell again that has already finished."""
    retry: bool = False
    """In a grid: run cells again that failed in an earlier call. Interrupted ones always go on."""
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

    def problems(self) -> list[str]:
        """What does not fit together between groups, and what no group has."""
        found = list(validate(self).values())
        if not 0 <= self.seed < 2**32:
            found.append(f"seed: expected 0 to {2**32 - 1}, but got {self.seed}")
        unwritable = check_writable(Path(self.output))
        return found if unwritable is None else [*found, unwritable]
