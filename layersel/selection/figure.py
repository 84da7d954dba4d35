"""The selection as a figure."""

import math

from matplotlib.figure import Figure

from layersel.selection.selection import Selection
from layersel.terminal.figures import CHOSEN, OTHER, clean_axes


def layer_scores(selection: Selection) -> Figure:
    """Draws a bar for each layer, the chosen ones coloured; layers are numbered from 0.

    The bars are as high as the scores; if these were not measured, they are all alike, and there is no axis of values.
    """
    figure = Figure(figsize=(max(4.5, 0.5 * len(selection.scores) + 2), 3.2), layout="constrained")
    axes = figure.subplots()
    layers = range(len(selection.scores))
    colours = [CHOSEN if layer in selection.layers else OTHER for layer in layers]
    values = selection.scores if selection.measured else [1.0 for _ in layers]
    axes.bar(layers, [0.0 if math.isnan(value) else value for value in values], color=colours)
    for layer, value in enumerate(values):
        if math.isnan(value):
            axes.annotate("not\ncomparable", (layer, 0), ha="center", va="bottom", fontsize=7)
    axes.set(xlabel="layer", xticks=list(layers))
    chosen = f"{len(selection.layers)} of {len(selection.scores)} layers chosen by {selection.score} (blue)"
    axes.set_title(chosen, fontsize=10)
    clean_axes(axes)
    if selection.measured:
        axes.set_ylabel(f"{selection.score} score")
    else:
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
    return figure
