"""A finished run, an adapter or a base model on any data: metrics, or a ranking of records nobody has labelled."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from layersel.adapters.loading import load_adapter
from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import encode
from layersel.backbone.prefix import PrefixCache
from layersel.backbone.pretrained import Pretrained
from layersel.cell.steps import MERGE, PRUNE, QUANTISE
from layersel.compression.model_files import load_model
from layersel.compression.precision import Precision
from layersel.config import build_group
from layersel.data.reviews.records import Record, Review
from layersel.data.reviews.source import Source
from layersel.data.reviews.table import Table
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError, one_of
from layersel.files import write_json
from layersel.metrics import screening_metrics
from layersel.runs.fingerprints import text_fingerprint
from layersel.runs.folder import RunFolder, check_writable
from layersel.seeding import stream
from layersel.tasks.screening.export import write_ranking
from layersel.tasks.screening.few_shot import FewShot
from layersel.tasks.screening.head import LogisticHead
from layersel.tasks.screening.module import Screening
from layersel.tasks.screening.problem import Screened
from layersel.terminal import tables
from layersel.training.trainer import TrainerOptions

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
        return found

    def _contradictions(self) -> list[str]:
        suffix = Path(self.out or "").suffix.lower()
        base_model, ranking = self.run is None, self.records is not None
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
                "data: expected a labelled review for the head, but got none; give data=table data.path=FILE",
            ),
            (
                ranking and suffix not in RANKING_FILES,
                f"out: expected a file .csv or .ris for the ranking, but got {self.out or 'none'}; out=ranking.csv",
            ),
            (
                not ranking and self.out is not None and suffix not in METRICS_FILES,
                f"out: expected a file .json for the metrics, but got {self.out}; give out=metrics.json",
            ),
        ]
        return [message for broken, message in rules if broken]


@dataclass(frozen=True)
class Subject:
    """The encoder under evaluation with what scores and splits its records.

    Attributes:
        backbone: With the adapter in place.
        source: The options of the labelled review, the run's own or another.
        review: Its records; None where they are not needed, to rank with a saved head.
        own_data: Whether it is the review that the run was trained on.
        seed: Of the split of that review.
        task: The head's options.
        precision: In which records are encoded.
        learnt: Fingerprints of the texts that the run has learnt from.
        head: The run's head, None where a new one is to be fitted.
    """

    backbone: Backbone
    source: Source
    review: Review | None
    own_data: bool
    seed: int
    task: Screening
    precision: Precision
    learnt: set[str]
    head: LogisticHead | None


def evaluate(options: Evaluation) -> dict[str, Any]:
    """Measure or rank, print the outcome, and write `options.out`.

    Returns:
        The metrics; for a ranking, the number of records ranked.
    """
    if options.trainer is not None:
        options.trainer.apply_threads()
    library = None if options.records is None else Table(path=options.records, label_level="none").load()
    subject = _subject_of_model(options) if options.run is None else _subject_of_run(options, Path(options.run))
    head, metrics = _measure(subject)
    if metrics:
        tables.show_scores(metrics)
    out = Path(options.out or "").expanduser()
    if library is not None:
        tables.show_report(library)
        _, vectors = _encode(subject, library.records)
        write_ranking(out, library.records, head.scores(vectors).tolist())
        tables.note(f"{len(library.records)} records ranked, the likeliest first: {out}")
        return {"n_ranked": len(library.records)}
    if options.out is not None:
        write_json(out, metrics)
    return metrics


def _subject_of_model(options: Evaluation) -> Subject:
    model, source = options.model, options.data
    if model is None or source is None or options.trainer is None or options.task is None or options.precision is None:
        raise UserError("model, data: expected an encoder and a review, but got none; give model=NAME data=NAME")
    review = source.load()
    backbone = model.load()
    if options.adapter_folder is not None:
        placed = load_adapter(backbone, Path(options.adapter_folder).expanduser())
        if options.precision.quantises:
            placed.merge()
    backbone.to(options.trainer.device).eval()
    if options.precision.quantises:
        tokens = TokenizedTexts.of(review.records, backbone.tokenizer, backbone.max_length).tokens
        quantised = options.precision.quantise(backbone, tokens, stream(options.seed, "quantisation"))
        tables.note(quantised.effective)
    return Subject(
        backbone=backbone,
        source=source,
        review=review,
        own_data=False,
        seed=options.seed,
        task=options.task,
        precision=options.precision,
        learnt=RunFolder(Path(options.adapter_folder or "").expanduser().parent).read_learnt(),
        head=None,
    )


def _subject_of_run(options: Evaluation, path: Path) -> Subject:
    folder = RunFolder(path.expanduser())
    config = folder.read_config()
    precision: Precision = build_group("precision", config["precision"])
    if precision.infer == "int8" and options.trainer is not None and not options.trainer.on_cpu:
        raise UserError("run: its precision.infer=int8 runs on the CPU only; give trainer=cpu")
    if folder.merging.is_file() and options.data is None:
        raise UserError("run: it merged the adapters of several reviews; name the review with data=…")
    source: Source = options.data if options.data is not None else build_group("data", config["data"])
    head = _saved_head(folder, source) if options.effective_head == "saved" else None
    review = source.load() if options.records is None or head is None else None
    backbone = _run_backbone(folder, build_group("model", config["model"]))
    device = options.trainer.device if options.trainer is not None else backbone.device
    return Subject(
        backbone=backbone.to(device).eval(),
        source=source,
        review=review,
        own_data=options.data is None,
        seed=config["seed"],
        task=build_group("task", config["task"]),
        precision=precision,
        learnt=folder.read_learnt(),
        head=head,
    )


def _saved_head(folder: RunFolder, source: Source) -> LogisticHead:
    """The run's head; of a merging run the one of that review."""
    if not folder.merging.is_file():
        return LogisticHead.load(folder.head)
    reviews = list(json.loads(folder.merging.read_text(encoding="utf-8"))["adapters"])
    if source.name not in reviews:
        raise UserError(
            f"head: expected a review that the run has merged ({', '.join(reviews)}), but got {source.name}; "
            "give head=fit for another"
        )
    return LogisticHead.load(folder.review_head(source.name))


