"""The selection as it is printed."""

import math

from layersel.selection.cost import cost_line
from layersel.selection.selection import CHOSEN, COST, RESAMPLED, SCORE, WHY, Selection
from layersel.terminal.tables import note, show_table


def show_selection(selection: Selection) -> None:
    """Prints each layer with its score, if that was measured, whether and why it was chosen, and the cost of a step."""
    stability = selection.stability
    largest = max((abs(score) for score in selection.scores if math.isfinite(score)), default=0.0)
    form = ".4f" if largest == 0 or 0.01 <= largest < 1e6 else ".3e"
    words = {SCORE: f"{{:{form}}}", RESAMPLED: "{:.0%}"}
    columns, rows = selection.table()
    shown = [column for column in columns if column != COST]
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    for own in cells:
        own[CHOSEN] = "yes" if own[CHOSEN] else ""
    printed = [[words.get(column, "{}").format(own[column]) for column in shown] for own in cells]
    alignment = "".join({CHOSEN: "c", WHY: "l"}.get(column, "r") for column in shown)
    show_table(f"Layers by {selection.score}", shown, printed, alignment, bold=selection.layers)
    if stability is not None and not math.isnan(stability.rank_correlation):
        note(
            f"stability: rank correlation {stability.rank_correlation:.2f} over {stability.samples} resamples "
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
