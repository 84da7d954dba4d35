"""What the texts of a probe say of a model's layers beside their scores, without a training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from statistics import fmean

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from layersel.errors import UserError
from layersel.selection.agreement import kendall
from layersel.selection.measures.similarity import cka_from_grams, linear_kernel
from layersel.selection.selection import Selection
from layersel.selection.similarity_names import MIN_TEXTS
from layersel.terminal.tables import note, without_notes

# Shapes: P depths (the first layer's input and each layer's output), N texts, D hidden size.

SMALLEST = 8
"""The fewest texts of a smaller probe."""
DRAWS = 10
"""How many smaller probes of each size are drawn."""
FOLDS = 5


def depth_similarities(states_PND: Tensor) -> Tensor:
    """Computes the linear CKA (P×P, biased) of every two depths; NaN where all texts have the same state."""
    grams = [linear_kernel(own_ND) for own_ND in states_PND]
    return torch.stack([torch.stack([cka_from_grams(one, other) for other in grams]) for one in grams])


@dataclass(frozen=True)
class Separation:
    """How well the states of a depth separate classes.

    Attributes:
        accuracy: That of a logistic regression of the standardised states, cross-validated.
        silhouette: The mean silhouette of the texts by cosine distance, −1 to 1 (Rousseeuw 1987).
    """

    accuracy: float
    silhouette: float


def separations(states_PND: Tensor, labels: Sequence[str], seed: int) -> list[Separation]:
    """Measures how well each depth separates the classes of its texts.

    Args:
        states_PND: The pooled states.
        labels: The class of each text.
        seed: Decides the folds.

    Raises:
        UserError: There is one class only, or a class has fewer texts than there are folds.
    """
    counts = {label: labels.count(label) for label in set(labels)}
    if len(counts) < 2 or min(counts.values()) < FOLDS:
        rarest = min(counts, key=lambda label: counts[label])
        raise UserError(
            f"labels: expected at least 2 classes of {FOLDS} texts or more, but got {len(counts)}, {rarest!r} with "
            f"{counts[rarest]}; give more texts, or labels=null"
        )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = []
    for states_ND in states_PND.double().numpy():
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        accuracy = cross_val_score(probe, states_ND, labels, cv=folds).mean()
        apart = bool((states_ND != states_ND[0]).any())
        silhouette = silhouette_score(states_ND, labels, metric="cosine") if apart else 0.0
        found.append(Separation(float(accuracy), float(silhouette)))
    return found


@dataclass(frozen=True)
class SmallerProbe:
    """How far the choice by fewer texts is that by all of them.

    Attributes:
        texts: The number of texts.
        tau: Kendall's τ_b of the layers' scores by these and by all texts, the mean over the draws.
        overlap: The share of the chosen layers that both choose, the mean over the draws.
    """

    texts: int
    tau: float
    overlap: float


def smaller_probes(
    select: Callable[[list[str]], Selection], texts: Sequence[str], whole: Selection, generator: torch.Generator
) -> list[SmallerProbe]:
    """Chooses layers by fewer and fewer of the texts, drawn without replacement, and compares with the whole choice.

    Args:
        select: Chooses by some texts.
        texts: The whole probe.
        whole: The choice by it.
        generator: Draws the texts.

    Returns:
        The sizes 8, 16, 32, … below the number of texts, the smallest first; without those that are too few for the
        score, which a line tells.
    """
    found = []
    sizes = (max(SMALLEST, MIN_TEXTS) << doublings for doublings in count())
    for size in takewhile(lambda size: size < len(texts), sizes):
        draws = [torch.randperm(len(texts), generator=generator)[:size].tolist() for _ in range(DRAWS)]
        try:
            with without_notes():
                chosen = [select([texts[place] for place in draw]) for draw in draws]
        except UserError as error:
            note(f"{size} texts: {error}")
            continue
        taus = [kendall(own.scores, whole.scores) for own in chosen]
        overlaps = [len(set(own.layers) & set(whole.layers)) / max(len(whole.layers), 1) for own in chosen]
        found.append(SmallerProbe(size, fmean(taus), fmean(overlaps)))
    return found
