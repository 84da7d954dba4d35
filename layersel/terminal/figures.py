"""Figures of several outcomes, and figures as files."""

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layersel.files import atomic_path
from layersel.selection.selection import Selection

CHOSEN, OTHER = "#1b6ca8", "#b8c4ce"
COLOURS = (CHOSEN, "#e08214", "#5b8c5a", "#8e6bb0")
"""The colours of outcomes that one figure compares: the adapted model's, the pretrained one's, others'."""


def layer_scores(selection: Selection) -> Figure:
    """A bar for each layer's score, the chosen ones coloured; layers are numbered from 0."""
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


def grouped_bars(values: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Draws a group of bars for each dataset, one bar for each outcome (dataset → outcome → value); NaN has no bar."""
    outcomes = list(next(iter(values.values())))
    figure = Figure(figsize=(max(5.0, 1.3 * len(values) + 1.5), 3.4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(outcomes)
    for place, outcome in enumerate(outcomes):
        positions = [group + (place - (len(outcomes) - 1) / 2) * width for group in range(len(values))]
        heights = [measured[outcome] for measured in values.values()]
        axes.bar(positions, heights, width, label=outcome, color=COLOURS[place % len(COLOURS)])
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(ylabel=title, xticks=range(len(values)), xticklabels=list(values))
    axes.legend(frameon=False, fontsize=8)
    clean_axes(axes)
    return figure


def clean_axes(axes: Axes) -> None:
    """Hides the frame's upper and right sides."""
    axes.spines[["top", "right"]].set_visible(False)


def write_figures(figures: dict[str, Figure], folder: Path) -> dict[str, Path]:
    """Writes each figure as NAME.png; returns the files by name."""
    files = {name: folder / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        with atomic_path(files[name]) as draft:
            figure.savefig(draft, dpi=150)
    return files
