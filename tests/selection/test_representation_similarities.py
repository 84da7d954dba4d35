"""Procrustes, RSA, SVCCA and PWCCA against naive references, and what they must and must not depend on."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.linalg import eig, orthogonal_procrustes
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from layersel.errors import UserError
from layersel.selection.measures.canonical import pwcca, svcca
from layersel.selection.measures.dissimilarity import rsa
from layersel.selection.measures.procrustes import procrustes

Similarity = Callable[[Tensor, Tensor], Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Independent standard normals in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n: int = 24, d: int = 6, e: int = 9) -> tuple[Tensor, Tensor]:
    """Two representations with a part in common, of different widths."""
    x = normal(n, d, seed=1)
    return x, x.tanh() @ normal(d, e, seed=2) + normal(n, e, seed=3)


def low_rank(n: int = 24, d: int = 60) -> tuple[Tensor, Tensor]:
    """Two representations of more dimensions than records, whose variance is almost all in a few directions."""
    x, y = related(n, 4, 5)
    return tuple(own @ normal(own.shape[1], d, seed=5) + 1e-3 * normal(n, d, seed=6) for own in (x, y))


def naive_procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """1 − half the squared distance of the shapes after the best rotation, which is applied."""
    width = max(x.shape[1], y.shape[1])
    shapes = [np.pad(own - own.mean(0), ((0, 0), (0, width - own.shape[1]))) for own in (x, y)]
    a, b = (own / np.linalg.norm(own) for own in shapes)
    return 1 - np.linalg.norm(a @ orthogonal_procrustes(a, b)[0] - b) ** 2 / 2


def naive_rsa(x: np.ndarray, y: np.ndarray, distance: str = "correlation", correlation: str = "spearman") -> float:
    """Scipy's distances and correlations."""
    compare = {"spearman": spearmanr, "pearson": pearsonr}[correlation]
    return float(compare(pdist(x, distance), pdist(y, distance)).statistic)


