"""The nine tasks of GLUE (Wang et al. 2019, "GLUE: A multi-task benchmark …", ICLR), from the hub or a folder."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING

from layersel.data.packing import bare_name
from layersel.data.texts.assemble import Part, assemble
from layersel.data.texts.columns import TEXT, columns_wanted
from layersel.data.texts.examples import TRAIN, VALIDATION, TextDataset
from layersel.data.texts.hub_rows import is_saved, load_splits, package_problems, rows_of
from layersel.data.texts.rows import EXTENSIONS, listed, read_rows
from layersel.data.texts.source import LabelledSource
from layersel.errors import UserError, one_of

HUB_NAME = "nyu-mll/glue"
_SHARD = re.compile(r"-\d{5}-of-\d{5}[^.]*")
_REMEDY = (
    "connect once (HF_HOME keeps it), or set data.path=FOLDER with it: written by save_to_disk, or of train and "
    "validation files"
)


@dataclass(frozen=True, slots=True)
class GlueTask:
    """One task of the benchmark.

    Attributes:
        texts: The columns of the text, or of the two texts.
        classes: The names of the classes, in the order of their numbers; empty: labels are numbers.
        metrics: Those of the benchmark's paper (table 1), the primary one first.
        validation: The split that is measured on, as labels of the test are not published.
    """

    texts: tuple[str, ...]
    classes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    validation: str = VALIDATION


_ENTAILMENT = ("entailment", "not_entailment")
TASKS = {
    "cola": GlueTask(("sentence",), ("unacceptable", "acceptable"), ("matthews",)),
    "sst2": GlueTask(("sentence",), ("negative", "positive")),
    "mrpc": GlueTask(("sentence1", "sentence2"), ("not_equivalent", "equivalent"), ("accuracy", "f1")),
    "stsb": GlueTask(("sentence1", "sentence2"), metrics=("pearson", "spearman")),
    "qqp": GlueTask(("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1")),
    "mnli": GlueTask(
        ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), validation="validation_matched"
    ),
    "qnli": GlueTask(("question", "sentence"), _ENTAILMENT),
    "rte": GlueTask(("sentence1", "sentence2"), _ENTAILMENT),
    "wnli": GlueTask(("sentence1", "sentence2"), ("not_entailment", "entailment")),
}


@dataclass
class Glue(LabelledSource):
    """A task of GLUE: its training set, and its validation set, which is measured on."""

    named_by: ClassVar[str | None] = "task"

    task: str = MISSING
    """Task of GLUE: cola, sst2, mrpc, stsb, qqp, mnli (validation_matched), qnli, rte or wnli."""

    path: str | None = None
    """Folder with the task, or with a folder for each: written by save_to_disk of datasets, or of files that are called
    train and validation (.parquet, .jsonl, .csv, …). null: nyu-mll/glue on the hub (pip install 'layersel[hub]')."""

    revision: str | None = None
    """Branch, tag or commit on the hub."""

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the data, one line each."""
        found = [] if self.task in TASKS else [str(one_of("data.task", self.task, TASKS))]
        if self.path is None:
            return found + package_problems()
        if not Path(self.path).expanduser().is_dir():
            found.append(f"data.path: expected a folder, but there is none at {self.path!r}; check the path")
        if self.revision is not None:
            found.append("data.revision contradicts data.path: a folder has no revisions; leave one out")
        return found

    def files(self) -> list[Path]:
        """Returns the files of the folder, if one is named."""
        folder = self._folder
        return [] if folder is None else sorted(path for path in folder.rglob("*") if path.is_file())

    def load(self) -> TextDataset:
        """Reads the task, from the hub once.

        Raises:
            UserError: An option is wrong, or the task cannot be read.
        """
        self.check()
        own = TASKS[self.task]
        parts, notes = self._parts(own)
        dataset = assemble(
            self.name,
            parts,
            {**dict(zip(("text", "pair"), own.texts, strict=False)), "label": "label"},
            forms=[TEXT],
            labels="classes" if own.classes else "numbers",
            classes=own.classes,
        )
        unread = f"{own.validation} is measured on; labels of the test are not published, and it is not read"
        return replace(dataset, metrics=own.metrics, notes=(*dataset.notes, unread, *notes))

    @property
    def _folder(self) -> Path | None:
        """The folder of the task."""
        if self.path is None:
            return None
        folder = Path(self.path).expanduser()
        return folder / self.task if (folder / self.task).is_dir() else folder

    def _parts(self, own: GlueTask) -> tuple[list[Part], tuple[str, ...]]:
        """Returns the rows of both splits, and notes."""
        folder = self._folder
        if folder is not None and not is_saved(folder):
            return list(_file_parts(folder, own)), ()
        if folder is None:
            splits, notes = load_splits(HUB_NAME, self.task, self.revision, _REMEDY)
            where = f"{HUB_NAME} {self.task}"
        else:
            splits, notes = load_splits(str(folder))
            where = str(folder)
        names = {TRAIN: TRAIN, VALIDATION: own.validation}
        _check_splits(where, names.values(), splits)
        return [Part(f"{where}, {name}", rows_of(splits[name]), split) for split, name in names.items()], notes


def _file_parts(folder: Path, own: GlueTask) -> Iterator[Part]:
    """Yields the rows of the files that are called as the splits are; they may be in shards."""
    named: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*"), *folder.glob("data/*")]):
        bare = bare_name(path, EXTENSIONS)
        if bare != path.name and path.is_file():
            named.setdefault(_SHARD.sub("", bare), []).append(path)
    _check_splits(str(folder), (TRAIN, own.validation), named)
    wanted = columns_wanted({"label": "label"})
    for split, name in ((TRAIN, TRAIN), (VALIDATION, own.validation)):
        forms = sorted({_SHARD.sub("", path.name) for path in named[name]})
        if len(forms) > 1:
            raise UserError(f"{folder}: expected one file of {name}, but found {listed(forms)}; keep one of them")
        for path in named[name]:
            yield Part(str(path), read_rows(path, wanted), split)


def _check_splits(where: str, needed: Iterable[str], found: Iterable[str]) -> None:
    lacking = [name for name in needed if name not in set(found)]
    if lacking:
        raise UserError(f"{where}: expected the split {lacking[0]}, but found {listed(found)}; {_REMEDY}")
