"""What a cell is: all that decides its numbers, and what it is called by people and dashboards."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from layersel.cell.members import Member
from layersel.cell.options import Cell
from layersel.cell.steps import PRUNE, QUANTISE
from layersel.compression.precision import Precision
from layersel.data.source import Dataset
from layersel.files import file_name
from layersel.merging.method import MergeMethod
from layersel.runs.code import class_path, code_of
from layersel.runs.fingerprints import fingerprint, flat_options, revision, versions
from layersel.runs.folder import RunFolder
from layersel.runs.tracking import RunDescription
from layersel.tasks.task import Metric

NAMED_ELSEWHERE = {"merging.datasets", "merging.runs"}
"""Options that count by what they name."""
OF_MEMBERS = ("selection", "n", "adapter", "rank")
"""Labels of a merging cell that its members have."""
Options = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """One cell among others. Where files lie, where it is logged and on what it runs do not count.

    Attributes:
        title: What a person recognises, the beginning of the folder's name.
        labels: The axes of a grid: dataset, model, selection, n, adapter, rank, precision, pruning, merging, seed.
        options: The options that decide the numbers, by dotted name.
        classes: The full import paths of the classes that the options name, by group.
        model: Hash of the pretrained model.
        data: Hash of what is learnt from and judged on; for a merging cell, of its members.
        lineage: As `data`, by what made the members instead of by what came out; empty for a training cell.
        code: The hash of each module that computes the cell, by name.
        metric: What the cell is compared by.
        lower_is_better: The names of the task's metrics whose lower values are better.
        references: The titles of the outcomes without a model, by name.
    """

    title: str
    labels: Options
    options: Options
    classes: Mapping[str, str]
    model: str
    data: str
    lineage: Mapping[str, str]
    code: Mapping[str, str]
    metric: Metric
    lower_is_better: frozenset[str]
    references: Mapping[str, str]

    @property
    def hash(self) -> str:
        """The hash of all that decides the numbers, the code included: the same for the same cell."""
        return fingerprint([self.but_for_code, self.code])

    @property
    def but_for_code(self) -> str:
        """The same for cells that differ in nothing but the code that computed them."""
        return fingerprint([self.options, self.classes, self.model, self.data, self.labels["seed"], versions()])

    @property
    def variant(self) -> str:
        """The same for the cells that differ in their seed alone."""
        return fingerprint([self.options, self.classes, self.model, self.lineage.get("variant", self.data)])

    @property
    def configuration(self) -> str:
        """The same for the cells that differ in their seed and their dataset alone."""
        return fingerprint([self.options, self.classes, self.model, self.lineage.get("configuration")])

    @property
    def stem(self) -> str:
        """What the names of this cell's folders begin with, whatever code computed it."""
        return f"{file_name(self.title)}-seed{self.labels['seed']}-"

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"{self.stem}{self.hash[:8]}"

    def folder(self, output: str) -> RunFolder:
        """Returns the cell's folder below an output folder."""
        return RunFolder(Path(output) / self.name)

    def described(self, grid: str | None, job_type: str) -> RunDescription:
        """Returns the description for a dashboard."""
        return RunDescription(self.name, self.hash, grid, job_type, self.labels, self.variant, self.configuration)

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `identity.json`."""
        return {
            "identity": self.hash,
            "but_for_code": self.but_for_code,
            "variant": self.variant,
            "configuration": self.configuration,
            "labels": self.labels,
            "options": {name: _scalar(value) for name, value in self.options.items()},
            "metric": asdict(self.metric),
            "lower_is_better": sorted(self.lower_is_better),
            "references": dict(self.references),
            "classes": dict(self.classes),
            "code": dict(self.code),
            "versions": versions(),
            "revision": revision(),
        }


def training_identity(cell: Cell, dataset: Dataset) -> Identity:
    """Returns the identity of a training cell."""
    groups = ("task", "selection", "ranks", "adapter", "regime", "pruning")
    budget = "" if cell.selection.n is None else f"{cell.selection.n:g}"
    return Identity(
        title=f"{dataset.name}-{cell.selection.name}{budget}",
        labels=_labels(cell, dataset.name),
        options=_flat(cell, groups) | _vectors(cell) | _compression(cell),
        classes=_classes(cell, groups),
        model=cell.model.fingerprint(),
        data=_read(cell, dataset),
        lineage={},
        code=_code(cell, groups, "layersel.cell.training_cell"),
        metric=cell.task.primary,
        lower_is_better=cell.task.lower_is_better,
        references=cell.task.references,
    )


def merging_identity(cell: Cell, method: MergeMethod, members: Sequence[Member]) -> Identity:
    """Returns the identity of a merging cell: its members' options count by what the members are."""
    groups = ("merging", "pruning")
    known = [member.folder.read_identity() for member in members]
    names = "+".join(member.name for member in members)
    return Identity(
        title=f"{names}-{method.name}",
        labels=_labels(cell, names) | {label: _common(own["labels"][label] for own in known) for label in OF_MEMBERS},
        options=_flat(cell, groups) | _vectors(cell) | _compression(cell) | cell.task.judging_options(),
        classes=_classes(cell, (*groups, "task")),
        model=cell.model.fingerprint(),
        data=fingerprint([member.fingerprint() for member in members]),
        lineage={
            "variant": fingerprint([own["variant"] for own in known]),
            "configuration": fingerprint(sorted({own["configuration"] for own in known})),
        },
        code=_code(cell, (*groups, "task"), "layersel.cell.merging_cell"),
        metric=cell.task.primary,
        lower_is_better=cell.task.lower_is_better,
        references=cell.task.references,
    )


