"""A run's figures against the numbers that they are to show."""

import math

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from layersel.metrics.screening import score_at_recall
from layersel.tasks.screening.by_label import length_quantiles
from layersel.tasks.screening.figures import score_densities, token_lengths
from layersel.tasks.screening.vector_figures import cosine_matrices, sample, tsne_maps

LABELS = torch.tensor([1] * 12 + [0] * 25 + [-1] * 3)[torch.randperm(40, generator=torch.Generator().manual_seed(1))]


def vectors(seed: int) -> Tensor:
    """Vectors (40×6) of records whose included ones lie elsewhere."""
    drawn_ND = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed))
    drawn_ND[LABELS == 1, 0] += 8
    return drawn_ND


def points(figure: Figure) -> list[dict[str, np.ndarray]]:
    """The places of the records in each map, by what the legend calls them."""
    return [
        {
            str(own.get_label()): np.asarray(own.get_offsets())
            for own in axes.collections
            if isinstance(own, PathCollection)
        }
        for axes in figure.axes
    ]


def test_a_sample_keeps_what_is_rare() -> None:
    """Sorted by label; a label with few records keeps all, and the sample is as large as it may be."""
    labels = torch.tensor([0] * 1000 + [1] * 30 + [-1] * 200)
    drawn = sample(labels, 150)
    assert labels[drawn].tolist() == [1] * 30 + [0] * 60 + [-1] * 60
    assert len(set(drawn)) == 150
    assert max(drawn[30:90]) - min(drawn[30:90]) == 999
    assert sorted(sample(labels, 2000)) == list(range(1230))
    assert len(sample(torch.tensor([1] * 500 + [0] * 500), 100)) == 100


def test_maps_show_the_same_records_side_by_side() -> None:
    """Each record once, in its group; clusters stay apart; equal vectors give one map; nothing is drawn at random."""
    before = np.random.get_state()[1].tolist()  # type: ignore[union-attr]  # noqa: NPY002  # the global state itself
    learnt = (LABELS == 1).nonzero()[:2, 0].tolist() + (LABELS == 0).nonzero()[:3, 0].tolist()
    figure = tsne_maps({"before": vectors(0), "after": 4 * vectors(0)}, LABELS, learnt)
    assert figure is not None
    first, second = points(figure)
    counts = {name: len(own) for name, own in first.items()}
    assert counts == {
        "unlabelled (3)": 3,
        "excluded (22)": 22,
        "excluded, learnt from (3)": 3,
        "included (10)": 10,
        "included, learnt from (2)": 2,
    }
    for name, own in first.items():
        np.testing.assert_allclose(own, second[name], atol=1e-3 * np.abs(own).max())
    included, excluded = first["included (10)"], first["excluded (22)"]
    within = np.linalg.norm(included - included.mean(axis=0), axis=1).mean()
    assert np.linalg.norm(included.mean(axis=0) - excluded.mean(axis=0)) > within
    assert "of 40 records" in figure.get_suptitle()
    assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr]  # noqa: NPY002


def test_maps_are_turned_to_fit_the_first() -> None:
    """No turn or mirroring brings the second one nearer."""
    figure = tsne_maps({"before": vectors(0), "after": vectors(1)}, LABELS)
    assert figure is not None
    first, second = (np.concatenate(list(own.values())) for own in points(figure))
    np.testing.assert_allclose(orthogonal_procrustes(second, first)[0], np.eye(2), atol=1e-4)


def test_vectors_of_one_direction_have_no_map() -> None:
    """t-SNE would crash; the other model's map stays."""
    alike = torch.arange(1.0, 41)[:, None] * torch.ones(6)
    alike = alike / alike.norm(dim=1, keepdim=True)
    assert tsne_maps({"before": torch.ones(40, 6)}, LABELS) is None
    figure = tsne_maps({"before": torch.zeros(40, 6), "after": vectors(0)}, LABELS)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["after"]


def test_similarities_are_sorted_by_label_and_share_their_colours() -> None:
    """Each square is the cosine of two records; both models have the scale of the lowest one of all."""
    models = {"before": vectors(0), "after": vectors(1)}
    figure = cosine_matrices(models, LABELS)
    order = [index for label in (1, 0, -1) for index in range(40) if LABELS[index] == label]
    lowest = math.inf
    for axes, own in zip(figure.axes, models.values(), strict=False):
        rows = own.double().numpy()[order]
        expected = [[one @ other / math.sqrt(one @ one * (other @ other)) for other in rows] for one in rows]
        np.testing.assert_allclose(axes.images[0].get_array(), expected, atol=1e-5)  # type: ignore[arg-type]
        lowest = min(lowest, np.min(expected))
        assert [words.get_text() for words in axes.get_xticklabels()] == [
            "included (12)",
            "excluded (25)",
            "unlabelled (3)",
        ]
    limits = [axes.images[0].get_clim() for axes in figure.axes[:2]]
    assert limits == [pytest.approx((lowest, 1), abs=1e-5)] * 2


def test_densities_are_cut_where_the_recall_is_reached() -> None:
    """The line stands at the score of the last record read, and the curves rise to 1; equal scores are no error."""
    labels = LABELS.clamp(min=0)
    scores = torch.randn(40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ranked = sorted(zip(scores.tolist(), labels.tolist(), strict=True), reverse=True)
    found = np.cumsum([label for _, label in ranked])
    cut = next(score for (score, _), count in zip(ranked, found, strict=True) if count >= 0.75 * found[-1])
    assert float(score_at_recall(scores, labels, 0.75)) == cut
    figure = score_densities({"mine": scores}, labels, recall=0.75)
    density, cumulative = figure.axes
    assert [set(axes.lines[-1].get_xdata()) for axes in (density, cumulative)] == [{cut}] * 2  # type: ignore[arg-type]
    for line, label in zip(cumulative.lines, (1, 0), strict=False):
        share = np.mean(scores[labels == label].numpy() <= 0.1)
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert y[x <= 0.1][-1] == pytest.approx(share)
    score_densities({"mine": torch.ones(40, dtype=torch.float64)}, labels).savefig("/dev/null", format="svg")
    assert math.isnan(score_at_recall(scores, torch.zeros(40), 0.95))


def test_quantiles_of_lengths_by_label() -> None:
    """At each percent, for labels that records have, beside the limit."""
    lengths = torch.randint(1, 900, (40,), generator=torch.Generator().manual_seed(2)).tolist()
    found = length_quantiles(lengths, LABELS.clamp(min=0), 512)
    assert (len(found.x), found.x[0], found.x[50], found.x[-1], found.limit) == (101, 0, 0.5, 1, 512)
    assert [*found.y] == ["included", "excluded"]
    included = [length for length, label in zip(lengths, LABELS.tolist(), strict=True) if label == 1]
    assert found.y["included"] == pytest.approx(np.percentile(included, range(101)))


def test_lengths_stand_beside_the_limit() -> None:
    """What is cut is counted."""
    figure = token_lengths("Beta $5 of $6", [10, 20, 600, 512] * 10, LABELS, 512)
    (axes,) = figure.axes
    assert axes.get_title() == r"Beta \$5 of \$6: 10 of 40 records are cut at the limit"
    figure.canvas.draw()
    assert [words.get_text() for words in axes.get_legend().get_texts()] == [  # type: ignore[union-attr]
        "included (12)",
        "excluded (25)",
        "unlabelled (3)",
        "limit of 512 tokens",
    ]
