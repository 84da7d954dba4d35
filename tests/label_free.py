"""The scores that need no labels, as they suit a handful of texts."""

from layersel.selection.score import STATES, Control, Score, score_named, score_names

FEW = {"svcca": {"variance": 0.5}, "pwcca": {"variance": 0.5}, "manual": {"layers": [0]}}
"""Options by which they can compare fewer texts than states have dimensions, or at all."""


def few(name: str, **options: object) -> Score:
    """The score of that name for a few texts, with few resamples where it has any."""
    score = score_named(name, **FEW.get(name, {}) | options)
    if hasattr(score, "bootstrap"):
        score.bootstrap = min(score.bootstrap, 3)
    return score


LABEL_FREE = [name for name in score_names() if few(name).needs <= {STATES}]
"""Every score that looks at states, weights or nothing."""
MEASURING = [name for name in LABEL_FREE if not isinstance(few(name), Control)]
"""Every score that looks at states or weights."""
LOOKING = [name for name in MEASURING if few(name).needs]
"""Those that look at states."""
