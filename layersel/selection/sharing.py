"""A budget of parameters shared out in whole ranks, in proportion to weights and between bounds."""

import heapq
import math
from collections.abc import Sequence


def whole_ranks(
    weights: Sequence[float], costs: Sequence[int], low: Sequence[int], high: Sequence[int], budget: int
) -> list[int]:
    """Shares a budget out in whole ranks, as near as possible to `shares`, by the largest remainder.

    Each share is rounded down; what is left goes, a rank at a time, to what is furthest below its share among all that
    still can be paid. So the budget is never exceeded, and what is left of it at the end is less than any rank costs
    that is below its bound. Of equal ones the later is first.

    Args:
        weights: One number of at least 0 for each, what its rank is in proportion to.
        costs: The parameters that each rank costs.
        low: The smallest ranks; together they are within the budget.
        high: The largest ranks.
        budget: The parameters in all.

    Example:
        >>> whole_ranks([3.0, 2.0, 2.0], [10, 10, 10], [1, 1, 1], [64, 64, 64], 240)
        [10, 7, 7]
        >>> whole_ranks([9.0, 1.0], [10, 10], [1, 1], [12, 64], 160)
        [12, 4]
    """
    ideal = shares(weights, costs, low, high, budget)
    ranks = [min(max(math.floor(own), least), most) for own, least, most in zip(ideal, low, high, strict=True)]
    left = budget - sum(cost * rank for cost, rank in zip(costs, ranks, strict=True))
    waiting = [(ranks[place] - ideal[place], -weights[place], -place) for place in range(len(ranks))]
    heapq.heapify(waiting)
    while waiting:
        above, weight, negative = heapq.heappop(waiting)
        place = -negative
        if costs[place] <= left and ranks[place] < high[place]:
            ranks[place] += 1
            left -= costs[place]
            heapq.heappush(waiting, (above + 1, weight, negative))
    return ranks


def shares(
    weights: Sequence[float], costs: Sequence[int], low: Sequence[int], high: Sequence[int], budget: int
) -> list[float]:
    """Returns min(max(λ·weight, low), high) for each, with the λ at which all together cost the budget.

    Where no λ does, because too few have a weight, they are the nearest below it. The bounds that hold are found one
    after the other (Bitran and Hax 1981): where those below their smallest rank lack more than others exceed their
    largest one, the former are set to it, and else the latter.

    Example:
        >>> shares([3.0, 1.0], [10, 10], [0, 0], [64, 64], 80), shares([3.0, 1.0], [10, 10], [0, 0], [4, 64], 80)
        ([6.0, 2.0], [4, 4.0])
    """
    found: dict[int, float] = {}
    free = list(range(len(weights)))
    while free:
        left = budget - sum(costs[place] * rank for place, rank in found.items())
        weight = sum(costs[place] * weights[place] for place in free)
        own = {place: left * (weights[place] / weight) if weight else float(low[place]) for place in free}
        lacking = sum(costs[place] * max(low[place] - own[place], 0) for place in free)
        exceeding = sum(costs[place] * max(own[place] - high[place], 0) for place in free)
        bounds = low if lacking > exceeding else high
        fixed = [place for place in free if (own[place] < low[place] if bounds is low else own[place] > high[place])]
        if not fixed:
            return [own.get(place, found.get(place, 0.0)) for place in range(len(weights))]
        found |= {place: bounds[place] for place in fixed}
        free = [place for place in free if place not in found]
    return [found[place] for place in range(len(weights))]
