"""How many records must be read."""

from matplotlib.figure import Figure
from torch import Tensor

from layersel.metrics import gain_curve
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
        read = [count / len(labels) for count in range(len(labels) + 1)]
        found = gain_curve(scores, labels, steps=len(labels)).tolist()
        axes.plot(read, found, label=name, color=COLOURS[place % len(COLOURS)], linewidth=1.8)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":", label="random order")
    axes.axhline(recall, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="share of records read", ylabel="share of included found", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    clean_axes(axes)
    return figure
