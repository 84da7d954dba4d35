"""A finished run, an adapter or a base model on any data: metrics, or predictions for data nobody has labelled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from layersel.backbone.prefix import PrefixCache
from layersel.data.source import Dataset
from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError
from layersel.evaluation.evaluated_model import EvaluatedModel, model_of_run, pretrained_model
from layersel.evaluation.options import Evaluation
from layersel.files import write_json
from layersel.runs.folder import RunFolder
from layersel.runs.store import Store
from layersel.tasks.problem import Outcome, Problem, Subject
from layersel.tasks.simulation import Simulation
from layersel.tasks.task import Task
from layersel.terminal.figures import PNG, SVG, write_figures
from layersel.terminal.tables import format_number, note, show_table


def evaluate(options: Evaluation) -> dict[str, Any]:
    """Judges, predicts or simulates, prints the outcome, and writes `options.out`.

    Returns:
        The metrics; for predictions, their number, or what is said of when to stop.
    """
    if options.trainer is not None:
        options.trainer.apply_threads()
    source = options.library
    library = None if source is None else source.load()
    folder = RunFolder(Path(options.run or "").expanduser())
    if library is not None and options.stopping is not None:
        options.stopping.check(library, folder)
    model = pretrained_model(options) if options.run is None else model_of_run(options, folder)
    if options.simulation is not None:
        return simulate(options.simulation, model, Path(options.out or "").expanduser())
    head, metrics = judge(model, options.figures)
    if metrics:
        show(metrics, model.task)
    if library is not None:
        return predict(options, model, head, library, folder)
    if options.out is not None:
        write_json(Path(options.out).expanduser(), metrics)
    return metrics


def predict(
    options: Evaluation, model: EvaluatedModel, head: Any, library: Dataset, folder: RunFolder
) -> dict[str, Any]:
    """Predicts for the data in `options.records`, and says when to stop labelling them if that is asked for.

    Returns:
        The number of predictions, or what is said in numbers.
    """
    out = Path(options.out or "").expanduser()
    problem = model.task.problem(library, None)
    for line in library.lines():
        note(line)
    subject = model.subject(problem)
    if options.stopping is None:
        count = problem.predict(subject, head, out)
        note(f"{count} predictions: {out}")
        return {"n_predicted": count}
    advice = options.stopping.predict(problem, subject, head, folder, out)
    for line in advice.lines:
        note(line)
    return advice.values


def simulate(simulation: Simulation, model: EvaluatedModel, folder: Path) -> dict[str, Any]:
    """Replays how the model's labelled data were labelled, prints the outcome and writes its files.

    Returns:
        The metrics by WAY/METRIC.
    """
    if model.dataset is None:
        raise TypeError("expected labelled data")
    for line in model.dataset.lines():
        note(line)
    problem = model.task.problem(model.dataset, None)
    done = simulation.run(problem, model.subject(problem), model.learnt, model.seed, folder)
    for line in done.lines:
        note(line)
    names = next(iter(done.metrics.values()))
    rows = [[name, *(_shown(values[name]) for values in done.metrics.values())] for name in names]
    show_table("Simulation", ["metric", *done.metrics], rows)
    note(f"the simulation: {folder}")
    return {f"{way}/{name}": value for way, values in done.metrics.items() for name, value in values.items()}


def judge(model: EvaluatedModel, figures: str | None = None) -> tuple[Any, dict[str, Any]]:
    """Returns the head, and the metrics on labelled data that neither it nor the adapter has learnt from.

    Of data that name test rows these are judged on. Others are split if they are the run's own, or if a head is to be
    fitted on a part of them.

    Args:
        model: The model.
        figures: The folder that figures are written to; None draws none.
    """
    if model.dataset is None:
        if model.head is None:
            raise UserError("head: expected a run's head or labelled data to fit one on, but got neither")
        return model.head, {}
    splits = model.own_data or (model.head is None and bool(model.task.head_files))
    problem = model.task.problem(model.dataset, model.seed if splits else None)
    subject = model.subject(problem)
    if model.own_data:
        check_unchanged(model, problem, subject.texts)
    else:
        problem.leave_out(subject.texts, model.learnt)
    outcome = problem.judge(subject, model.head)
    if figures is not None:
        draw(model, problem, subject, outcome, Path(figures).expanduser())
    return outcome.head, {**outcome.metrics, **outcome.counts}


def draw(model: EvaluatedModel, problem: Problem, subject: Subject, adapted: Outcome, folder: Path) -> None:
    """Writes the figures of a run's outcome beside those of the pretrained model and of the references."""
    backbone = model.pretrained.load(model.task.auto_class).to(model.backbone.device).eval()
    cache = PrefixCache(backbone, subject.texts.tokens, start=0, max_bytes=0)
    base = problem.judge(replace(subject, backbone=backbone, cache=cache, name="pretrained"))
    outcomes = {"adapted": adapted, "base": base} | problem.references(Store(None), base)
    figures = problem.figures(outcomes) | problem.further_figures(outcomes, subject.texts)
    write_figures(figures, folder, (PNG, SVG))
    note(f"figures of {', '.join(figures)} are in {folder}")


def check_unchanged(model: EvaluatedModel, problem: Problem, texts: TokenizedTexts) -> None:
    """Checks that a run's own data still give what it was trained on, some of which would be judged on otherwise.

    Raises:
        UserError: They do not.
    """
    drawn = {record["text"] for record in problem.learnt(texts)}
    if drawn != model.learnt:
        raise UserError("run: the file of its data has changed since; give the data to judge on with data=…")


def show(metrics: dict[str, Any], task: Task) -> None:
    """Prints the metrics of one model."""
    rows = [[name, format_number(value)] for name, value in metrics.items() if isinstance(value, float)]
    show_table(task.heading(metrics), ["metric", "value"], rows)


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else format_number(value)
