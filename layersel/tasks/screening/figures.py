"""A review's records and their rankings: how many must be read, how scores and lengths differ by label."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from layersel.metrics import gain_curve
from layersel.metrics.screening import score_at_recall
from layersel.tasks.screening.by_label import LABELS, by_label
from layersel.terminal.figures import CHOSEN, COLOURS, clean_axes, plain

POINTS = 1000
"""Most steps of a curve."""
LOOKS = {1: (COLOURS[1], "-"), 0: (CHOSEN, "--"), -1: ("#7f7f7f", ":")}
"""The colour and the line of each label, which tell them apart without colours too."""


def gain_curves(rankings: dict[str, Tensor], labels: Tensor, recall: float = 0.95) -> Figure:
    """Draws recall against the share of records read, one curve for each ranking (name → scores).

    Args:
        rankings: Scores (N) of the test records by each method.
        labels: Their labels (N), 1 = included.
        recall: Drawn as a line: where the work saved is measured.
    """
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    steps = min(len(labels), POINTS)
    for place, (name, scores) in enumerate(rankings.items()):
        read = [len(labels) * step // steps / len(labels) for step in range(steps + 1)]
        found = gain_curve(scores, labels, steps).tolist()
        axes.plot(read, found, label=name, color=COLOURS[place % len(COLOURS)], linewidth=1.8)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":", label="random order")
    axes.axhline(recall, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="share of records read", ylabel="share of included found", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    clean_axes(axes)
    return figure


def score_densities(rankings: Mapping[str, Tensor], labels: Tensor, recall: float = 0.95) -> Figure:
    """Draws the density and the cumulative density of each ranking's scores by label, and the cut at a recall.

    Args:
        rankings: Scores (N) of the test records by each model.
        labels: Their labels (N); at least one is 1.
        recall: Of the cut: reading the records to the right of it finds this share of the included ones.
    """
    figure = Figure(figsize=(7.6, 2.8 * len(rankings)), layout="constrained")
    rows = figure.subplots(len(rankings), 2, squeeze=False)
    for (name, scores), (density, cumulative) in zip(rankings.items(), rows, strict=True):
        groups = by_label(scores.tolist(), labels)
        _densities(density, groups)
        for label, values in groups.items():
            colour, line = LOOKS[label]
            cumulative.ecdf(values, color=colour, linestyle=line)
        cut = float(score_at_recall(scores, labels, recall))
        for axes, what in ((density, "density"), (cumulative, "cumulative density")):
            axes.axvline(cut, color="black", linewidth=0.9, label=f"{100 * recall:g} % recall")
            axes.set(xlabel="score (higher: likelier included)", ylabel=what)
            axes.set_title(name, fontsize=10)
            clean_axes(axes)
    figure.legend(
        *rows[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    return figure


def token_lengths(name: str, lengths: Sequence[int], labels: Tensor, limit: int) -> Figure:
    """Draws how long a review's records are by label, and the length to which they are cut.

    Args:
        name: The review.
        lengths: The tokens (N) of each record before the cut.
        labels: Their labels (N), −1 where unknown.
        limit: The most tokens that the model gets.
    """
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.subplots()
    _densities(axes, by_label(lengths, labels))
    axes.axvline(limit, color="black", linewidth=0.9, label=f"limit of {limit} tokens")
    longer = sum(length > limit for length in lengths)
    axes.set(xlabel="tokens of title and abstract", ylabel="density", xlim=(0, None))
    axes.set_title(f"{plain(name)}: {longer:,} of {len(lengths):,} records are cut at the limit", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    clean_axes(axes)
    return figure


def _densities(axes: Axes, groups: Mapping[int, Sequence[float]]) -> None:
    """Draws the histogram of each label as a density, over the same bins."""
    bins = np.histogram_bin_edges(np.concatenate(list(groups.values())), 30).tolist()
    for label, values in groups.items():
        colour, line = LOOKS[label]
        words = f"{LABELS[label]} ({len(values):,})"
        axes.hist(
            values,
            bins,
            density=True,
            histtype="stepfilled",
            facecolor=(colour, 0.25),
            edgecolor=colour,
            linestyle=line,
            linewidth=1.4,
            label=words,
        )
