"""What the training of a language model changes, example by example."""

from matplotlib.figure import Figure
from torch import Tensor

from layersel.terminal.figures import CHOSEN, clean_axes


def losses_beside(before_N: Tensor, after_N: Tensor) -> Figure:
    """Draws a point for each held-out example: its loss per token before the training and after it."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.scatter(before_N, after_N, s=14, color=CHOSEN, alpha=0.7)
    ends = [0.0, float(max(before_N.max(), after_N.max())) * 1.05]
    axes.plot(ends, ends, color="grey", linewidth=0.8, linestyle=":")
    better = int((after_N < before_N).sum())
    axes.set(xlabel="loss per token before", ylabel="loss per token after", xlim=ends, ylim=ends)
    axes.set_title(f"{better} of {len(before_N)} held-out examples below the line: lower loss", fontsize=9)
    clean_axes(axes)
    return figure
