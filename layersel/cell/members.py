"""The adapters that a merging cell merges: finished training runs, found or made."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from layersel.backbone.pretrained import Pretrained
from layersel.cell.options import Cell
from layersel.cell.steps import TRAIN
from layersel.config import TARGET, build_group, choice, given_options
from layersel.data.source import Dataset, Source
from layersel.errors import UserError
from layersel.merging.method import MergeMethod
from layersel.runs.fingerprints import fingerprint
from layersel.runs.folder import RunFolder
from layersel.runs.tracking import under_sweep_agent
from layersel.tasks.task import Task

if TYPE_CHECKING:
    from layersel.data.tokens import TokenizedTexts
    from layersel.tasks.problem import Problem

UNCOMPRESSED = "fp32"
"""The inference precision of training cells where that of the merging cell is in integers."""


@dataclass(frozen=True)
class Member:
    """A finished training run whose adapter is merged with others.

    Attributes:
        folder: The run.
        task: Its task, with its options.
        dataset: What it has learnt from.
        seed: Of its split.
        own: Its metrics.
    """

    folder: RunFolder
    task: Task
    dataset: Dataset
    seed: int
    own: dict[str, Any]

    @classmethod
    def of(cls, folder: RunFolder, cell: Cell) -> "Member":
        """Returns the run in `folder`, checked against the merging cell.

        Raises:
            UserError: No finished run is there with an adapter of that pretrained model, judged as this cell does.
        """
        config = folder.read_config()
        _check_adapter(folder, config)
        _check_model(folder, build_group("model", config["model"]), cell.model)
        task: Task = build_group("task", config["task"])
        _check_judged_alike(folder, config, task, cell)
        source: Source = build_group("data", config["data"])
        dataset = source.load()
        return cls(folder, task.suited([dataset]), dataset, config["seed"], folder.read_metrics())

    @property
    def name(self) -> str:
        """The name of its dataset."""
        return self.dataset.name

    @cached_property
    def problem(self) -> "Problem":
        """The dataset, split as in the run."""
        return self.task.problem(self.dataset, self.seed)

    @cached_property
    def learnt(self) -> frozenset[str]:
        """The fingerprints of the texts that its adapter has learnt from."""
        return self.folder.read_learnt()

    def head(self) -> Any:
        """Returns the head of the run."""
        return saved_head(self.folder, self.task, self.folder.path)

    def fingerprint(self) -> str:
        """Returns the hash of what the merge takes from the run: adapter, head, metrics, and the dataset."""
        heads = [self.folder.path / name for name in self.task.head_files]
        taken = [self.folder.checksums(part) for part in (self.folder.adapter, *heads, self.folder.metrics)]
        return fingerprint([self.dataset.fingerprint(), taken])

    def check_unchanged(self, texts: "TokenizedTexts") -> None:
        """Checks that the dataset still gives what the adapter learnt from, some of which would be judged on otherwise.

        Raises:
            UserError: It does not.
        """
        if self.folder.read_training_records() != self.problem.learnt(texts):
            raise UserError(f"merging: the file of {self.name} has changed since {str(self.folder.path)!r} ran")


def saved_head(run: RunFolder, task: Task, folder: Path) -> Any:
    """Returns the head that a run wrote into `folder`, its own or one below it.

    Raises:
        UserError: The head's files are missing or damaged.
    """
    for name in task.head_files:
        run.checked(folder / name)
    return task.load_head(folder)


def check_datasets(names: Sequence[str]) -> None:
    """Checks that each dataset has one adapter only.

    Raises:
        UserError: Several adapters are of the same dataset.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"merging: expected each dataset once, but got several adapters of {', '.join(twice)}")


def training_configs(cell: Cell, method: MergeMethod, config: DictConfig) -> list[dict[str, Any]]:
    """Returns the configs of the training cells of the named datasets: no merging, nothing compressed.

    An option that refers to the name of the dataset, such as a file by ${data.NAME}, is resolved for each of them.
    """
    found = []
    for name in method.datasets:
        named = copy.deepcopy(config)
        named.data[cell.data.named_by] = name
        own: dict[str, Any] = OmegaConf.to_container(named, resolve=True)  # type: ignore[assignment]
        own |= {"merging": choice("merging", "none"), "pruning": choice("pruning", "none"), "force": False}
        if cell.precision.quantises:
            own["precision"]["infer"] = UNCOMPRESSED
        if under_sweep_agent():
            own["logger"]["mode"] = "disabled"  # the agent's one run is the merging cell's
        found.append(own)
    return found