def _run_backbone(folder: RunFolder, model: Pretrained) -> Backbone:
    """The run's final encoder: the compressed model that it kept, or the pretrained one, with what stands beside it."""
    steps = folder.read_steps()
    if {PRUNE, QUANTISE} & set(steps) and not folder.model.is_dir():
        raise UserError("run: it kept no compressed model; train with keep_model=true")
    backbone = load_model(folder.model, model) if folder.model.is_dir() else model.load()
    if folder.adapter.is_dir() and MERGE not in steps:
        load_adapter(backbone, folder.adapter)
    return backbone


def _measure(subject: Subject) -> tuple[LogisticHead, dict[str, Any]]:
    """The head, and metrics on every labelled record that neither it nor the adapter has learnt from."""
    if subject.review is None:
        if subject.head is None:
            raise UserError("head: expected a run's head or a labelled review to fit one on, but got neither")
        return subject.head, {}
    texts, vectors = _encode(subject, subject.review.records)
    test, labels = FewShot.labelled(subject.review)
    head = subject.head
    if head is None or subject.own_data:
        split = FewShot.draw(subject.review, subject.source, stream(subject.seed, "split"))
        _check_unchanged(subject, texts, split)
        head = head if head is not None else Screened(subject.review, split).head(vectors, subject.task)
        test = split.test
    if not subject.own_data:
        test = [index for index in test if text_fingerprint(texts.texts[index]) not in subject.learnt]
    metrics = screening_metrics(head.scores(vectors)[test], labels[test])
    return head, metrics | {"n_test": len(test), "n_included": int(labels[test].sum())}


def _check_unchanged(subject: Subject, texts: TokenizedTexts, split: FewShot) -> None:
    """A run's own review must still give the records it was trained on, or some of them would be tested on."""
    drawn = {text_fingerprint(texts.texts[index]) for index in split.train}
    if subject.own_data and drawn != subject.learnt:
        raise UserError("run: the file of its review has changed since; give the records to test on with data=…")


def _encode(subject: Subject, records: tuple[Record, ...]) -> tuple[TokenizedTexts, Tensor]:
    """Texts and vectors; with one pass there is no prefix worth keeping."""
    backbone = subject.backbone
    texts = TokenizedTexts.of(records, backbone.tokenizer, backbone.max_length)
    tables.show_lengths(texts)
    cache = PrefixCache(backbone, texts.tokens, start=0, max_bytes=0)
    with subject.precision.matmuls(), subject.precision.inference(backbone.device):
        return texts, encode(cache, "encoding")