def _principal(x: np.ndarray, variance: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(np.cov(x.T))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = next(k for k in range(1, len(values) + 1) if values[:k].sum() >= variance * values.sum())
    return (x - x.mean(0)) @ vectors[:, :kept]


def _canonical(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hotelling's equation: Σxx⁻¹ΣxyΣyy⁻¹Σyx a = ρ²a; the correlations and the unit directions Xa."""
    squares, a = eig(np.linalg.inv(x.T @ x) @ x.T @ y @ np.linalg.inv(y.T @ y) @ y.T @ x)
    order = np.argsort(-squares.real)[: min(x.shape[1], y.shape[1])]
    directions = x @ a.real[:, order]
    return np.sqrt(squares.real[order].clip(0)), directions / np.linalg.norm(directions, axis=0)


def naive_svcca(x: np.ndarray, y: np.ndarray, variance: float = 0.99) -> float:
    """The mean of the correlations."""
    return float(_canonical(_principal(x, variance), _principal(y, variance))[0].mean())


def naive_pwcca(x: np.ndarray, y: np.ndarray, variance: float = 0.99) -> float:
    """Their mean weighted by Σ_j |⟨h_i, x_j⟩| over the dimensions of the side of which fewer directions are kept."""
    if _principal(y, variance).shape[1] < _principal(x, variance).shape[1]:
        x, y = y, x
    correlations, directions = _canonical(_principal(x, variance), _principal(y, variance))
    weights = np.abs(directions.T @ (x - x.mean(0))).sum(1)
    return float((weights * correlations).sum() / weights.sum())


REFERENCES: dict[str, tuple[Similarity, Callable[[np.ndarray, np.ndarray], float]]] = {
    "procrustes": (procrustes, naive_procrustes),
    "rsa": (rsa, naive_rsa),
    "rsa euclidean": (partial(rsa, distance="euclidean"), partial(naive_rsa, distance="euclidean")),
    "rsa pearson": (partial(rsa, correlation="pearson"), partial(naive_rsa, correlation="pearson")),
    "svcca": (svcca, naive_svcca),
    "svcca 90": (partial(svcca, variance=0.9), partial(naive_svcca, variance=0.9)),
    "pwcca": (pwcca, naive_pwcca),
    "pwcca 90": (partial(pwcca, variance=0.9), partial(naive_pwcca, variance=0.9)),
}
every_similarity = pytest.mark.parametrize("name", REFERENCES)


@pytest.mark.parametrize("make", [related, low_rank])
@every_similarity
def test_equals_the_naive_reference(name: str, make: Callable[[], tuple[Tensor, Tensor]]) -> None:
    """This holds with more dimensions than records too, and for float32."""
    (similarity, naive), (x, y) = REFERENCES[name], make()
    assert similarity(x, y).item() == pytest.approx(naive(x.numpy(), y.numpy()), rel=1e-8)
    assert similarity(x.float(), y.float()).item() == pytest.approx(naive(x.numpy(), y.numpy()), rel=1e-4)
    assert similarity(y, x).item() == pytest.approx(naive(y.numpy(), x.numpy()), rel=1e-8)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "scale": lambda x: 1e-3 * x,
    "order of dimensions": lambda x: x.flip(1),
    "constant dimension": lambda x: torch.cat([x, torch.full((len(x), 1), 2.0, dtype=x.dtype)], dim=1),
    "shift": lambda x: x + 7 * normal(x.shape[1], seed=8),
    "rotation": lambda x: x @ torch.linalg.qr(normal(x.shape[1], x.shape[1], seed=9)).Q,
    "invertible map": lambda x: x @ normal(x.shape[1], x.shape[1], seed=10),
}
VARIES = {
    "procrustes": {"invertible map"},
    "rsa": {"constant dimension", "shift", "rotation", "invertible map"},
    "rsa pearson": {"constant dimension", "shift", "rotation", "invertible map"},
    "rsa euclidean": {"invertible map"},
    "svcca": set(),
    "svcca 90": {"invertible map"},
    "pwcca": {"rotation", "invertible map"},
    "pwcca 90": {"rotation", "invertible map"},
}


@every_similarity
@pytest.mark.parametrize("change", CHANGES)
def test_invariances_are_those_of_the_definition(name: str, change: str) -> None:
    """And no more: what a similarity is sensitive to changes it."""
    similarity, (x, y) = REFERENCES[name][0], related()
    same = similarity(CHANGES[change](x), y).item() == pytest.approx(similarity(x, y).item(), rel=1e-9)
    assert same == (change not in VARIES[name])


@every_similarity
def test_identity_symmetry_and_the_order_of_the_records(name: str) -> None:
    """1 for itself; only PWCCA has two sides, where as many directions are kept of both; one order of both changes
    nothing, of one destroys the match.
    """
    similarity, (x, y) = REFERENCES[name][0], related()
    value = similarity(x, y).item()
    assert similarity(x, x).item() == pytest.approx(1, abs=1e-12)
    assert (similarity(y, x).item() == pytest.approx(value, rel=1e-9)) == (name != "pwcca 90")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    assert similarity(x[order], y[order]).item() == pytest.approx(value, rel=1e-9)
    assert similarity(x[order], y).item() < 0.9 * value


@every_similarity
@pytest.mark.parametrize("row", [torch.zeros(7), torch.full((7,), 0.1), 100 * normal(300)])
def test_a_constant_representation_has_none(name: str, row: Tensor) -> None:
    """NaN, and no direction made of rounding errors."""
    similarity, x, y = REFERENCES[name][0], row.repeat(24, 1), related()[1]
    assert similarity(x, y).isnan()
    assert similarity(y, x).isnan()


@every_similarity
def test_what_cannot_be_compared_is_refused(name: str) -> None:
    """Too few records, different ones, NaN."""
    similarity, (x, y) = REFERENCES[name][0], related()
    for bad, message in ((x[:3], "at least 4 records"), (x[:9], "the same records"), (x / 0, "x_ND: expected finite")):
        with pytest.raises(ValueError, match=message):
            similarity(bad, y)


@pytest.mark.parametrize("similarity", [svcca, pwcca])
def test_cca_of_all_directions_is_refused(similarity: Similarity) -> None:
    """With as many directions as records it is 1 for independent ones; with fewer it is not."""
    x, y = normal(12, 40, seed=1), normal(12, 40, seed=2)
    line = (
        r"^variance: expected a share of less than all 11 directions of 12 texts, but got 0\.99, by which all are kept"
    )
    with pytest.raises(UserError, match=line):
        similarity(x, y)
    assert similarity(x, y, variance=0.3).item() < 0.9


def test_ties_have_the_mean_rank() -> None:
    """Of records in a regular grid many pairs are as far apart."""
    x, y = (torch.tensor(own, dtype=torch.float64).view(-1, 1) for own in ([0, 1, 2, 3, 5], [0, 1, 3, 2, 4]))
    assert rsa(x, y, "euclidean").item() == pytest.approx(naive_rsa(x.numpy(), y.numpy(), "euclidean"))


def test_unknown_names_are_refused() -> None:
    """The line lists the known ones."""
    with pytest.raises(UserError, match="distance: expected one of correlation, euclidean, but got 'cosine'"):
        rsa(*related(), distance="cosine")
    with pytest.raises(UserError, match="correlation: expected one of spearman, pearson, but got 'kendall'"):
        rsa(*related(), correlation="kendall")
