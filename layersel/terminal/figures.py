"""Figures of several outcomes, and figures as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layersel.files import atomic_path

CHOSEN, OTHER = "#1b6ca8", "#b8c4ce"
COLOURS = (CHOSEN, "#e08214", "#5b8c5a", "#8e6bb0", "#d1495b", "#3d5a80")
"""The colours of outcomes that one figure compares: the adapted model's, the pretrained one's, others'."""
PNG, SVG = "png", "svg"


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


def write_figures(figures: Mapping[str, Figure], folder: Path, forms: Sequence[str] = (PNG,)) -> dict[str, Path]:
    """Writes each figure as NAME.png, NAME.svg, … with the same bytes for the same figure.

    Returns:
        The files of the first form by name.
    """
    for name, figure in figures.items():
        for form in forms:
            metadata = {"Date": None} if form == SVG else None
            with atomic_path(folder / f"{name}.{form}") as draft, rc_context({"svg.hashsalt": name}):
                figure.savefig(draft, dpi=150, format=form, metadata=metadata)
    return {name: folder / f"{name}.{forms[0]}" for name in figures}
