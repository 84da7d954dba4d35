"""A finished run, an adapter or a base model on any data: metrics, or a ranking of records nobody has labelled."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from layersel import tables
from layersel.adapters import load_adapter
from layersel.backbone import Backbone, PrefixCache, Pretrained, encode
from layersel.compression import Precision
from layersel.config import build_group
from layersel.data import Record, Source, Table, write_ranking
from layersel.data.few_shot import FewShot
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError, one_of
from layersel.files import write_json
from layersel.identity import text_fingerprint
from layersel.metrics import screening_metrics
from layersel.run_folder import RunFolder, check_writable
from layersel.seeding import stream
from layersel.tasks import LogisticHead, Screening
from layersel.training import TrainerOptions, precision_problems

HEADS = ("saved", "fit")
RANKING_FILES, METRICS_FILES = (".csv", ".ris"), (".json",)


@dataclass
class Evaluation:
    """What to evaluate, and on what."""

    run: str | None = None
    """Folder of a finished run: its model, adapter and head, and its data unless others are given."""
    adapter_folder: str | None = None
    """Folder of a PEFT adapter for model=…."""
    records: str | None = None
    """A file of records to rank (CSV, TSV, RIS, NBIB, PubMed text); labels are not needed. Without it: metrics."""
    out: str | None = None
    """Where the result goes: a ranking as .csv or .ris, metrics as .json."""
    head: str | None = None
    """saved (the run's head, the default with run=…) or fit (a new one on the shots of data=…, else the default)."""
    seed: int = 0
    """Seed of the split that a new head is fitted on; with run=… the run's own is used."""
    data: Source | None = None
    """The labelled review; with run=… the run's own unless given."""
    model: Pretrained | None = None
    """The pretrained encoder; with run=… the run's own."""
    task: Screening | None = None
    """The head's options; with run=… the run's own."""
    precision: Precision | None = None
    """The numeric precision; with run=… the run's own."""
    trainer: TrainerOptions | None = None
    """The device."""

    @property
    def effective_head(self) -> str:
        """Which head scores the records."""
        return self.head if self.head is not None else "saved" if self.run is not None else "fit"

    def problems(self) -> list[str]:
        """What does not fit together."""
        found = self._contradictions()
        if self.head is not None and self.head not in HEADS:
            found.append(str(one_of("head", self.head, HEADS)))
        if self.records is not None:
            found += [problem.replace("data.path", "records", 1) for problem in Table(path=self.records).problems()]
        if self.out is not None:
            unwritable = check_writable(Path(self.out).expanduser().absolute().parent, "out")
            found += [] if unwritable is None else [unwritable]
        if self.precision is not None and self.trainer is not None:
            found += precision_problems(self.precision, self.trainer)
        return found

    def _contradictions(self) -> list[str]:
        rules = {
            "run, model: expected one of them, but got none; give run=FOLDER or model=NAME": self.run is None
            and self.model is None,
            "run, model: expected one of them, but got both; a run brings its own model": self.run is not None
            and self.model is not None,
            "run, adapter_folder: expected one of them, but got both; a run brings its own": self.run is not None
            and self.adapter_folder is not None,
            "head: expected fit, but got saved, and only a run has a saved head; give run=FOLDER": self.run is None
            and self.head == "saved",
            "data: expected a labelled review for the head, but got none; give data=table data.path=FILE": self.run
            is None
            and self.data is None,
            f"out: expected a file .csv or .ris for the ranking, but got {self.out or 'none'}": self.records is not None
            and Path(self.out or "").suffix.lower() not in RANKING_FILES,
            f"out: expected a file .json for the metrics, but got {self.out}": self.records is None
            and self.out is not None
            and Path(self.out).suffix.lower() not in METRICS_FILES,
        }
        return [message for message, broken in rules.items() if broken]


@dataclass(frozen=True)
class Subject:
    """The encoder under evaluation with what scores and splits its records.

    Attributes:
        backbone: With the adapter in place.
        data: The labelled review, the run's own or another.
        own_data: Whether it is the review that the run was trained on.
        seed: Of the split of that review.
        learnt: Fingerprints of the texts that the run has learnt from.
        head: The run's head, None where a new one is to be fitted.
    """

    backbone: Backbone
    data: Source | None
    own_data: bool
    seed: int
    task: Screening
    precision: Precision
    batch_tokens: int
    learnt: set[str]
    head: LogisticHead | None


def evaluate(options: Evaluation) -> dict[str, Any]:
    """Measure or rank, print the outcome, and write `options.out`.

    Returns:
        The metrics; for a ranking, the number of records ranked.
    """
    subject = _subject(options)
    head = subject.head
    if options.records is None or head is None:
        head, metrics = _measure(subject)
        if options.records is None:
            tables.show_scores(metrics)
            if options.out is not None:
                write_json(Path(options.out).expanduser(), metrics)
            return metrics
    return {"n_ranked": _rank(subject, head, Path(options.records), Path(str(options.out)).expanduser())}


def _subject(options: Evaluation) -> Subject:
    return _subject_of_model(options) if options.run is None else _subject_of_run(options, Path(options.run))


def _subject_of_model(options: Evaluation) -> Subject:
    if options.model is None or options.trainer is None or options.task is None or options.precision is None:
        raise UserError("model: expected the options of an encoder, but got none; give model=NAME")
    backbone = options.model.load()
    if options.adapter_folder is not None:
        load_adapter(backbone, Path(options.adapter_folder).expanduser())
    return Subject(
        backbone=backbone.to(options.trainer.device).eval(),
        data=options.data,
        own_data=False,
        seed=options.seed,
        task=options.task,
        precision=options.precision,
        batch_tokens=options.model.batch_tokens,
        learnt=set(),
        head=None,
    )


def _subject_of_run(options: Evaluation, path: Path) -> Subject:
    folder = RunFolder(path.expanduser())
    config = folder.read_config()
    model: Pretrained = build_group("model", config["model"])
    backbone = model.load()
    if folder.adapter.is_dir():
        load_adapter(backbone, folder.adapter)
    learnt = json.loads(folder.training_records.read_text(encoding="utf-8"))
    device = options.trainer.device if options.trainer is not None else backbone.device
    return Subject(
        backbone=backbone.to(device).eval(),
        data=options.data if options.data is not None else build_group("data", config["data"]),
        own_data=options.data is None,
        seed=config["seed"],
        task=build_group("task", config["task"]),
        precision=build_group("precision", config["precision"]),
        batch_tokens=model.batch_tokens,
        learnt={record["text"] for record in learnt},
        head=LogisticHead.load(folder.head) if options.effective_head == "saved" else None,
    )


def _measure(subject: Subject) -> tuple[LogisticHead, dict[str, Any]]:
    """Metrics on every labelled record that neither the head nor the adapter has learnt from, and the head used."""
    if subject.data is None:
        raise UserError("data: expected a labelled review, but got none; give data=table data.path=FILE")
    review = subject.data.load()
    texts, vectors = _encode(subject, review.records)
    head = subject.head
    if head is None or subject.own_data:
        split = FewShot.draw(review, subject.data, stream(subject.seed, "split"))
        test, labels = split.test, split.labels
        head = head if head is not None else _fitted(subject, vectors, split)
    else:
        labels = FewShot.labels_of(review)
        test = [index for index, label in enumerate(labels.tolist()) if label >= 0]
    if not subject.own_data:
        test = [index for index in test if text_fingerprint(texts.texts[index]) not in subject.learnt]
    metrics = screening_metrics(head.scores(vectors)[test], labels[test])
    return head, metrics | {"n_test": len(test), "n_included": int(labels[test].sum())}


def _fitted(subject: Subject, vectors: Tensor, split: FewShot) -> LogisticHead:
    train = split.train
    return LogisticHead.fit(vectors[train], split.labels[train], subject.task.head_c, subject.task.normalize)


def _rank(subject: Subject, head: LogisticHead, records: Path, out: Path) -> int:
    review = Table(path=str(records)).load()
    tables.show_report(review)
    _, vectors = _encode(subject, review.records)
    write_ranking(out, review.records, head.scores(vectors).tolist())
    tables.note(f"{len(review.records)} records ranked, the likeliest first: {out}")
    return len(review.records)


def _encode(subject: Subject, records: tuple[Record, ...]) -> tuple[TokenizedTexts, Tensor]:
    backbone = subject.backbone
    texts = TokenizedTexts.of(records, backbone.tokenizer, backbone.max_length)
    cache = PrefixCache(
        backbone, texts.tokens, start=0, max_bytes=0, batch_tokens=subject.batch_tokens
    )  # one pass: nothing to keep
    with subject.precision.inference(backbone.device):
        return texts, encode(cache, "encoding")
