"""How long the texts of each dataset are, as a figure."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from layersel.sweep.cells import Cells
from layersel.tasks.curves import LENGTHS, Curves
from layersel.terminal.figures import COLOURS, MANY, clean_axes, name_datasets, plain

PARTS = {"whislo": 0.05, "q1": 0.25, "med": 0.5, "q3": 0.75, "whishi": 0.95}
"""The parts of a box, and the share of texts that are no longer than each tells."""
OF_GROUPS = (COLOURS[1], COLOURS[0], "#7f7f7f")
"""The colours of groups of texts in their order."""
Lengths = dict[tuple[str, str], Curves]
"""The quantiles of the lengths of a dataset's texts in a model's tokens, by dataset and model, sorted."""


def recorded_lengths(cells: Cells) -> Lengths:
    """Returns the lengths that cells have recorded, those of the first cell of each dataset and model."""
    found: Lengths = {}
    for dataset, model, curves in zip(cells.table["dataset"], cells.table["model"], cells.curves, strict=True):
        if LENGTHS in curves:
            found.setdefault((str(dataset), str(model)), curves[LENGTHS])
    return dict(sorted(found.items()))


def dataset_lengths(lengths: Lengths) -> Figure:
    """Draws a box for each group of a dataset's texts: median, quartiles, and whiskers at 5 and 95 %.

    Models count tokens each in its own way, so each has boxes of its own.

    Args:
        lengths: At least one dataset's.
    """
    several = len({model for _, model in lengths}) > 1
    size = (min(max(5.0, 0.8 * len(lengths) + 2.0), 24.0), 3.8 + (len(lengths) > MANY))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    groups = [*dict.fromkeys(name for own in lengths.values() for name in own.y)]
    key = []
    for place, name in enumerate(groups):
        colour, width = OF_GROUPS[place % len(OF_GROUPS)], 0.8 / len(groups)
        having = {number: own for number, own in enumerate(lengths.values()) if name in own.y}
        middles = {number + (place - (len(groups) - 1) / 2) * width: own for number, own in having.items()}
        _boxes(axes, name, middles, 0.8 * width, colour)
        key.append(Patch(facecolor=(colour, 0.4), edgecolor=colour, label=plain(name)))
    limits = {number: own.limit for number, own in enumerate(lengths.values()) if own.limit is not None}
    if limits:
        left, right = ([number + side for number in limits] for side in (-0.5, 0.5))
        axes.hlines([*limits.values()], left, right, "black", "--", label="limit of the model", linewidth=0.9)
    name_datasets(axes, [f"{dataset}\n{model}" if several else dataset for dataset, model in lengths])
    axes.set_ylim(0, None)
    title = f"{next(iter(lengths.values())).y_title}: median, quartiles, 5 and 95 %"
    axes.set_title(f"{title[0].upper()}{title[1:]}", loc="left", fontsize=10)
    handles = [*key, *axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8, frameon=False)
    clean_axes(axes)
    return figure


def _boxes(axes: Axes, name: str, middles: Mapping[float, Curves], width: float, colour: str) -> None:
    """Draws the boxes of one group of texts at their places."""
    parts: list[dict[str, Any]] = [
        {part: own.y[name][own.x.index(share)] for part, share in PARTS.items()} | {"fliers": []}
        for own in middles.values()
    ]
    axes.bxp(
        parts,
        positions=[*middles],
        widths=width,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": (colour, 0.4), "edgecolor": colour},
        medianprops={"color": "black"},
        whiskerprops={"color": colour},
        capprops={"color": colour},
    )
