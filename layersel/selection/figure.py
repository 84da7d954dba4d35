"""The selection as a figure."""

import math

from matplotlib.figure import Figure

from layersel.selection.selection import Selection
from layersel.terminal.figures import CHOSEN, OTHER, clean_axes


def layer_scores(selection: Selection) -> Figure:
    """Draws a bar for each layer's score, the chosen ones coloured; layers are numbered from 0."""
    figure = Figure(figsize=(max(4.5, 0.5 * len(selection.scores) + 2), 3.2), layout="constrained")
    axes = figure.subplots()
    layers = range(len(selection.scores))
    colours = [CHOSEN if layer in selection.layers else OTHER for layer in layers]
    heights = [0.0 if math.isnan(score) else score for score in selection.scores]
    axes.bar(layers, heights, color=colours)
    for layer, score in enumerate(selection.scores):
        if math.isnan(score):
            axes.annotate("not\ncomparable", (layer, 0), ha="center", va="bottom", fontsize=7)
    axes.set(xlabel="layer", ylabel=f"{selection.score} score", xticks=list(layers))
    axes.set_title(f"{len(selection.layers)} of {len(selection.scores)} layers chosen (blue)", fontsize=10)
    clean_axes(axes)
    return figure