def _read(cell: Cell, dataset: Dataset) -> str:
    """Returns the hash of all that is read: the dataset, and what the task reads beside it."""
    beside = cell.task.content()
    return dataset.fingerprint() if beside is None else fingerprint([dataset.fingerprint(), beside])


def _flat(cell: Cell, groups: tuple[str, ...]) -> Options:
    """Returns the deciding options of these groups, and the name of each group's choice."""
    undeciding = NAMED_ELSEWHERE | {f"task.{name}" for name in cell.task.undeciding}
    options: Options = {}
    for group in groups:
        chosen = getattr(cell, group)
        options |= {group: chosen.name} | flat_options(group, chosen)
    return {name: value for name, value in options.items() if name not in undeciding}


def _vectors(cell: Cell) -> Options:
    """Returns what tells apart, in tables, cells of one model whose vectors are made of other layers."""
    return {"model.layers": cell.model.layers, "model.combine": cell.model.combine}


def _compression(cell: Cell) -> Options:
    """Returns the steps, and of the precision what decides the numbers of these steps."""
    precision = asdict(cell.precision)
    deciding = set(precision) - cell.precision.undeciding
    used = sorted(deciding) if cell.precision.quantises else ("train", "infer", "matmul")
    kept = cell.keep_model and bool({PRUNE, QUANTISE} & set(cell.steps))
    return {f"precision.{name}": precision[name] for name in used} | {"order": cell.steps, "keep_model": kept}


def _classes(cell: Cell, groups: tuple[str, ...]) -> dict[str, str]:
    return {group: class_path(getattr(cell, group)) for group in (*groups, "model", "precision")}


def _code(cell: Cell, groups: tuple[str, ...], run: str) -> dict[str, str]:
    """Returns the code of the classes that the options name, of the module that runs the cell, and of their imports."""
    parts = [getattr(cell, group) for group in (*groups, "model", "precision", "trainer")]
    return code_of(*parts, modules=[run])


def _labels(cell: Cell, dataset: str) -> Options:
    return {
        "dataset": dataset,
        "model": cell.model.path.rpartition("/")[2].removeprefix("package:"),
        "selection": cell.selection.name,
        "n": cell.selection.n,
        "adapter": cell.adapter.name,
        "rank": getattr(cell.adapter, "rank", None),
        "precision": _precision(cell.precision),
        "pruning": cell.pruning.name,
        "merging": cell.merging.name,
        "seed": cell.seed,
    }


def _common(values: Iterable[Any]) -> Any:
    """Returns the value that all have; None where they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def _precision(precision: Precision) -> str:
    """Returns the format of inference, and that of training where it is another half of precision."""
    plain = precision.train in ("fp32", precision.infer)
    return precision.infer if plain else f"{precision.train}, then {precision.infer}"


def _scalar(value: Any) -> Any:
    """Returns the value as the cell of a table: a list as its items."""
    return ",".join(map(str, value)) if isinstance(value, list) else value
