"""The vectors of a review's records before and after an adaptation."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.linalg import orthogonal_procrustes
from sklearn.manifold import TSNE
from torch import Tensor
from torch.nn.functional import normalize

from layersel.tasks.screening.by_label import LABELS
from layersel.tasks.screening.figures import LOOKS

MAPPED, COMPARED = 1600, 300
"""Most records of a map, and of a matrix."""
ITERATIONS = 500
MARKS = {1: "^", 0: "o", -1: "."}


def tsne_maps(vectors: Mapping[str, Tensor], labels: Tensor, learnt: Sequence[int] = ()) -> Figure | None:
    """Draws the t-SNE maps (van der Maaten and Hinton 2008) of the same records by each model, side by side.

    The vectors are brought to unit length, so that near means of high cosine. A map begins with the principal
    components and has no draws; its axes have no meaning, so each map is turned and mirrored to fit the first.

    Args:
        vectors: Vectors (N×D) of the records by each model; N is at least 3.
        labels: Their labels (N), −1 where unknown.
        learnt: Indices of the records that are learnt from, which are drawn with an edge.

    Returns:
        The figure; a model whose vectors all have one direction has no map, and None is returned if no model has one.
    """
    drawn = sample(labels, MAPPED)
    units = {name: normalize(vectors_ND[drawn].float(), dim=1) for name, vectors_ND in vectors.items()}
    units = {name: units_ND for name, units_ND in units.items() if bool((units_ND != units_ND[0]).any())}
    if not units:
        return None
    perplexity = min(30.0, (len(drawn) - 1) / 3)
    figure = Figure(figsize=(4.4 * len(units) + 0.2, 4.6), layout="constrained")
    panels = figure.subplots(1, len(units), squeeze=False)[0]
    is_learnt, own = np.isin(drawn, learnt), labels[drawn].numpy()
    first = None
    for axes, (name, units_ND) in zip(panels, units.items(), strict=True):
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=ITERATIONS)
        places_N2 = tsne.fit_transform(units_ND.numpy())
        places_N2 -= places_N2.mean(axis=0)
        first = places_N2 if first is None else first
        places_N2 = places_N2 @ orthogonal_procrustes(places_N2, first)[0]
        for label, word in reversed(LABELS.items()):  # the included ones lie on top
            for shown, edge, more in ((~is_learnt, "none", ""), (is_learnt, "black", ", learnt from")):
                chosen = (own == label) & shown
                if chosen.any():
                    look = {"color": LOOKS[label][0], "marker": MARKS[label], "edgecolors": edge, "linewidths": 0.9}
                    words = f"{word}{more} ({chosen.sum():,})"
                    axes.scatter(*places_N2[chosen].T, s=36 if more else 20, alpha=0.8, label=words, **look)
        axes.set(xticks=[], yticks=[], xlabel="t-SNE, first axis", ylabel="t-SNE, second axis", box_aspect=1)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(name, fontsize=10)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    figure.suptitle(f"t-SNE of the vectors of {_counted(drawn, labels)} (perplexity {perplexity:.3g})", fontsize=11)
    return figure


def cosine_matrices(vectors: Mapping[str, Tensor], labels: Tensor) -> Figure:
    """Draws the cosine similarity of every two records by each model, sorted by label, in one scale of colours.

    Args:
        vectors: Vectors (N×D) of the records by each model.
        labels: Their labels (N), −1 where unknown.
    """
    drawn = sample(labels, COMPARED)
    units = {name: normalize(vectors_ND[drawn].float(), dim=1) for name, vectors_ND in vectors.items()}
    matrices = {name: (units_ND @ units_ND.T).numpy() for name, units_ND in units.items()}
    lowest = min(float(matrix_NN.min()) for matrix_NN in matrices.values())
    groups = {label: int((labels[drawn] == label).sum()) for label in LABELS}
    sizes = {label: size for label, size in groups.items() if size}
    ends = np.cumsum(list(sizes.values()))
    figure = Figure(figsize=(4.2 * len(vectors) + 0.9, 4.4), layout="constrained")
    panels = figure.subplots(1, len(vectors), squeeze=False)[0]
    for axes, (name, matrix_NN) in zip(panels, matrices.items(), strict=True):
        image = axes.imshow(matrix_NN, cmap="viridis", vmin=lowest, vmax=1)
        words = [f"{LABELS[label]} ({size:,})" for label, size in sizes.items()]
        middles = ends - np.array(list(sizes.values())) / 2 - 0.5
        axes.set_xticks(middles, words, fontsize=8)
        axes.set_yticks(middles, words, fontsize=8, rotation=90, va="center")
        axes.tick_params(length=0)
        for end in ends[:-1]:
            axes.axhline(end - 0.5, color="white", linewidth=1)
            axes.axvline(end - 0.5, color="white", linewidth=1)
        axes.set_title(name, fontsize=10)
    figure.colorbar(image, ax=panels, label="cosine similarity", shrink=0.85)
    figure.suptitle(f"cosine similarity of every two of {_counted(drawn, labels)}, sorted by label", fontsize=11)
    return figure


def sample(labels: Tensor, most: int) -> list[int]:
    """Returns indices of at most `most` records, sorted by label, that are evenly spread over the others' order.

    A label with fewer records than an equal share has all of them; the others share what is left. So all included
    records stay wherever they are few.
    """
    groups = [(labels == label).nonzero()[:, 0] for label in LABELS]
    taken, left = {}, most
    for rest, place in enumerate(sorted(range(len(groups)), key=lambda place: len(groups[place]))):
        size = min(len(groups[place]), left // (len(groups) - rest))
        chosen = torch.linspace(0, len(groups[place]) - 1, size).round().long()
        taken[place], left = groups[place][chosen].tolist(), left - size
    return [index for place in range(len(groups)) for index in taken[place]]


def _counted(drawn: Sequence[int], labels: Tensor) -> str:
    return f"{len(drawn):,} records" if len(drawn) == len(labels) else f"{len(drawn):,} of {len(labels):,} records"
