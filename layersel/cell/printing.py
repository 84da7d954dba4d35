"""What a cell prints of its results."""

from collections.abc import Mapping, Sequence
from typing import Any

from layersel.cell.worth import titles, what_the_adapter_adds
from layersel.tasks.task import Task
from layersel.terminal.tables import format_number, note, show_table

TOKENS = "seconds/train_1000_tokens"
"""The seconds of the training, setting up and checkpoints included, for 1000 tokens of its texts."""


def show_metrics(metrics: Mapping[str, Any], task: Task) -> None:
    """Prints the closing table: each metric of the adapted model, of the pretrained one, and of the references.

    Where nothing was tested on there is none.
    """
    names = [name.removeprefix("base/") for name in metrics if name.startswith("base/")]
    columns = {prefix: title for prefix, title in titles(task).items() if f"{prefix}{names[0]}" in metrics}
    rows = [[name, *(format_number(metrics.get(f"{prefix}{name}")) for prefix in columns)] for name in names]
    if metrics.get("n_test") != 0:
        show_table(task.heading(metrics), ["metric", *columns.values()], rows)
    line = what_the_adapter_adds(metrics, task)
    if line is not None:
        note(line)
    trainable, total = metrics["parameters/trainable"], metrics["parameters/total"]
    speed = f", {1000 / metrics[TOKENS]:.0f} tokens/s in training" if metrics.get(TOKENS) else ""
    note(f"{trainable:,} of {total:,} parameters of the model trained; {metrics['seconds/total']:.0f} s in all{speed}")


def show_merging(metrics: Mapping[str, Any], datasets: Sequence[str], task: Task, compressed: bool) -> None:
    """Prints a row for each dataset: what the merged adapter, its own and the pretrained model are worth for it.

    `compressed` says that the merged model is; the two others never are.
    """
    metric, kinds = task.primary.name, ("", "own/", "base/")
    rows = [
        [
            name,
            *(format_number(metrics[f"{name}/{kind}{metric}"]) for kind in kinds),
            str(metrics.get(f"{name}/n_test", "")),
        ]
        for name in datasets
    ]
    rows.append(["mean", *(format_number(metrics[f"{kind}{metric}"]) for kind in kinds), ""])
    merged = "merged, compressed" if compressed else "merged"
    show_table(f"{metric} of one adapter for all", ["dataset", merged, "own adapter", "pretrained", "tested on"], rows)
