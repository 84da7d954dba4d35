"""The selection, and what a probe says of the layers, as figures."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from layersel.selection.cost import relative_cost
from layersel.selection.selection import Selection
from layersel.terminal.figures import CHOSEN, COLOURS, OTHER, clean_axes

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.selection.analysis import Separation, SmallerProbe


def layer_scores(selection: Selection) -> Figure:
    """Draws a bar for each layer, the chosen ones coloured; layers are numbered from 0.

    The bars are as high as the scores; if these were not measured, they are all alike, and there is no axis of values.
    Below them is the share of the resamples that choose each layer, where the score has these; the title has the cost
    of a training step where the model's weights have been counted.
    """
    stability, cost = selection.stability, relative_cost(selection)
    layers = range(len(selection.scores))
    size = (max(4.5, 0.28 * len(layers) + 2), 3.2 if stability is None else 4.4)
    figure = Figure(figsize=size, layout="constrained")
    heights = [2] if stability is None else [2, 1]
    axes, *below = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    colours = [CHOSEN if layer in selection.layers else OTHER for layer in layers]
    values = selection.scores if selection.measured else [1.0 for _ in layers]
    axes.bar(layers, [0.0 if math.isnan(value) else value for value in values], color=colours)
    for layer, value in enumerate(values):
        if math.isnan(value):
            axes.annotate("not\ncomparable", (layer, 0), ha="center", va="bottom", fontsize=7)
    chosen = f"{len(selection.layers)} of {len(selection.scores)} layers chosen by {selection.score} (blue)"
    axes.set_title(chosen + ("" if cost is None else f"\na step costs {cost:.2f} of one with all layers"), fontsize=10)
    clean_axes(axes)
    if selection.measured:
        axes.set_ylabel(f"{selection.score} score")
    else:
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
    if stability is not None:
        (shares,) = below
        shares.bar(layers, stability.chosen_share, color=colours)
        shares.set(ylabel="chosen in\nresamples", ylim=(0, 1))
        shares.yaxis.set_major_formatter(PercentFormatter(1))
        clean_axes(shares)
    figure.axes[-1].set(xlabel="layer", xticks=list(layers))
    return figure


def similarity_map(similarities_PP: "Tensor") -> Figure:
    """Draws the similarity of every two depths as a square of colours; depth 0 is the first layer's input."""
    figure = Figure(figsize=(5.6, 4.8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(similarities_PP.numpy(), cmap="viridis", vmin=0, vmax=1, origin="lower")
    axes.set(xlabel="depth (0: what enters the first layer)", ylabel="depth")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("linear CKA of every two depths", fontsize=10)
    figure.colorbar(image, ax=axes)
    return figure


def separation_curves(separations: "Sequence[Separation]") -> Figure:
    """Draws how well each depth separates the classes."""
    return _curves(
        range(len(separations)),
        {
            "accuracy of a linear probe": [own.accuracy for own in separations],
            "silhouette": [own.silhouette for own in separations],
        },
        "depth (0: what enters the first layer)",
        "separation of the classes",
    )


def probe_curves(probes: "Sequence[SmallerProbe]") -> Figure:
    """Draws how far fewer texts give the choice of all of them."""
    figure = _curves(
        [own.texts for own in probes],
        {
            "Kendall's τ of the scores": [own.tau for own in probes],
            "share of the chosen layers": [own.overlap for own in probes],
        },
        "texts in the probe",
        "agreement with the whole probe",
    )
    (axes,) = figure.axes
    axes.set_xscale("log", base=2)
    axes.set_xticks([own.texts for own in probes], [str(own.texts) for own in probes])
    axes.set_ylim(top=1.02)
    return figure


def _curves(x: Sequence[int], lines: dict[str, list[float]], x_title: str, title: str) -> Figure:
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour, marker in zip(lines.items(), COLOURS, "os", strict=False):
        axes.plot(x, values, marker=marker, color=colour, label=name)
    axes.set(xlabel=x_title)
    axes.set_title(title, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    clean_axes(axes)
    return figure
