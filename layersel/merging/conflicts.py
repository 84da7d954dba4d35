"""Compares adapters: their signs, cosines and subspaces, and whether they change the same weights oppositely."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from layersel.adapters.factoring import SVD, svd_of
from layersel.merging.merge import AdapterChanges

# Shapes: P entries of a weight matrix.

OVERLAP = 0.1
"""The overlap of subspaces below which two adapters are independent."""
CANCELLED = (0.45, 0.55)
"""The cancelled shares between which they are independent, as with random signs."""


@dataclass(frozen=True)
class Conflict:
    """This class compares two adapters in the modules that both change.

    Attributes:
        first: Name of the one adapter.
        second: Name of the other.
        shared: Number of modules that both change; without any, all numbers but the cosine are NaN.
        sign_disagreement: Share of the entries that both change in which their signs differ.
        cancelled: That share by magnitude: of Σ min(|a|, |b|), what cancels out when a and b are added up.
        column_overlap: ‖U_aᵀ·U_b‖²_F / min(r_a, r_b) of the column spaces, mean over the shared modules: 1 if one lies
            in the other, about max(r_a, r_b)/d by chance (Hu et al. 2022, equation 4).
        row_overlap: The same for the row spaces.
        cosine: The cosine of the two whole adapters; zero if one of them has no change.
    """

    first: str
    second: str
    shared: int
    sign_disagreement: float
    cancelled: float
    column_overlap: float
    row_overlap: float
    cosine: float

    @property
    def verdict(self) -> str:
        """Returns the kind of the conflict: `disjoint`, `independent`, `conflict` or `agreement`.

        It is disjoint without shared modules; independent if no space overlaps by 0.1, or if 45 to 55 % of the shared
        magnitude cancels out, as with random signs; otherwise a conflict above 55 % and an agreement below 45 %.
        """
        if self.shared == 0:
            return "disjoint"
        low, high = CANCELLED
        if max(self.column_overlap, self.row_overlap) < OVERLAP or low <= self.cancelled <= high:
            return "independent"
        return "conflict" if self.cancelled > high else "agreement"

    def line(self) -> str:
        """Returns the verdict with its numbers, in one line."""
        verdict = f"{self.first} and {self.second}: {self.verdict}"
        if self.shared == 0:
            return f"{verdict}; no module is changed by both"
        return (
            f"{verdict}; {self.cancelled:.0%} of what both change cancels out, {self.sign_disagreement:.0%} of the "
            f"signs differ, subspaces overlap by {self.column_overlap:.2f} (columns) and {self.row_overlap:.2f} "
            f"(rows), cosine {self.cosine:.2f}, {self.shared} shared modules"
        )


def conflicts(adapters: Mapping[str, AdapterChanges]) -> list[Conflict]:
    """Compares any two of the adapters, by their names, in their order.

    Modules in which a change is zero throughout do not count as changed.
    """
    changed = {
        name: {module: change for module, change in adapter.items() if bool(change.dense.any())}
        for name, adapter in adapters.items()
    }
    spaces = {name: {module: svd_of(change) for module, change in adapter.items()} for name, adapter in changed.items()}
    return [_compare(first, second, changed, spaces) for first, second in combinations(adapters, 2)]


def _compare(
    first: str,
    second: str,
    changed: Mapping[str, AdapterChanges],
    spaces: Mapping[str, Mapping[str, SVD]],
) -> Conflict:
    a, b, spaces_a, spaces_b = changed[first], changed[second], spaces[first], spaces[second]
    shared = sorted(set(a) & set(b))
    norms = math.sqrt(_squared_norm(a) * _squared_norm(b))
    dot = sum(float((a[name].dense.double() * b[name].dense.double()).sum()) for name in shared)
    columns = [overlap(spaces_a[name].u_OR, spaces_b[name].u_OR) for name in shared]
    rows = [overlap(spaces_a[name].v_RI.T, spaces_b[name].v_RI.T) for name in shared]
    differing, cancelled = _opposed(a, b, shared)
    return Conflict(
        first,
        second,
        len(shared),
        differing,
        cancelled,
        _ratio(sum(columns), len(shared)),
        _ratio(sum(rows), len(shared)),
        dot / norms if norms > 0 else 0.0,
    )


def overlap(first_DR: Tensor, second_DR: Tensor) -> float:
    """Returns ‖U_aᵀ·U_b‖²_F / min(r_a, r_b) of two orthonormal bases, from 0 (orthogonal) to 1 (one within the other).

    Example:
        >>> unit = torch.eye(3)
        >>> overlap(unit[:, :1], unit[:, :2]), overlap(unit[:, :1], unit[:, 1:])
        (1.0, 0.0)
    """
    return float((first_DR.T @ second_DR).square().sum()) / min(first_DR.shape[1], second_DR.shape[1])


def _opposed(a: AdapterChanges, b: AdapterChanges, shared: list[str]) -> tuple[float, float]:
    """Returns the share of entries with differing signs, by number and by the smaller magnitude; NaN without any."""
    if not shared:
        return math.nan, math.nan
    a_P, b_P = (torch.cat([adapter[name].dense.double().flatten() for name in shared]) for adapter in (a, b))
    both_P, differ_P = a_P * b_P != 0, a_P.sign() * b_P.sign() < 0
    least_P = torch.minimum(a_P.abs(), b_P.abs())
    return (
        _ratio(float(differ_P.sum()), float(both_P.sum())),
        _ratio(float(least_P[differ_P].sum()), float(least_P.sum())),
    )


def _squared_norm(adapter: AdapterChanges) -> float:
    return sum(float(change.dense.double().square().sum()) for change in adapter.values())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
