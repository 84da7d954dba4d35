"""What one cell does, from records to ranking."""

import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import seed_everything
from omegaconf import MISSING
from torch import Tensor

from layersel import tables
from layersel.adapters import Lora, count_parameters, save_adapter
from layersel.analysis import gain_curves, layer_scores, write_figures
from layersel.backbone import Backbone, PrefixCache, Pretrained, encode
from layersel.callbacks import LayerSelection, TrainingProgress
from layersel.compression import Precision
from layersel.data import Review, Source, write_ranking
from layersel.data.datamodule import ScreeningData
from layersel.data.few_shot import FewShot
from layersel.data.pairs import Pairs
from layersel.data.tokens import TokenizedTexts, record_text
from layersel.files import write_json
from layersel.identity import cell_fingerprint, text_fingerprint
from layersel.metrics import screening_metrics
from layersel.run_folder import FINISHED, RunFolder, check_writable
from layersel.seeding import stream
from layersel.selection import Score
from layersel.stopwatch import Stopwatch
from layersel.tasks import ContrastiveScreening, LogisticHead, Screening, tfidf_scores
from layersel.tracking import Tracker, WandbOptions, sync_hint, tracked
from layersel.training import TrainerOptions, fit, make_trainer, precision_problems


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
    adapter: Lora = MISSING
    """What is placed in the chosen layers."""
    precision: Precision = MISSING
    """The numeric precision."""
    trainer: TrainerOptions = MISSING
    """The device."""
    logger: WandbOptions = MISSING
    """Weights & Biases."""
    seed: int = 0
    """Seed of every random draw: split, probe, pairs, initial values, dropout."""
    output: str = "runs"
    """Folder in which the run makes a folder of its own."""
    force: bool = False
    """Run a cell again that has already finished."""

    def problems(self) -> list[str]:
        """What does not fit together between groups, and what no group has."""
        found = precision_problems(self.precision, self.trainer)
        if self.model.attention_dropout > 0 and not self.task.dropout:
            found.append("model.attention_dropout: above 0 it needs task.dropout=true, but got task.dropout=false")
        if not 0 <= self.seed < 2**32:
            found.append(f"seed: expected 0 to {2**32 - 1}, but got {self.seed}")
        unwritable = check_writable(Path(self.output))
        return found if unwritable is None else [*found, unwritable]


def run_cell(cell: Cell, config: dict[str, Any]) -> dict[str, Any]:
    """Run a cell, or read the results of the same cell if it has finished before.

    Args:
        cell: The checked options.
        config: The same as plain values, for `config.yaml` and the loggers.

    Returns:
        The content of `metrics.json`.
    """
    clock = Stopwatch()
    with clock("read"):
        review = cell.data.load()
        split = FewShot.draw(review, cell.data, stream(cell.seed, "split"))
    tables.show_review(review, split)
    folder = RunFolder(Path(cell.output) / _folder_name(cell, review))
    if folder.state == FINISHED and not cell.force:
        tables.note(f"This cell has finished before (force=true runs it again): {folder.path}")
        metrics = folder.read_metrics()
    else:
        with folder.recording(config), tracked(cell.logger, folder.path, folder.path.name, config) as tracker:
            metrics = _Run(cell, review, split, folder, tracker, clock).metrics()
        tables.note(sync_hint(cell.logger, folder.path))
    tables.show_metrics(metrics)
    tables.note(f"Everything is in {folder.path}")
    return metrics


