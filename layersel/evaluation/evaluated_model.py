"""The model under evaluation: that of a run, or a pretrained one with an adapter beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layersel.adapters.loading import load_adapter
from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.backbone.pretrained import Pretrained
from layersel.cell.members import saved_head
from layersel.cell.steps import MERGE, PRUNE, QUANTISE
from layersel.compression.model_files import load_model
from layersel.compression.precision import Precision
from layersel.config import build_group
from layersel.data.source import Dataset, Source
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError
from layersel.evaluation.options import Evaluation
from layersel.runs.folder import RunFolder, learnt_by_run
from layersel.seeding import stream
from layersel.tasks.problem import Problem, Subject
from layersel.tasks.task import Task
from layersel.terminal.tables import note


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with its task, and what it has learnt from.

    Attributes:
        backbone: With the adapter in place.
        pretrained: What it was before.
        task: The task that it is judged by.
        precision: In which texts are encoded.
        head: The run's head, None where a new one is to be fitted.
        learnt: Fingerprints of the texts that the adapter, or the model before it, has learnt from.
        dataset: The labelled data; None where they are not needed, to predict with a saved head.
        own_data: Whether it is the dataset that the run was trained on.
        seed: Of the split of that dataset.
    """

    backbone: Backbone
    pretrained: Pretrained
    task: Task
    precision: Precision
    head: Any
    learnt: frozenset[str]
    dataset: Dataset | None
    own_data: bool
    seed: int

    def subject(self, problem: Problem) -> Subject:
        """Returns the model on the texts of a problem; with one pass there is no prefix worth keeping."""
        backbone, texts = self.backbone, _texts(problem, self.backbone)
        note(texts.lengths_line())
        cache = PrefixCache(backbone, texts.tokens, start=0, max_bytes=0)

        return Subject(backbone, texts, cache, self.inference, "under evaluation")

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Within the block the model runs in its precision."""
        with self.precision.matmuls(), self.precision.inference(self.backbone.device):
            yield


def pretrained_model(options: Evaluation) -> EvaluatedModel:
    """Returns the pretrained model that is named, with the adapter in `adapter_folder` if there is one."""
    model, source = options.model, options.labelled
    if model is None or source is None or options.trainer is None or options.task is None or options.precision is None:
        raise UserError("model, data: expected a model and its data, but got none; give model=NAME data=NAME")
    adapter = None if options.adapter_folder is None else Path(options.adapter_folder).expanduser()
    learnt = learnt_by_run(Path(model.location())) | (frozenset() if adapter is None else learnt_by_run(adapter))
    dataset = options.load(source)
    backbone = model.load(options.task.auto_class)
    if adapter is not None:
        placed = load_adapter(backbone, adapter)
        if options.precision.quantises:
            placed.merge()
    backbone.to(options.trainer.device).eval()
    if options.precision.quantises:
        problem = options.task.problem(dataset, None)
        texts = _texts(problem, backbone)
        visible = [texts.tokens[text] for text in problem.visible]
        quantised = options.precision.quantise(backbone, visible, stream(options.seed, "quantisation"))
        note(quantised.effective)
    return EvaluatedModel(
        backbone=backbone,
        pretrained=model,
        task=options.task,
        precision=options.precision,
        head=None,
        learnt=learnt,
        dataset=dataset,
        own_data=False,
        seed=options.seed,
    )


def model_of_run(options: Evaluation, folder: RunFolder) -> EvaluatedModel:
    """Returns the final model of a finished run."""
    config = folder.read_config()
    task: Task = build_group("task", config["task"])
    precision: Precision = build_group("precision", config["precision"])
    if precision.infer == "int8" and options.trainer is not None and not options.trainer.on_cpu:
        raise UserError("run: its precision.infer=int8 runs on the CPU only; give trainer=cpu")
    if folder.read_merged() and options.labelled is None:
        raise UserError("run: it merged the adapters of several datasets; name one with data=…")
    source: Source = options.labelled if options.labelled is not None else build_group("data", config["data"])
    refused = task.refusal(source)
    if refused is not None:
        raise UserError(refused)
    head = _saved_head(folder, task, source) if options.effective_head == "saved" else None
    dataset = options.load(source) if options.records is None or options.effective_head == "fit" else None
    pretrained: Pretrained = build_group("model", config["model"])
    backbone = backbone_of_run(folder, task, pretrained)
    device = options.trainer.device if options.trainer is not None else backbone.device
    return EvaluatedModel(
        backbone=backbone.to(device).eval(),
        pretrained=pretrained,
        task=task,
        precision=precision,
        head=head,
        learnt=folder.read_learnt(),
        dataset=dataset,
        own_data=options.labelled is None,
        seed=config["seed"],
    )


def _saved_head(folder: RunFolder, task: Task, source: Source) -> Any:
    """Returns the head of a run; of a merging run the one of that dataset."""
    merged = folder.read_merged()
    if not merged:
        return saved_head(folder, task, folder.path)
    if source.name not in merged:
        raise UserError(
            f"head: expected a dataset that the run has merged ({', '.join(merged)}), but got {source.name}; "
            "give head=fit for another"
        )
    return saved_head(folder, task, folder.of_dataset(source.name))


def backbone_of_run(folder: RunFolder, task: Task, model: Pretrained) -> Backbone:
    """Returns a finished run's final model: the compressed one that it kept, or the pretrained one, with its adapter.

    Raises:
        UserError: It kept no compressed model, or a file is damaged.
    """
    steps = folder.read_steps()
    kept = folder.holds(folder.model)
    if {PRUNE, QUANTISE} & set(steps) and not kept:
        raise UserError("run: it kept no compressed model; train with keep_model=true")
    backbone = load_model(folder.checked(folder.model), model, task.auto_class) if kept else model.load(task.auto_class)
    if folder.holds(folder.adapter) and MERGE not in steps:
        load_adapter(backbone, folder.checked(folder.adapter))
    return backbone


def _texts(problem: Problem, backbone: Backbone) -> TokenizedTexts:
    if backbone.tokenizer is None:
        raise RuntimeError("a pretrained model is loaded with its tokenizer")
    return problem.tokenized(backbone.tokenizer, backbone.max_length)
