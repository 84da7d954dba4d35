"""What a training cell does, from records to ranking."""

from typing import Any

from lightning import seed_everything
from torch import Tensor

from layersel.adapters.placed import Placed
from layersel.adapters.placement import count_parameters
from layersel.backbone.prefix import PrefixCache
from layersel.callbacks import LayerSelection, TrainingProgress
from layersel.cell.adapter_training import AdapterTraining
from layersel.cell.encoder import Encoder
from layersel.cell.options import Cell
from layersel.cell.shared import Shared
from layersel.cell.steps import TRAIN
from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.files import write_json
from layersel.runs.folder import RunFolder
from layersel.runs.stopwatch import Stopwatch
from layersel.runs.tracking import Tracker
from layersel.tasks.screening.datamodule import ScreeningData
from layersel.tasks.screening.head import LogisticHead
from layersel.tasks.screening.problem import Screened
from layersel.terminal import tables
from layersel.terminal.figures import gain_curves, layer_scores, write_figures


class TrainingRun:
    """One attempt at a training cell: its stages, in the order in which `run` calls them."""

    def __init__(
        self,
        cell: Cell,
        screened: Screened,
        folder: RunFolder,
        tracker: Tracker,
        clock: Stopwatch,
        resumes: bool = False,
    ):
        self.resumes = resumes
        self.cell, self.screened = cell, screened
        self.folder, self.tracker, self.clock = folder, tracker, clock
        self.shared = Shared(cell)
        self.selector = LayerSelection(cell.selection, cell.adapter, cell.seed, folder.path, self.shared.layer_scores)
        self.trained = (0, 0)

    def run(self) -> None:
        """Do everything; the results are in the folder."""
        encoder, texts = self._load()
        vectors = self._vectors(encoder, texts)
        heads = {name: self.screened.head(encoded, self.cell.task) for name, encoded in vectors.items()}
        scores = {name: heads[name].scores(encoded) for name, encoded in vectors.items()}
        with self.clock("tfidf"):
            scores["tfidf"] = self.shared.tfidf_scores(self.screened)
        metrics = self._measure(scores, encoder)
        self._write(metrics, scores["adapted"], heads["adapted"], texts)
        encoder.save(self.folder)
        self._report(metrics, scores, encoder)

    def _load(self) -> tuple[Encoder, TokenizedTexts]:
        self.cell.trainer.apply_threads()
        seed_everything(self.cell.seed, verbose=False)  # dropout has no generator of its own
        with self.clock("load"):
            backbone = self.cell.model.load().to(self.cell.trainer.device)
            texts = self.shared.texts(self.screened.review.records, backbone)
        tables.show_lengths(texts)
        return Encoder(self.cell, backbone, texts.tokens), texts

    def _vectors(self, encoder: Encoder, texts: TokenizedTexts) -> dict[str, Tensor]:
        """Vectors of all records from the pretrained and from the final encoder."""
        if self.cell.steps == [TRAIN] and not self.cell.adapter.quantised_base:
            self._take_steps(encoder, texts)
            return self._switched_vectors(encoder, texts)
        with self.clock("encode_base"):
            base = self._base(encoder, texts, texts.tokens)
        self._take_steps(encoder, texts)
        with self.clock("encode_adapted"):
            return {"adapted": encoder.encode(texts.tokens, "encoding, adapted"), "base": base}

    def _switched_vectors(self, encoder: Encoder, texts: TokenizedTexts) -> dict[str, Tensor]:
        """The adapter is all the difference: it is switched off and on, and the prefix is computed once."""
        placed = encoder.placed
        cache = self.shared.prefixes(texts.tokens, encoder.backbone, start=min(placed.layers, default=0))
        with self.clock("encode_base"), placed.disabled():
            base = self._base(encoder, texts, cache)
        if not placed.layers:
            return {"adapted": base, "base": base}
        with self.clock("encode_adapted"):
            return {"adapted": encoder.encode(cache, "encoding, adapted"), "base": base}

    def _base(self, encoder: Encoder, texts: TokenizedTexts, given: PrefixCache | list[TokenIds]) -> Tensor:
        """Vectors of the pretrained encoder, computed from `given` unless another cell has done it."""
        return self.shared.base_vectors(
            texts.tokens, encoder.backbone, lambda: encoder.encode(given, "encoding, pretrained")
        )

    def _take_steps(self, encoder: Encoder, texts: TokenizedTexts) -> None:
        for step in self.cell.steps:
            with self.clock(step):
                encoder.take(step, lambda: self._train(encoder, texts))
        self.clock.seconds["select"] = self.selector.seconds
        self.clock.seconds[TRAIN] -= self.selector.seconds

    def _train(self, encoder: Encoder, texts: TokenizedTexts) -> Placed:
        """Select, place, train; the adapter is written at once, as later steps may merge it away."""
        cell, train, backbone = self.cell, self.screened.split.train, encoder.backbone
        labels = self.screened.labels(train)
        data = ScreeningData(texts.tokens, train, labels, cell.pairs, cell.task.batch_size, cell.seed)
        training = AdapterTraining(cell, backbone, data, self.folder, self.resumes)
        placed, precision = training.run(self.selector, [TrainingProgress()], self.tracker.loggers)
        encoder.report["train precision"] = precision
        self.trained = count_parameters(backbone.model)
        placed.save(self.folder.adapter)
        return placed

    def _measure(self, scores: dict[str, Tensor], encoder: Encoder) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for name, prefix in (("adapted", ""), ("base", "base/"), ("tfidf", "tfidf/")):
            metrics |= self.screened.metrics(scores[name], prefix)
        trainable, total = self.trained
        metrics |= {"parameters/trainable": trainable, "parameters/total": total}
        return metrics | self.screened.counts() | encoder.metrics() | self.clock.metrics()

    def _write(self, metrics: dict[str, Any], scores: Tensor, head: LogisticHead, texts: TokenizedTexts) -> None:
        folder = self.folder
        self.screened.write_ranking(folder.ranking, scores)
        write_json(folder.training_records, self.screened.learnt_records(texts))
        head.save(folder.head)
        write_json(folder.metrics, metrics)

    def _report(self, metrics: dict[str, Any], scores: dict[str, Tensor], encoder: Encoder) -> None:
        selection, test = self.selector.selection, self.screened.split.test
        figures = {} if selection is None else {"layers": layer_scores(selection)}
        if metrics["n_included"] > 0:
            tested = {name: values[test] for name, values in scores.items()}
            figures["gain"] = gain_curves(tested, self.screened.labels(test))
        if selection is not None:
            self.tracker.table("selection", *selection.table())
            about = {"base_model": self.cell.model.path, "layers": selection.layers}
            self.tracker.artifact(self.folder.path.name, self.folder.adapter, about)
        self.tracker.images(write_figures(figures, self.folder.figures))
        self.tracker.summary(metrics | encoder.summary())
