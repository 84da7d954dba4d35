"""Signs, subspaces and cosines of pairs of adapters, on cases whose answer is known."""

import math

import numpy as np
import pytest
import torch
from made_changes import FIRST, SECOND, SHAPES, Adapter, dense, low_rank, times, whole

from layersel.adapters.change import Change
from layersel.merging.conflicts import Conflict, conflicts


def pair(first: Adapter, second: Adapter) -> Conflict:
    """How two adapters stand to each other."""
    (found,) = conflicts({"a": first, "b": second})
    return found


def numbers(conflict: Conflict) -> list[float]:
    """Signs, magnitude, columns, rows, cosine."""
    return [
        conflict.sign_disagreement,
        conflict.cancelled,
        conflict.column_overlap,
        conflict.row_overlap,
        conflict.cosine,
    ]


def on_axes(rows: list[int], columns: list[int], sign: float = 1.0) -> Adapter:
    """A change of one matrix with entries at these places only."""
    matrix = torch.zeros(6, 5)
    matrix[rows, columns] = sign
    return {"layer.0.query": Change(matrix)}


@pytest.mark.parametrize("scale", [1.0, 0.01, 30.0])
def test_identical_adapters_agree_in_everything(scale: float) -> None:
    """Whatever their size."""
    found = pair(low_rank(1), times(low_rank(1), scale))
    assert numbers(found) == pytest.approx([0, 0, 1, 1, 1])
    assert (found.shared, found.verdict) == (4, "agreement")


def test_negated_adapters_are_a_conflict() -> None:
    """All signs differ within the same subspaces."""
    found = pair(low_rank(1), times(low_rank(1), -1))
    assert numbers(found) == pytest.approx([1, 1, 1, 1, -1])
    assert found.verdict == "conflict"


def test_adapters_in_orthogonal_subspaces_are_independent() -> None:
    """No entry in common: no signs to compare."""
    found = pair(on_axes([0, 1], [0, 1]), on_axes([2, 3], [2, 3], sign=-1))
    assert numbers(found)[2:] == pytest.approx([0, 0, 0])
    assert math.isnan(found.sign_disagreement)
    assert found.verdict == "independent"


def test_disjoint_adapters_have_nothing_to_compare() -> None:
    """Not even if one has a change of zero where the other is."""
    zero = {name: change for name, change in times(low_rank(3), 0).items() if name in SECOND}
    found = pair(low_rank(1, names=FIRST) | zero, low_rank(2, names=SECOND))
    assert (found.shared, found.verdict, found.cosine) == (0, "disjoint", 0.0)
    assert all(math.isnan(number) for number in numbers(found)[:4])
    assert found.line() == "a and b: disjoint; no module is changed by both"
    assert pair(low_rank(1), times(low_rank(2), 0)).verdict == "disjoint"


def test_random_adapters_are_independent() -> None:
    """Half of the signs differ by chance; the subspaces overlap by max(r)/d, and the verdict is not fooled."""
    draws = torch.Generator().manual_seed(0)
    factors = [(torch.randn(400, 4, generator=draws), torch.randn(4, 300, generator=draws)) for _ in range(2)]
    found = pair(*({"query": Change.low_rank(*pair)} for pair in factors))
    assert numbers(found) == pytest.approx([0.5, 0.5, 4 / 400, 4 / 300, 0], abs=0.05)
    assert found.verdict == "independent"


def test_the_numbers_are_those_of_loops() -> None:
    """Entry by entry over the shared modules; overlaps by numpy's bases; the cosine over both whole adapters."""
    first, second = low_rank(1, rank=2), dense(2, names=["layer.0.query", "layer.2.up"])
    found = pair(first, second)
    signs, both, lost, least, columns, rows = 0, 0, 0.0, 0.0, [], []
    for name in second:
        a, b = first[name].dense.double().numpy(), second[name].dense.double().numpy()
        for place in np.ndindex(SHAPES[name]):
            both += 1
            least += min(abs(a[place]), abs(b[place]))
            if a[place] * b[place] < 0:
                signs += 1
                lost += (abs(a[place]) + abs(b[place]) - abs(a[place] + b[place])) / 2
        (u_a, _, v_a), (u_b, _, v_b) = (np.linalg.svd(matrix, full_matrices=False) for matrix in (a, b))
        columns.append(np.square(u_a[:, :2].T @ u_b).sum() / 2)
        rows.append(np.square(v_a[:2] @ v_b.T).sum() / 2)
    vectors = [np.concatenate([matrix.numpy().ravel() for matrix in whole(one).values()]) for one in (first, second)]
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
    expected = [signs / both, lost / least, np.mean(columns), np.mean(rows), cosine]
    assert numbers(found) == pytest.approx(expected, rel=1e-6)
    assert found.shared == 2


def test_the_order_of_a_pair_does_not_matter() -> None:
    """All numbers are symmetric."""
    first, second = low_rank(1), low_rank(2, rank=1, names=FIRST)
    assert numbers(pair(first, second)) == pytest.approx(numbers(pair(second, first)))


def test_a_subspace_within_another_overlaps_whole() -> None:
    """Divided by the smaller rank."""
    found = pair(on_axes([0], [0]), on_axes([0, 1, 2], [0, 1, 2]))
    assert (found.column_overlap, found.row_overlap) == (1, 1)


def test_every_pair_is_compared() -> None:
    """By name, in the order given."""
    found = conflicts({"x": low_rank(1), "y": low_rank(2), "z": low_rank(3)})
    assert [(one.first, one.second) for one in found] == [("x", "y"), ("x", "z"), ("y", "z")]


@pytest.mark.parametrize(
    ("cancelled", "column_overlap", "verdict"),
    [
        (0.56, 0.1, "conflict"),
        (0.56, 0.09, "independent"),
        (0.55, 0.9, "independent"),
        (0.45, 0.9, "independent"),
        (0.44, 0.9, "agreement"),
        (0.0, 0.09, "independent"),
    ],
)
def test_the_verdict_follows_its_thresholds(cancelled: float, column_overlap: float, verdict: str) -> None:
    """What its docstring states, and the line names it."""
    found = Conflict("a", "b", 3, 0.5, cancelled, column_overlap, 0.05, -0.1)
    assert found.verdict == verdict
    assert found.line().startswith(f"a and b: {verdict}; {cancelled:.0%} of what both change cancels out, 50% of the")
    assert found.line().endswith("cosine -0.10, 3 shared modules")
