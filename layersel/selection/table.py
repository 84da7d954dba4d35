"""The selection as it is printed."""

import math

from layersel.selection.cost import cost_line
from layersel.selection.selection import Selection
from layersel.terminal.tables import note, show_table


def show_selection(selection: Selection) -> None:
    """Prints each layer with its score, if that was measured, whether and why it was chosen, and the cost of a step."""
    stability, measured = selection.stability, selection.measured
    rows = []
    for layer, score in enumerate(selection.scores):
        share = [] if stability is None else [f"{stability.chosen_share[layer]:.0%}"]
        chosen = "yes" if layer in selection.layers else ""
        value = [f"{score:.4f}"] if measured else []
        rows.append([str(layer), *value, chosen, *share, selection.reasons[layer]])
    resampled = [] if stability is None else ["chosen in resamples"]
    columns = ["layer", *(["score"] if measured else []), "chosen", *resampled, "why"]
    alignment = "r" * (1 + measured) + "c" + "r" * len(resampled) + "l"
    show_table(f"Layers by {selection.score}", columns, rows, alignment, bold=selection.layers)
    if stability is not None and not math.isnan(stability.rank_correlation):
        note(
            f"stability: rank correlation {stability.rank_correlation:.2f} over {stability.samples} bootstrap samples "
            "of the probe"
        )
    note(cost_line(selection))
