"""The figures of a run: which layers matter, and how many records must be read."""

import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from layersel.files import atomic_path
from layersel.selection.selection import Selection

CHOSEN, OTHER = "#1b6ca8", "#b8c4ce"
CURVES = {"adapted": CHOSEN, "base": "#e08214", "tfidf": "#5b8c5a"}


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
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def gain_curves(rankings: dict[str, Tensor], labels: Tensor, recall: float = 0.95) -> Figure:
    """Recall against the share of records read, one curve for each ranking (name -> scores).

    Args:
        rankings: Scores (N) of the test records by each method.
        labels: Their labels (N), 1 = included.
        recall: Drawn as a line: where the work saved is measured.
    """
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, scores in rankings.items():
        # Of tied records the excluded ones come first, as in the metrics.
        order = sorted(range(len(labels)), key=lambda index, s=scores: (-float(s[index]), int(labels[index])))  # type: ignore[misc]
        found = torch.cumsum(labels[order], dim=0) / labels.sum()
        read = torch.arange(1, len(labels) + 1) / len(labels)
        axes.plot([0, *read.tolist()], [0, *found.tolist()], label=name, color=CURVES.get(name), linewidth=1.8)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":", label="random order")
    axes.axhline(recall, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="share of records read", ylabel="share of included found", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def merging_bars(values: dict[str, dict[str, float]], metric: str) -> Figure:
    """Bars for each review, one for each encoder (review -> encoder -> value); NaN has no bar."""
    encoders = list(next(iter(values.values())))
    figure = Figure(figsize=(max(5.0, 1.3 * len(values) + 1.5), 3.4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(encoders)
    for place, encoder in enumerate(encoders):
        positions = [review + (place - (len(encoders) - 1) / 2) * width for review in range(len(values))]
        heights = [measured[encoder] for measured in values.values()]
        axes.bar(positions, heights, width, label=encoder, color=list(CURVES.values())[place])
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(ylabel=metric, xticks=range(len(values)), xticklabels=list(values))
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write_figures(figures: dict[str, Figure], folder: Path) -> dict[str, Path]:
    """Write each figure as NAME.png; returns the files by name."""
    files = {name: folder / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        with atomic_path(files[name]) as draft:
            figure.savefig(draft, dpi=150)
    return files