class _Run:
    """One attempt at a cell: its stages, in the order in which `metrics` calls them."""

    def __init__(
        self,
        cell: Cell,
        review: Review,
        split: FewShot,
        folder: RunFolder,
        tracker: Tracker,
        clock: Stopwatch,
    ):
        self.cell, self.review, self.split = cell, review, split
        self.folder, self.tracker, self.clock = folder, tracker, clock
        self.selector = LayerSelection(cell.selection, cell.adapter, cell.seed, folder.path)

    def metrics(self) -> dict[str, Any]:
        """Do everything; returns the content of `metrics.json`."""
        backbone, texts = self._load()
        self._train(backbone, texts)
        vectors = self._encode(backbone, texts)
        heads = {name: self._head(encoded) for name, encoded in vectors.items()}
        scores = {name: heads[name].scores(encoded) for name, encoded in vectors.items()}
        with self.clock("tfidf"):
            words = [record_text(record, " ") for record in self.review.records]
            scores["tfidf"] = tfidf_scores(words, self.split.train, self._labels(self.split.train))
        metrics = self._measure(scores, backbone)
        self._write(metrics, scores["adapted"], heads["adapted"], texts)
        self._report(metrics, scores)
        return metrics

    def _load(self) -> tuple[Backbone, TokenizedTexts]:
        self.cell.trainer.apply_threads()
        seed_everything(self.cell.seed, verbose=False)  # dropout has no generator of its own
        with self.clock("load"):
            backbone = self.cell.model.load().to(self.cell.trainer.device)
            texts = TokenizedTexts.of(self.review.records, backbone.tokenizer, backbone.max_length)
        tables.show_lengths(texts)
        return backbone, texts

    def _train(self, backbone: Backbone, texts: TokenizedTexts) -> None:
        cell, split = self.cell, self.split
        data = ScreeningData(
            texts.tokens, split.train, self._labels(split.train), cell.pairs, cell.task.batch_size, cell.seed
        )
        trainer = make_trainer(
            cell.trainer,
            cell.precision,
            cell.task.epochs,
            cell.task.max_steps,
            self.folder.path,
            [self.selector, TrainingProgress()],
            self.tracker.loggers,
        )
        with self.clock("train"):
            fit(trainer, ContrastiveScreening(backbone, cell.task), data)
        self.clock.seconds["select"] = self.selector.seconds
        self.clock.seconds["train"] -= self.selector.seconds
        backbone.to(cell.trainer.device)  # Lightning's teardown took it to the CPU

    def _encode(self, backbone: Backbone, texts: TokenizedTexts) -> dict[str, Tensor]:
        """Vectors of all records from the pretrained and from the adapted encoder; the prefix is computed once."""
        cell, adapted = self.cell, self.selector.adapted
        start = min(self.selector.chosen, default=0)
        cache = PrefixCache(backbone, texts.tokens, start, cell.task.prefix_cache_mb * 2**20)
        with cell.precision.inference(backbone.device):
            with (
                self.clock("encode_base"),
                adapted.disable_adapter() if adapted is not None else nullcontext(),
            ):
                base = encode(cache, "encoding, pretrained")
            if adapted is None:
                return {"adapted": base, "base": base}
            with self.clock("encode_adapted"):
                return {"adapted": encode(cache, "encoding, adapted"), "base": base}

    def _head(self, vectors: Tensor) -> LogisticHead:
        train = self.split.train
        return LogisticHead.fit(vectors[train], self._labels(train), self.cell.task.head_c, self.cell.task.normalize)

    def _measure(self, scores: dict[str, Tensor], backbone: Backbone) -> dict[str, Any]:
        test = self.split.test
        metrics: dict[str, Any] = {}
        for name, prefix in (("adapted", ""), ("base", "base/"), ("tfidf", "tfidf/")):
            measured = screening_metrics(scores[name][test], self._labels(test))
            metrics |= {f"{prefix}{metric}": value for metric, value in measured.items()}
        trainable, total = count_parameters(backbone.model)
        metrics |= {"parameters/trainable": trainable, "parameters/total": total}
        metrics |= {"n_test": len(test), "n_included": int(self._labels(test).sum())}
        return metrics | self.clock.metrics()

    def _write(self, metrics: dict[str, Any], scores: Tensor, head: LogisticHead, texts: TokenizedTexts) -> None:
        records, folder = self.review.records, self.folder
        write_ranking(folder.ranking, [records[index] for index in self.split.rest], scores[self.split.rest].tolist())
        labelled = [
            {
                "id": records[index].id,
                "label": records[index].label,
                "text": text_fingerprint(texts.texts[index]),
            }
            for index in self.split.train
        ]
        write_json(folder.training_records, labelled)
        head.save(folder.head)
        if self.selector.adapted is not None:
            save_adapter(self.selector.adapted, folder.adapter)
        write_json(folder.metrics, metrics)

    def _report(self, metrics: dict[str, Any], scores: dict[str, Tensor]) -> None:
        selection, test = self.selector.selection, self.split.test
        figures = {} if selection is None else {"layers": layer_scores(selection)}
        if metrics["n_included"] > 0:
            tested = {name: values[test] for name, values in scores.items()}
            figures["gain"] = gain_curves(tested, self._labels(test))
        if selection is not None:
            self.tracker.table("selection", *selection.table())
        self.tracker.images(write_figures(figures, self.folder.figures))
        self.tracker.summary(metrics)

    def _labels(self, indices: list[int]) -> Tensor:
        return self.split.labels[indices]


def _folder_name(cell: Cell, review: Review) -> str:
    """What a person recognises, then the hash of everything that matters."""
    groups = {name: getattr(cell, name) for name in ("task", "pairs", "selection", "adapter", "precision")}
    sources = [cell.data.shots, cell.data.if_too_few, cell.model.fingerprint()]
    identity = cell_fingerprint(groups, [*sources, cell.seed], review)[:8]
    budget = "" if cell.selection.n is None else f"{cell.selection.n:g}"
    name = re.sub(r"[^\w.-]+", "-", review.name).strip("-.")
    return f"{name}-{cell.selection.name}{budget}-seed{cell.seed}-{identity}"
