"""How the learning rate goes through a training."""

import math
from collections.abc import Callable


def schedule(name: str, warmup: int, steps: int, start: int = 0) -> Callable[[int], float]:
    """Returns what the highest learning rate is multiplied by in each step, counted from 0.

    Args:
        name: `linear`, `cosine` or `constant`, out of `layersel.training.hyperparameters.SCHEDULES`.
        warmup: Steps in which it rises from 0.
        steps: All steps.
        start: The step at which this part of the parameters begins to be trained; warm-up and fall are over the rest.

    Example:
        >>> [round(schedule("linear", warmup=2, steps=4)(step), 2) for step in range(5)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
        >>> [round(schedule("cosine", warmup=0, steps=4, start=2)(step), 2) for step in range(5)]
        [0.0, 0.0, 1.0, 0.5, 0.0]
    """
    left = steps - start

    def factor(step: int) -> float:
        if step < start:
            return 0.0
        own = step - start
        if own < warmup:
            return float(own) / float(max(1, warmup))
        if name == "constant":
            return 1.0
        if name == "linear":
            return max(0.0, float(left - own) / float(max(1, left - warmup)))
        progress = float(own - warmup) / float(max(1, left - warmup))
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))

    return factor