def named_runs(method: MergeMethod) -> list[RunFolder]:
    """Returns the folders of the runs that are named."""
    return [RunFolder(Path(run).expanduser()) for run in method.runs]


def check_unread(method: MergeMethod) -> None:
    """Checks that no options of a training were given where runs alone are merged, and nothing is trained.

    Raises:
        UserError: Some were.
    """
    unread = [] if method.datasets else given_options("selection", "ranks", "adapter", "regime")
    if unread:
        raise UserError(
            f"merging.runs: expected no {' '.join(unread)} beside it, as these runs have trained their adapters; leave "
            "it out, or name merging.datasets, which are trained by it"
        )


def name_a_dataset(config: DictConfig) -> DictConfig:
    """Returns the config, its dataset the first of `merging.datasets` if it has none: each has its turn anyway."""
    datasets = OmegaConf.select(config, "merging.datasets")
    option = get_class(config.data[TARGET]).named_by  # type: ignore[attr-defined]
    if datasets and option is not None and OmegaConf.is_missing(config.data, option):
        config = copy.deepcopy(config)
        config.data[option] = datasets[0]
    return config


def _check_adapter(folder: RunFolder, config: dict[str, Any]) -> None:
    run, adapter = str(folder.path), build_group("adapter", config["adapter"])
    if folder.holds(folder.merging):
        raise UserError(
            f"merging.runs: expected training runs, but {run!r} has merged others; name those that it merged"
        )
    if not folder.holds(folder.adapter):
        raise UserError(f"merging.runs: expected runs with an adapter, but {run!r} has none to merge")
    if adapter.moves_biases:
        raise UserError(
            f"merging.runs: expected adapters of weight matrices only, but {run!r} has adapter={adapter.name}, which "
            "changes biases too; train with adapter=lora"
        )
    if adapter.quantised_base or folder.read_steps() != [TRAIN]:
        raise UserError(
            f"merging.runs: expected adapters trained and measured on uncompressed weights, but {run!r} has compressed "
            "them; train with pruning=none precision=fp32"
        )


def _check_model(folder: RunFolder, base: Pretrained, model: Pretrained) -> None:
    """Checks that what decides the vectors agrees; the same files may lie elsewhere."""
    names = ("pooling", "layers", "combine", "max_length", "weights")
    differing = [name for name in names if getattr(base, name) != getattr(model, name)]
    if (base.path, base.revision) != (model.path, model.revision):
        alike = [replace(Pretrained(own.path), revision=own.revision) for own in (base, model)]
        differing += ["path"] if alike[0].fingerprint() != alike[1].fingerprint() else []
    if differing:
        raise UserError(
            f"merging.runs: expected adapters of one pretrained model, but {str(folder.path)!r} has "
            + ", ".join(f"model.{name}={getattr(base, name)} (here {getattr(model, name)})" for name in differing)
            + "; give model=… as in the runs"
        )


def _check_judged_alike(folder: RunFolder, config: dict[str, Any], task: Task, cell: Cell) -> None:
    """Checks what the run was judged by: its own numbers stand beside those of the merged adapter."""
    precision = build_group("precision", config["precision"])
    infer = UNCOMPRESSED if cell.precision.quantises else cell.precision.infer
    compared: dict[str, tuple[Any, Any]] = {
        "task": (task.name, cell.task.name),
        "precision.infer": (precision.infer, infer),
    }
    compared |= {"precision.matmul": (precision.matmul, cell.precision.matmul)}
    if task.name == cell.task.name:
        judged, judging = task.judging_options(), cell.task.judging_options()
        compared |= {name: (judged.get(name), judging.get(name)) for name in sorted(judged.keys() | judging.keys())}
    for option, (own, here) in compared.items():
        if own != here:
            raise UserError(
                f"{option}: expected {own} as in {str(folder.path)!r}, whose numbers are compared with, but got {here}"
            )
