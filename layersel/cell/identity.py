"""What a cell is: the options that decide its numbers, and what it is called by people and dashboards."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from layersel.cell.members import Member
from layersel.cell.options import Cell
from layersel.cell.steps import PRUNE, QUANTISE
from layersel.compression.precision import Precision
from layersel.data.reviews.records import Review
from layersel.files import file_name
from layersel.merging.method import MergeMethod
from layersel.runs.fingerprints import fingerprint, review_fingerprint, revision, versions
from layersel.runs.folder import RunFolder
from layersel.runs.tracking import RunDescription

UNDECIDING = {"task.prefix_cache_mb", "merging.reviews", "merging.runs"}
"""Options that change no number, or are told by what they name."""
Options = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """One cell among others. Where files lie, where it is logged and on what it runs do not count.

    Attributes:
        title: What a person recognises, the beginning of the folder's name.
        labels: The axes of a grid: review, model, selection, n, adapter, rank, precision, pruning, merging, seed.
        options: The options that decide the numbers, by dotted name.
        model: Hash of the pretrained model.
        data: Hash of what is learnt from and tested on; for a merging cell, of its members.
        lineage: As `data`, by what made the members instead of by what came out; empty for a training cell.
    """

    title: str
    labels: Options
    options: Options
    model: str
    data: str
    lineage: Mapping[str, str]

    @property
    def hash(self) -> str:
        """Of all that decides the numbers: the same for the same cell."""
        return fingerprint([self.options, self.model, self.data, self.labels["seed"], versions()])

    @property
    def variant(self) -> str:
        """The same for the cells that differ in their seed alone."""
        return fingerprint([self.options, self.model, self.lineage.get("variant", self.data)])

    @property
    def configuration(self) -> str:
        """The same for the cells that differ in their seed and their review alone."""
        return fingerprint([self.options, self.model, self.lineage.get("configuration")])

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"{file_name(self.title)}-seed{self.labels['seed']}-{self.hash[:8]}"

    def folder(self, output: str) -> RunFolder:
        """The cell's, below an output folder."""
        return RunFolder(Path(output) / self.name)

    def described(self, grid: str | None, job_type: str) -> RunDescription:
        """For a dashboard."""
        return RunDescription(self.name, self.hash, grid, job_type, self.labels, self.variant, self.configuration)

    def to_dict(self) -> dict[str, Any]:
        """For `identity.json`."""
        hashes = {"identity": self.hash, "variant": self.variant, "configuration": self.configuration}
        options = {name: _scalar(value) for name, value in self.options.items()}
        about = {"labels": self.labels, "options": options, "versions": versions(), "revision": revision()}
        return hashes | about


def _scalar(value: Any) -> Any:
    """For the cell of a table: a list as its items."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


def training_identity(cell: Cell, review: Review) -> Identity:
    """Of a training cell."""
    options = _flat(cell, ("task", "pairs", "selection", "adapter", "pruning")) | _compression(cell)
    options |= {"data.shots": cell.data.shots, "data.if_too_few": cell.data.if_too_few}
    labels = _labels(cell, review.name)
    budget = "" if cell.selection.n is None else f"{cell.selection.n:g}"
    title = f"{review.name}-{cell.selection.name}{budget}"
    return Identity(title, labels, options, cell.model.fingerprint(), review_fingerprint(review), {})


def merging_identity(cell: Cell, method: MergeMethod, members: list[Member]) -> Identity:
    """Of a merging cell: its members' options count by what the members are."""
    options = _flat(cell, ("merging", "pruning")) | _compression(cell)
    options |= {"task.head_c": cell.task.head_c, "task.normalize": cell.task.normalize}
    known = [member.folder.read_identity() for member in members]
    lineage = {
        "variant": fingerprint([own["variant"] for own in known]),
        "configuration": fingerprint(sorted({own["configuration"] for own in known})),
    }
    reviews = "+".join(member.name for member in members)
    data = fingerprint([member.fingerprint() for member in members])
    return Identity(
        f"{reviews}-{method.name}", _labels(cell, reviews), options, cell.model.fingerprint(), data, lineage
    )


def _labels(cell: Cell, review: str) -> Options:
    return {
        "review": review,
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


def _precision(precision: Precision) -> str:
    """The format of inference, and that of training where it is another half of precision."""
    plain = precision.train in ("fp32", precision.infer)
    return precision.infer if plain else f"{precision.train}, then {precision.infer}"


def _flat(cell: Cell, groups: tuple[str, ...]) -> Options:
    """The options of these groups, and the name of each group's choice."""
    options: Options = {}
    for group in groups:
        chosen = getattr(cell, group)
        options[group] = getattr(chosen, "name", type(chosen).__name__)
        options |= {f"{group}.{name}": value for name, value in asdict(chosen).items()}
    return {name: value for name, value in options.items() if name not in UNDECIDING}


def _compression(cell: Cell) -> Options:
    """The steps, and of the precision what the steps use."""
    precision = asdict(cell.precision)
    used = precision if cell.precision.quantises else {name: precision[name] for name in ("train", "infer", "matmul")}
    kept = cell.keep_model and bool({PRUNE, QUANTISE} & set(cell.steps))
    return {f"precision.{name}": value for name, value in used.items()} | {"order": cell.steps, "keep_model": kept}
