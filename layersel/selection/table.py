"""The selection as it is printed."""

import math

from layersel.selection.cost import cost_line
from layersel.selection.selection import Selection
from layersel.terminal.tables import note, show_table


def show_selection(selection: Selection) -> None:
    """Prints each layer with its score, if that was measured, whether and why it was chosen, and the cost of a step."""
    stability, measured = selection.stability, selection.measured
    largest = max((abs(score) for score in selection.scores if math.isfinite(score)), default=0.0)
    form = ".4f" if largest == 0 or 0.01 <= largest < 1e6 else ".3e"
    rows = []
    for layer, score in enumerate(selection.scores):
        share = [] if stability is None else [f"{stability.chosen_share[layer]:.0%}"]
        chosen = "yes" if layer in selection.layers else ""
        value = [f"{score:{form}}"] if measured else []
        rank = [] if selection.allocation is None else [selection.ranks_of(layer)]
        rows.append([str(layer), *value, chosen, *rank, *share, selection.reasons[layer]])
    resampled = [] if stability is None else ["chosen in resamples"]
    ranks = [] if selection.allocation is None else ["adapter rank"]
    columns = ["layer", *(["score"] if measured else []), "chosen", *ranks, *resampled, "why"]
    alignment = "r" * (1 + measured) + "c" + "r" * len([*ranks, *resampled]) + "l"
    show_table(f"Layers by {selection.score}", columns, rows, alignment, bold=selection.layers)
    if stability is not None and not math.isnan(stability.rank_correlation):
        note(
            f"stability: rank correlation {stability.rank_correlation:.2f} over {stability.samples} bootstrap samples "
            "of the probe"
        )
    note(_ranks_line(selection))
    note(cost_line(selection))


def _ranks_line(selection: Selection) -> str | None:
    """Returns the line on the ranks that the modules have been given, and on what they cost; None if they have none."""
    given = selection.allocation
    if given is None:
        return None
    costs = {name: sum(selection.widths[name]) for name in given.ranks}
    used = sum(rank * costs[name] for name, rank in given.ranks.items())
    everywhere = given.budget == given.rank * sum(costs.values())
    return (
        f"ranks by {given.rule}: {min(given.ranks.values())} to {max(given.ranks.values())} in {len(costs)} modules, "
        f"{used:,} parameters of the {given.budget:,} that "
        + (f"rank {given.rank} everywhere has" if everywhere else "ranks.parameters allows")
    )
