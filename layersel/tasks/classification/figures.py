"""What is predicted for the test examples against what is true."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from layersel.metrics.classification import confusion
from layersel.terminal.figures import CHOSEN, clean_axes

MOST_NUMBERED = 12
"""Most classes with which the squares of a confusion matrix hold their numbers."""


def confusion_matrix(predicted_N: Tensor, true_N: Tensor, classes: Sequence[str]) -> Figure:
    """Draws how many examples of each class are taken for each; the colour is the share of the true class."""
    counts_KK = confusion(predicted_N, true_N, len(classes))
    shares_KK = counts_KK / counts_KK.sum(dim=1, keepdim=True).clamp(min=1)
    side = min(9.0, 2.4 + 0.55 * len(classes))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares_KK.numpy(), cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    axes.set(xlabel="predicted", ylabel="true", xticks=places, yticks=places)
    axes.set_xticklabels(classes, rotation=0 if len(classes) <= 3 else 45)
    axes.set_yticklabels(classes)
    for row in places if len(classes) <= MOST_NUMBERED else ():
        for column in places:
            colour = "white" if shares_KK[row, column] > 0.5 else "black"
            axes.text(column, row, f"{int(counts_KK[row, column])}", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def numbers(predicted_N: Tensor, true_N: Tensor) -> Figure:
    """Draws the predicted numbers over the true ones."""
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.scatter(true_N.tolist(), predicted_N.tolist(), s=12, alpha=0.6, color=CHOSEN, linewidths=0)
    ends = [float(true_N.min()), float(true_N.max())]
    axes.plot(ends, ends, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="true", ylabel="predicted")
    clean_axes(axes)
    return figure
