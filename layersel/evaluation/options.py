"""The options of evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layersel.backbone.pretrained import Pretrained
from layersel.compression.precision import Precision
from layersel.config import build_group
from layersel.data.source import Source
from layersel.errors import UserError, one_of
from layersel.runs.folder import RunFolder, check_writable
from layersel.tasks.task import Task
from layersel.training.options import TrainerOptions

HEADS = ("saved", "fit")
METRICS_FILES = (".json",)


@dataclass
class Evaluation:
    """What to evaluate, and on what."""

    run: str | None = None
    """Folder of a finished run: its model, adapter and head, and its data unless others are given."""
    adapter_folder: str | None = None
    """Folder of a PEFT adapter for model=…."""
    records: str | None = None
    """A file of data to predict, such as records (CSV, TSV, RIS, NBIB, PubMed text); labels are not needed. Without it:
    metrics."""
    out: str | None = None
    """Where the result goes: predictions in a format of the task (.csv, .ris), metrics as .json."""
    head: str | None = None
    """saved (the run's head, the default with run=…) or fit (a new one on what the task learns from of data=…)."""
    seed: int = 0
    """Seed of the split that a new head is fitted on; with run=… the run's own is used."""
    data: Source | None = None
    """The labelled data; with run=… the run's own unless given."""
    model: Pretrained | None = None
    """The pretrained model; with run=… the run's own."""
    task: Task | None = None
    """The task; with run=… the run's own."""
    precision: Precision | None = None
    """The numeric precision; with run=… the run's own."""
    trainer: TrainerOptions | None = None
    """The device."""

    @property
    def effective_head(self) -> str:
        """Which head predicts."""
        return self.head if self.head is not None else "saved" if self.run is not None else "fit"

    @property
    def own_task(self) -> Task | None:
        """The task of the run, or the one that is given."""
        if self.run is None:
            return self.task
        return build_group("task", RunFolder(Path(self.run).expanduser()).read_config()["task"])  # type: ignore[no-any-return]

    def problems(self) -> list[str]:
        """Returns a line for each thing that does not fit together."""
        found = self._contradictions()
        if self.head is not None and self.head not in HEADS:
            found.append(str(one_of("head", self.head, HEADS)))
        if self.out is not None:
            unwritable = check_writable(Path(self.out).expanduser().absolute().parent, "out")
            found += [] if unwritable is None else [unwritable]
        if found:
            return found
        try:
            return self._prediction_problems()
        except UserError as error:
            return [str(error)]

    def _contradictions(self) -> list[str]:
        suffix = Path(self.out or "").suffix.lower()
        base_model, predicts = self.run is None, self.records is not None
        rules = [
            (
                base_model and self.model is None,
                "run, model: expected one of them, but got none; give run=FOLDER or model=NAME",
            ),
            (
                not base_model and self.model is not None,
                "run, model: expected one of them, but got both; a run brings its own model",
            ),
            (
                not base_model and self.adapter_folder is not None,
                "run, adapter_folder: expected one of them, but got both; a run brings its own",
            ),
            (
                base_model and self.head == "saved",
                "head: expected fit, but got saved, and only a run has a saved head; give run=FOLDER",
            ),
            (
                base_model and self.data is None,
                "data: expected labelled data for the head, but got none; give data=table data.path=FILE",
            ),
            (
                not predicts and self.out is not None and suffix not in METRICS_FILES,
                f"out: expected a file .json for the metrics, but got {self.out}; give out=metrics.json",
            ),
        ]
        return [message for broken, message in rules if broken]

    def _prediction_problems(self) -> list[str]:
        """Returns what the task says of the file to predict, and of where the predictions go."""
        task = self.own_task if self.records is not None else None
        if self.records is None or task is None:
            return []
        if not task.prediction_files:
            return [f"records: task={task.name} has nothing to predict for data without labels"]
        problems = [line.replace("data.path", "records", 1) for line in task.unlabelled(self.records).problems()]
        return problems + _out_problems(self.out, task.prediction_files)


def _out_problems(out: str | None, suffixes: Sequence[str]) -> list[str]:
    if Path(out or "").suffix.lower() in suffixes:
        return []
    allowed = " or ".join(suffixes)
    return [f"out: expected a file {allowed} for the predictions, but got {out or 'none'}; out=FILE{suffixes[0]}"]
