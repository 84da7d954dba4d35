"""The options of evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from layersel.backbone.pretrained import Pretrained
from layersel.compression.precision import Precision
from layersel.config import TARGET, build, build_group, given_options
from layersel.data.source import Dataset, Source
from layersel.errors import UserError, one_of
from layersel.files import are_among
from layersel.runs.folder import RunFolder, check_writable
from layersel.tasks.simulation import Simulation
from layersel.tasks.stopping import Stopping
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
    """A file of data to predict; labels are not needed. Without it: metrics. How it is read is said by a source without
    a file of its own, such as data=table data.title_column=NAME."""
    out: str | None = None
    """Where the result goes: predictions in a format of the task (.csv, .ris, .xlsx), metrics as .json, a simulation as
    a folder."""
    figures: str | None = None
    """Folder for all figures of a run (.png, .svg) on labelled data: its own, or others with head=fit."""
    head: str | None = None
    """saved (the run's head, the default with run=…) or fit (a new one on what the task learns from of data=…)."""
    seed: int = 0
    """Seed of the split that a new head is fitted on and of a simulation's priors; with run=… the run's own is used."""
    data: Source | None = None
    """The labelled data; with run=… the run's own unless given. With records=… and a run's head: how these are read."""
    model: Pretrained | None = None
    """The pretrained model; with run=… the run's own."""
    task: Task | None = None
    """The task; with run=… the run's own."""
    precision: Precision | None = None
    """The numeric precision; with run=… the run's own."""
    stopping: Stopping | None = None
    """What to say, with run=… and records=…, to a team that labels the records in the order of the predictions."""
    simulation: Simulation | None = None
    """What to replay of labelled data, as if they were labelled in the order of the predictions, into out=FOLDER."""
    trainer: TrainerOptions | None = None
    """The device."""

    @property
    def effective_head(self) -> str:
        """Which head predicts."""
        if self.head is not None:
            return self.head
        return "saved" if self.run is not None and self.simulation is None else "fit"

    @property
    def own_task(self) -> Task | None:
        """The task of the run, or the one that is given."""
        if self.run is None:
            return self.task
        return build_group("task", RunFolder(Path(self.run).expanduser()).read_config()["task"])  # type: ignore[no-any-return]

    @property
    def labelled(self) -> Source | None:
        """The labelled data that are given; None where `data` only says how `records` is read."""
        return None if self._reads_records and self.effective_head == "saved" else self.data

    @property
    def reading(self) -> Source | None:
        """The source that says how `records` is read, if one is given."""
        return self.data if self._reads_records else None

    @property
    def library(self) -> Source | None:
        """The source that reads `records`: with their labels where it is said when to stop, or else without."""
        task = self.own_task
        if self.records is None or task is None:
            return None
        if self.stopping is not None:
            return self.stopping.source(self.records, self.reading)
        return task.unlabelled(self.records, self.reading)

    def load(self, source: Source) -> Dataset:
        """Reads labelled data; of those that are to be replayed, what can be.

        Raises:
            UserError: They cannot be read, or not be replayed.
        """
        dataset = source.load()
        return dataset if self.simulation is None else self.simulation.replayed(dataset)

    @property
    def _reads_records(self) -> bool:
        if self.records is None or self.data is None:
            return False
        return are_among(self.data.files(), [Path(self.records)])

    def problems(self) -> list[str]:
        """Returns a line for each thing that does not fit together."""
        found = self._contradictions()
        if self.adapter_folder is not None and not Path(self.adapter_folder).expanduser().is_dir():
            got = f"but {self.adapter_folder!r} is none; a run's is RUN/adapter"
            found.append(f"adapter_folder: expected a folder with an adapter, {got}")
        refused = None if self.task is None or self.model is None else self.task.model_refusal(self.model)
        found += [] if refused is None else [refused]
        if self.data is not None and self.run is not None and self.effective_head == "saved":
            given = [name for name in self.data.of_a_head if getattr(self.data, name) is not None]
            line = "expected none beside the run's head, which keeps its own; leave it out, or give head=fit"
            found += [f"data.{name}: {line}" for name in given]
        if self.head is not None and self.head not in HEADS:
            found.append(str(one_of("head", self.head, HEADS)))
        inputs = [Path(self.records)] if self.records is not None else []
        if self.out is not None and are_among([Path(self.out)], [*inputs, *(self.data.files() if self.data else [])]):
            found.append(f"out: expected a new file, but got {self.out}, which is read; give another name")
        written = {"out": Path(self.out).parent} if self.out is not None else {}
        written |= {"figures": Path(self.figures)} if self.figures is not None else {}
        for name, folder in written.items():
            unwritable = check_writable(folder.expanduser().absolute(), name)
            found += [] if unwritable is None else [unwritable]
        if found:
            return found
        try:
            return self._simulation_problems() + self._prediction_problems()
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
                self.stopping is not None and (base_model or not predicts or self.effective_head != "saved"),
                "stopping: expected a run with its own head and records beside it; give run=FOLDER records=FILE",
            ),
            (
                self.simulation is not None and (predicts or self.head is not None),
                "simulation: expected labelled data and no head of a run, but got records or head; leave them out",
            ),
            (
                self.simulation is not None and (self.out is None or Path(self.out).expanduser().is_file()),
                f"out: expected a folder for the simulation, but got {self.out or 'none'}; give out=FOLDER",
            ),
            (
                self.figures is not None and (base_model or predicts or self.simulation is not None),
                "figures: expected a run and labelled data, and no simulation; give run=FOLDER, and no records",
            ),
            (
                self.figures is not None and self.data is not None and self.effective_head != "fit",
                "figures: expected a head that is fitted on the data that are given, but got the run's; give head=fit",
            ),
            (
                not predicts and self.simulation is None and self.out is not None and suffix not in METRICS_FILES,
                f"out: expected a file .json for the metrics, but got {self.out}; give out=metrics.json",
            ),
        ]
        return [message for broken, message in rules if broken]

    def _simulation_problems(self) -> list[str]:
        task = self.own_task
        if self.simulation is None or task is None or isinstance(task, self.simulation.takes):
            return []
        return [f"simulation: expected none for task={task.name}, but got one; leave it out"]

    def _prediction_problems(self) -> list[str]:
        """Returns what the task says of the file to predict, and of where the predictions go."""
        task = self.own_task if self.records is not None else None
        if self.records is None or task is None:
            return []
        if not task.prediction_files:
            return [f"records: task={task.name} has nothing to predict for data without labels"]
        if self.stopping is not None and not isinstance(task, self.stopping.takes):
            return [f"stopping: expected none for a run of task={task.name}, but got one; leave it out"]
        if self.stopping is not None and RunFolder(Path(self.run or "").expanduser()).read_merged():
            return ["stopping: expected a run on one dataset, but got one that merged several; give one of its members"]
        library = self.library
        lines = [] if library is None else library.problems()
        problems = [line.replace("data.path", "records", 1) for line in lines]
        files = task.prediction_files if self.stopping is None else self.stopping.files
        return problems + self._unread_data() + _out_problems(self.out, files)

    def _unread_data(self) -> list[str]:
        """Returns what refuses labelled data beside `records` where a run's own head predicts."""
        if self.run is None or self.labelled is None or self.effective_head != "saved":
            return []
        if RunFolder(Path(self.run).expanduser()).read_merged():
            return []  # the name of the data chooses the head
        got = f"{self.labelled.name}, which would not be read, as the run has its own head"
        return [f"data: expected none beside records={self.records}, but got {got}; leave it out, or give head=fit"]


def read_options(config: DictConfig) -> Evaluation:
    """Returns the checked options; `data` without a file of its own says how `records` is read.

    Raises:
        UserError: Options are wrong, or do not fit together: one line each.
    """
    own = config.get("run") is not None and config.get("model") is None  # both are refused
    of_the_run = given_options("task", "precision", "seed") if own else []
    if of_the_run:
        raise UserError(
            f"run: expected no {' '.join(of_the_run)} beside it, as a run brings its own task, precision and seed; "
            "leave it out, or give model=… adapter_folder=RUN/adapter instead of the run"
        )
    source = config.get("data")
    if config.get("run") is not None and config.get("records") is not None and config.get("head") != "fit" and source:
        named_by = getattr(get_class(source[TARGET]), "named_by", None)
        if named_by is not None and OmegaConf.is_missing(source, named_by):
            source[named_by] = config.records
    return build(config, Evaluation)


def _out_problems(out: str | None, suffixes: Sequence[str]) -> list[str]:
    if Path(out or "").suffix.lower() in suffixes:
        return []
    allowed = " or ".join(suffixes)
    return [f"out: expected a file {allowed} for the predictions, but got {out or 'none'}; out=FILE{suffixes[0]}"]
