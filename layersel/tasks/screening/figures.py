"""How many records must be read."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from layersel.terminal.figures import COLOURS, clean_axes


def gain_curves(rankings: dict[str, Tensor], labels: Tensor, recall: float = 0.95) -> Figure:
    """Draws recall against the share of records read, one curve for each ranking (name → scores).

    Args:
        rankings: Scores (N) of the test records by each method.
        labels: Their labels (N), 1 = included.
        recall: Drawn as a line: where the work saved is measured.
    """
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for place, (name, scores) in enumerate(rankings.items()):
        # Of tied records the excluded ones come first, as in the metrics.
        order = sorted(range(len(labels)), key=lambda index, s=scores: (-float(s[index]), int(labels[index])))  # type: ignore[misc]
        found = torch.cumsum(labels[order], dim=0) / labels.sum()
        read = torch.arange(1, len(labels) + 1) / len(labels)
        colour = COLOURS[place % len(COLOURS)]
        axes.plot([0, *read.tolist()], [0, *found.tolist()], label=name, color=colour, linewidth=1.8)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":", label="random order")
    axes.axhline(recall, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="share of records read", ylabel="share of included found", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    clean_axes(axes)
    return figure
