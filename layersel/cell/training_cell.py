"""What a training cell does, from a dataset to results: its stages, in the order in which `run` calls them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from layersel.adapters.placement import count_parameters
from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import token_batches
from layersel.backbone.prefix import PrefixCache
from layersel.callbacks.layer_selection import LayerSelection
from layersel.cell.adapted_model import AdaptedModel
from layersel.cell.adapter_training import AdapterTraining
from layersel.cell.attempt import CellAttempt
from layersel.cell.loss_curve import loss_curve
from layersel.cell.options import Cell
from layersel.cell.printing import TOKENS
from layersel.cell.shared import Shared
from layersel.cell.steps import TRAIN
from layersel.cell.warm_up import WarmUp
from layersel.cell.worth import BASE, HIGH, LOW, best_without_adapter
from layersel.data.tokens import TokenizedTexts
from layersel.files import write_json
from layersel.runs.folder import learnt_by_run
from layersel.seeding import stream
from layersel.selection.dashboard import LAYER, layer_curves, selection_summary
from layersel.selection.figure import layer_scores
from layersel.selection.score import WARM_UP, Probe
from layersel.selection.select import make_selection
from layersel.selection.selection import Selection
from layersel.selection.table import show_selection
from layersel.tasks.problem import Outcome, Problem
from layersel.terminal.figures import PNG, SVG, write_figures
from layersel.terminal.tables import counted, note
from layersel.training.datamodule import TrainingData

ADAPTED = "adapted"


class TrainingCell:
    """One attempt at a training cell.

    Args:
        cell: The options.
        problem: The dataset, read and split.
        attempt: The folder, the loggers and the clock of the attempt.

    Attributes:
        training: The training, from its step on.
    """

    training: AdapterTraining

    def __init__(self, cell: Cell, problem: Problem, attempt: CellAttempt):
        self.cell, self.problem, self.attempt = cell, problem, attempt
        self.folder, self.clock = attempt.folder, attempt.clock
        self.shared = Shared(cell)
        self.parameters = (0, 0)
        self.logged: list[dict[str, float]] = []
        self.head: Any = None
        self.n_tokens = 0

    def run(self) -> None:
        """Does everything; the results are in the folder."""
        backbone, texts, data = self.load()
        model = AdaptedModel(self.cell, backbone, [texts.tokens[text] for text in self.problem.visible])
        base = None if self.adapter_is_all else self.judge_base(model, texts, model.cache(texts.tokens, start=0))
        for step in self.cell.steps:
            if step == TRAIN:
                selection = self.train(model, data, self.select(backbone, data))
            else:
                with self.clock(step):
                    model.compress(step)
            model.end(step)
        outcomes = self.judge(model, texts, base)
        outcomes |= self.judge_references(outcomes[BASE])
        metrics = self.write(model, texts, outcomes)
        self.report(model, texts, selection, outcomes, metrics)

    @property
    def adapter_is_all(self) -> bool:
        """Returns whether the adapter alone tells the final model from the pretrained one, and can be switched off."""
        return self.cell.steps == [TRAIN] and not self.cell.adapter.quantised_base

    def load(self) -> tuple[Backbone, TokenizedTexts, TrainingData]:
        """Loads the model and tokenises all texts, once."""
        with self.clock("load"):
            backbone = self.cell.model.load(self.cell.task.auto_class).to(self.cell.trainer.device)
            texts = self.shared.texts(self.problem, backbone)
        for line in self.problem.token_lines(texts, backbone.tokenizer):
            note(line, once=self.cell.grid is not None)
        self.tell_learnt_before(texts)
        return backbone, texts, self.problem.data(texts, backbone.tokenizer, self.cell.seed)

    def tell_learnt_before(self, texts: TokenizedTexts) -> None:
        """Tells of texts which the model, if it is a run's, has learnt from, and which are not learnt from here.

        Raises:
            DamagedError: It is not as its run left it.
        """
        before = learnt_by_run(Path(self.cell.model.location()))
        if not before:
            return
        others = before - {record["text"] for record in self.problem.learnt(texts)}
        count = sum(self.problem.fingerprint_of(index, texts) in others for index in range(len(texts.texts)))
        if count:
            known = counted(count, "text")
            note(f"model.path: its run has learnt from {known} that may be tested on here, which flatters the metrics")

    def select(self, backbone: Backbone, data: TrainingData) -> Selection:
        """Scores the layers and chooses those to adapt; an attempt that resumes takes what its checkpoint says."""
        cell = self.cell
        with self.clock("select"):
            backbone.requires_grad_(False)
            if self.attempt.resumes:
                chooser = LayerSelection(cell.selection, cell.adapter, cell.seed, ranks=cell.ranks)
                selection = chooser.saved_selection(self.folder.checkpoint)
            else:
                probe = self.probe(backbone, data)
                scores = self.shared.layer_scores(backbone, probe, self.problem)
                count = cell.adapter.layer_parameters
                selection = make_selection(backbone, cell.selection, probe, scores, count)
                selection = cell.adapter.with_ranks(selection, cell.ranks)
        if cell.grid is None:
            show_selection(selection)
            note(cell.regime.line(len(selection.layers)))
        write_json(self.folder.selection, selection.to_dict())
        return selection

    def probe(self, backbone: Backbone, data: TrainingData) -> Probe:
        """Returns what the score needs to look at, and no more."""
        score = self.cell.selection
        generator = stream(self.cell.seed, "selection")
        batches = token_batches(backbone, data.probe_tokens(score.n_texts, score.takes_first)) if score.n_texts else []
        warm_up = WarmUp(self.cell, self.problem, backbone, data, self.folder) if WARM_UP in score.needs else None
        if score.n_batches == 0:
            return Probe(batches, generator, warm_up=warm_up)
        module = self.problem.module(backbone)
        module.prepare(data.train_tokens, start=0)
        labelled = data.labelled_batches(score.n_batches, score.per_example)
        return Probe(batches, generator, labelled, module.loss, warm_up)

    def train(self, model: AdaptedModel, data: TrainingData, selection: Selection) -> Selection:
        """Places and trains the adapter, and writes it at once, as later steps may merge it away.

        Returns:
            The selection that the training has left: a regime may have chosen again.
        """
        self.training = AdapterTraining(
            self.cell, self.problem, model.backbone, data, selection, self.folder, self.attempt.resumes
        )
        with self.clock(TRAIN):
            trained = self.shared.trained(self.training, self.attempt.tracker.loggers)
        self.clock.replace(TRAIN, trained.seconds)
        module, model.report["train precision"], self.logged = trained.module, trained.precision, trained.logged
        model.placed, self.head, self.n_tokens = module.placed, module.trained_head(), module.n_tokens
        self.parameters = count_parameters(model.backbone.model)
        model.placed.save(self.folder.adapter)
        if trained.selection != selection:
            if self.cell.grid is None:
                show_selection(trained.selection)
            write_json(self.folder.selection, trained.selection.to_dict())
        return trained.selection

    def judge(self, model: AdaptedModel, texts: TokenizedTexts, base: Outcome | None) -> dict[str, Outcome]:
        """Judges the final model, and the pretrained one if that was not done before its weights were changed."""
        if base is not None:
            cache = model.cache(texts.tokens, start=0)
        else:
            cache = self.shared.prefixes(texts, model.backbone, start=min(model.placed.layers, default=0))
            with model.placed.disabled():
                base = self.judge_base(model, texts, cache)
            if not model.placed.layers and self.head is None:
                return {ADAPTED: base, BASE: base}
        recall = self.shared.of_trained(texts, self.training) if self.cell.steps == [TRAIN] else None
        with self.clock("judge_adapted"):
            return {ADAPTED: self.problem.judge(model.subject(texts, cache, ADAPTED, recall), self.head), BASE: base}

    def judge_base(self, model: AdaptedModel, texts: TokenizedTexts, cache: PrefixCache) -> Outcome:
        """Judges the pretrained model, of which another cell may have computed what is needed."""
        recall = self.shared.of_pretrained(texts, model.backbone)
        with self.clock("judge_base"):
            return self.problem.judge(model.subject(texts, cache, "pretrained", recall))

    def judge_references(self, base: Outcome) -> dict[str, Outcome]:
        """Judges what needs no model."""
        with self.clock("references"):
            return self.problem.references(self.shared.store, base)

    def write(self, model: AdaptedModel, texts: TokenizedTexts, outcomes: dict[str, Outcome]) -> dict[str, Any]:
        """Writes the task's files, curves, what was learnt from, the compressed model and, last, the metrics."""
        self.problem.write(outcomes[ADAPTED], self.folder.path)
        write_json(self.folder.training_records, self.problem.learnt(texts))
        model.save(self.folder)
        curves = self.problem.curves(outcomes, texts) | loss_curve(self.logged, ADAPTED)
        if curves:
            write_json(self.folder.curves, {name: asdict(own) for name, own in curves.items()})
        trainable, total = self.parameters
        metrics: dict[str, Any] = {}
        for name, outcome in outcomes.items():
            prefix = "" if name == ADAPTED else f"{name}/"
            metrics |= {f"{prefix}{metric}": value for metric, value in outcome.metrics.items()}
        metrics |= {"parameters/trainable": trainable, "parameters/total": total}
        best = best_without_adapter(metrics, self.cell.task)
        if best is not None:
            generator = stream(self.cell.seed, "difference")
            low, high = self.problem.difference_interval(outcomes[ADAPTED], outcomes[best], generator)
            metrics |= {LOW: low, HIGH: high}
        metrics |= self.problem.changes(outcomes[ADAPTED], outcomes[BASE])
        metrics |= outcomes[ADAPTED].counts | model.metrics() | self.clock.metrics()
        if self.n_tokens:
            metrics[TOKENS] = 1000 * metrics[f"seconds/{TRAIN}"] / self.n_tokens
        write_json(self.folder.metrics, metrics)
        return metrics

    def report(
        self,
        model: AdaptedModel,
        texts: TokenizedTexts,
        selection: Selection,
        outcomes: dict[str, Outcome],
        metrics: dict[str, Any],
    ) -> None:
        """Draws the figures and logs what was measured once."""
        tracker = self.attempt.tracker
        figures, forms = {"layers": layer_scores(selection)} | self.problem.figures(outcomes), [PNG]
        if self.cell.draws_all:
            figures, forms = figures | self.problem.further_figures(outcomes, texts), [PNG, SVG]
        for name, table in {"selection": selection.table(), **self.problem.tables(outcomes)}.items():
            tracker.table(name, *table)
        tracker.curves(LAYER, layer_curves(selection))
        about = {"base_model": self.cell.model.path, "layers": selection.layers}
        tracker.artifact(self.folder.path.name, self.folder.adapter, about)
        tracker.images(write_figures(figures, self.folder.figures, forms))
        tracker.summary(metrics | model.summary() | selection_summary(selection))
