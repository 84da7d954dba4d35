"""Figures of several outcomes, and figures as files."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layersel.files import atomic_path

CHOSEN, OTHER = "#1b6ca8", "#b8c4ce"
COLOURS = (CHOSEN, "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#4d4d4d")
"""The colours of outcomes that one figure compares: the adapted model's, the pretrained one's, others'.

The colour-blind tell them apart, too (Okabe and Ito 2008)."""
PNG, SVG = "png", "svg"
MANY = 6
"""Most datasets whose names fit beside each other below an axis."""


Values = Mapping[str, Mapping[str, float]]
"""Numbers by dataset and outcome; NaN where there is none."""


def grouped_bars(values: Values, title: str, errors: Values | None = None) -> Figure:
    """Draws a group of bars for each dataset, one bar for each outcome, with error bars where `errors` has a number."""
    outcomes = list(next(iter(values.values())))
    many = len(values) > MANY
    size = (min(max(5.0, 1.3 * len(values) + 1.5), 24.0), 3.2 + 0.18 * len(outcomes) + many)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(outcomes)
    for place, outcome in enumerate(outcomes):
        positions = [group + (place - (len(outcomes) - 1) / 2) * width for group in range(len(values))]
        heights = [measured[outcome] for measured in values.values()]
        spread = None if errors is None else [own[outcome] for own in errors.values()]
        axes.bar(
            positions, heights, width, yerr=spread, capsize=2, label=plain(outcome), color=COLOURS[place % len(COLOURS)]
        )
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_title(plain(title), loc="left", fontsize=10)  # beside a low axis it would not fit
    name_datasets(axes, values)
    figure.legend(loc="outside lower left", fontsize=8, frameon=False)
    clean_axes(axes)
    return figure


def name_datasets(axes: Axes, names: Collection[str]) -> None:
    """Names the datasets below their places 0, 1, …, turned where they are many."""
    many = len(names) > MANY
    axes.set_xticks(
        range(len(names)), [*map(plain, names)], fontsize=8, rotation=30 * many, ha="right" if many else "center"
    )


def plain(name: str) -> str:
    """Returns a name as matplotlib is to be given it, which takes what stands between two $ for a formula."""
    return name.replace("$", r"\$")


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
