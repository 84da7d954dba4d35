"""Every method equals a dense reference written with loops, and keeps what its definition promises."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made_changes import (
    FIRST,
    LAYER_OF,
    SECOND,
    SHAPES,
    Adapter,
    assert_same,
    dense,
    generator,
    low_rank,
    merged,
    times,
    whole,
)
from torch import Tensor

from layersel.adapters.change import Change
from layersel.merging.clusters import merged_units, rescaled_centroid, units
from layersel.merging.entries import elected_mean, entrywise_quantile, largest, trimmed
from layersel.merging.joint_basis import joint_basis
from layersel.merging.merge import merge_adapters
from layersel.merging.method import MergeMethod
from layersel.merging.methods.adamerging import AdaMerging
from layersel.merging.methods.average import Average
from layersel.merging.methods.dare import Dare
from layersel.merging.methods.hybrid import Hybrid
from layersel.merging.methods.knots import Knots
from layersel.merging.methods.lego import Lego
from layersel.merging.methods.task_arithmetic import TaskArithmetic
from layersel.merging.methods.ties import Ties

Matrices = dict[str, np.ndarray]
Naive = Callable[[list[Matrices], list[list[str]]], Matrices]

THREE = [low_rank(1, rank=2), low_rank(2, rank=1, names=FIRST), dense(3, names=["layer.0.query", "layer.2.up"])]


def each_entry(combine: Callable[[list[float]], float]) -> Naive:
    """A reference that looks at one entry of all adapters at a time."""

    def naive(adapters: list[Matrices], _: list[list[str]]) -> Matrices:
        result = {name: np.zeros(shape) for name, shape in SHAPES.items()}
        for name, (outputs, inputs) in SHAPES.items():
            for row, column in itertools.product(range(outputs), range(inputs)):
                result[name][row, column] = combine([adapter[name][row, column] for adapter in adapters])
        return result

    return naive


def agreeing_mean(values: list[float]) -> float:
    """The mean of those with the sign of the sum."""
    total = sum(values)
    agreeing = [value for value in values if value * total > 0]
    return sum(agreeing) / len(agreeing) if agreeing else 0.0


def naive_trim(density: float) -> Callable[[list[Matrices], list[list[str]]], list[Matrices]]:
    """Sort all entries of an adapter's own modules and zero the smaller ones."""

    def trim(adapters: list[Matrices], own: list[list[str]]) -> list[Matrices]:
        trimmed_adapters = []
        for adapter, names in zip(adapters, own, strict=True):
            entries = [(name, place) for name in names for place in np.ndindex(adapter[name].shape)]
            entries.sort(key=lambda entry: -abs(adapter[entry[0]][entry[1]]))
            result = {name: np.zeros_like(matrix) for name, matrix in adapter.items()}
            for name, place in entries[: math.floor(density * len(entries) + 0.5)]:
                result[name][place] = adapter[name][place]
            trimmed_adapters.append(result)
        return trimmed_adapters

    return trim


def naive_ties(density: float) -> Naive:
    """Trim, then entry by entry."""
    return lambda adapters, own: each_entry(agreeing_mean)(naive_trim(density)(adapters, own), own)


def naive_dare(drop: float, combine: Callable[[list[float]], float]) -> Naive:
    """The same draws, module by module in the order of names."""

    def naive(adapters: list[Matrices], own: list[list[str]]) -> Matrices:
        draws = generator(0)
        dropped = [{name: matrix.copy() for name, matrix in adapter.items()} for adapter in adapters]
        for name in sorted(SHAPES):
            for adapter, kept in zip(dropped, torch.rand(len(adapters), *SHAPES[name], generator=draws), strict=True):
                for place in np.ndindex(SHAPES[name]):
                    adapter[name][place] = adapter[name][place] / (1 - drop) if kept[place] >= drop else 0.0
        return each_entry(combine)(dropped, own)

    return naive


def naive_knots(combine: Naive | None, density: float = 1.0) -> Naive:
    """As published: SVD of the ΔW side by side, V split by task and scaled by s, merged over whole adapters, U."""

    def naive(adapters: list[Matrices], own: list[list[str]]) -> Matrices:
        left, aligned = {}, [{} for _ in adapters]
        for name in SHAPES:
            u, s, v = np.linalg.svd(np.concatenate([adapter[name] for adapter in adapters], axis=1))
            u, s, v = u[:, : (s > 1e-5).sum()], s[s > 1e-5], v[: (s > 1e-5).sum()]
            left[name] = u
            for task, part in enumerate(np.split(v, len(adapters), axis=1)):
                aligned[task][name] = s[:, None] * part
        aligned = naive_trim(density)(aligned, own)
        result = {}
        for name in SHAPES:
            stack = np.stack([task[name] for task in aligned])
            flat = [
                agreeing_mean(list(column)) if combine is None else column.mean()
                for column in stack.reshape(len(stack), -1).T
            ]
            result[name] = left[name] @ np.array(flat).reshape(stack.shape[1:])
        return result

    return naive


REFERENCES: dict[str, tuple[MergeMethod, float, Naive]] = {
    "hybrid": (Hybrid(rank=None), 1.0, each_entry(lambda values: float(np.quantile(values, 0.75)))),
    "hybrid .3": (Hybrid(rank=None, quantile=0.3), 1.0, each_entry(lambda values: float(np.quantile(values, 0.3)))),
    "average": (Average(rank=None), 1.0, each_entry(lambda values: sum(values) / len(values))),
    "task_arithmetic": (TaskArithmetic(rank=None), 0.4, each_entry(sum)),
    "adamerging": (AdaMerging(rank=None), 0.3, each_entry(sum)),
    "ties": (Ties(rank=None), 1.0, naive_ties(0.2)),
    "ties .55": (Ties(rank=None, density=0.55), 1.0, naive_ties(0.55)),
    "dare": (Dare(rank=None), 0.4, naive_dare(0.5, sum)),
    "dare average": (Dare(rank=None, inner="average", drop=0.2), 1.0, naive_dare(0.2, lambda v: sum(v) / len(v))),
    "dare ties": (Dare(rank=None, inner="ties", drop=0.9), 1.0, naive_dare(0.9, agreeing_mean)),
    "knots": (Knots(rank=None), 1.0, naive_knots(None, 0.2)),
    "knots all": (Knots(rank=None, inner="dare", drop=0.0), 1.0, naive_knots(None)),
    "knots average": (Knots(rank=None, inner="average"), 1.0, naive_knots(each_entry(sum))),
}


@pytest.mark.usefixtures("global_rng_untouched")
@pytest.mark.parametrize("weights", [None, [1.5, -0.5, 0.7]], ids=["own λ", "given λ"])
@pytest.mark.parametrize("case", REFERENCES)
def test_a_method_is_its_naive_reference(case: str, weights: list[float] | None) -> None:
    """Three adapters of differing layers and ranks, one of them without factors."""
    method, own_weight, naive = REFERENCES[case]
    factors = [own_weight] * 3 if weights is None else weights
    if weights is not None and (isinstance(method, Average) or getattr(method, "inner", None) == "average"):
        factors = [weight / sum(weights) * 3 for weight in weights]
    given = None if weights is None else torch.tensor(weights)[:, None]
    scaled = [
        {name: matrix.numpy() * factor for name, matrix in whole(adapter).items()}
        for adapter, factor in zip(THREE, factors, strict=True)
    ]
    expected = naive(scaled, [sorted(adapter) for adapter in THREE])
    assert_same(merged(method, THREE, given), {name: torch.from_numpy(matrix) for name, matrix in expected.items()})


# Methods that change nothing by themselves, at λ = 1: nothing trimmed, dropped or clustered together.
GENTLE: dict[str, MergeMethod] = {
    "hybrid": Hybrid(rank=4),
    "average": Average(rank=4),
    "task_arithmetic": TaskArithmetic(rank=4),
    "adamerging": AdaMerging(rank=4),
    "ties": Ties(rank=4, density=1.0),
    "dare": Dare(rank=4, drop=0.0),
    "dare average": Dare(rank=4, drop=0.0, inner="average"),
    "dare ties": Dare(rank=4, drop=0.0, inner="ties"),
    "knots": Knots(rank=4, density=1.0),
    "knots average": Knots(rank=4, inner="average"),
    "knots dare": Knots(rank=4, inner="dare", drop=0.0),
    "lego": Lego(rank=4),
}
SUMS = {"task_arithmetic", "adamerging", "dare"}
MEANS = {"average", "dare average", "knots average"}


def at_one(n_adapters: int) -> Tensor:
    """λ = 1 for each adapter."""
    return torch.ones(n_adapters, 1)


@pytest.mark.parametrize("case", GENTLE)
@pytest.mark.parametrize("rank", [1, 4])
def test_one_adapter_merged_is_that_adapter(case: str, rank: int) -> None:
    """At λ = 1, and with nothing trimmed or dropped: those change even a single adapter, by their definition."""
    adapter = low_rank(5, rank)
    assert_same(merged(GENTLE[case], [adapter], at_one(1)), whole(adapter))


@pytest.mark.parametrize("case", [case for case in GENTLE if "average" not in case])
@pytest.mark.parametrize("weight", [-2.0, 0.5])
def test_a_weight_multiplies_the_adapter_with_its_sign(case: str, weight: float) -> None:
    """Also where factors are merged, not matrices; the average normalises it away."""
    adapter = low_rank(5, rank=3)
    expected = {name: weight * matrix for name, matrix in whole(adapter).items()}
    assert_same(merged(GENTLE[case], [adapter], torch.tensor([[weight]])), expected, atol=1e-5)


@pytest.mark.parametrize("case", GENTLE)
def test_an_adapter_merged_with_itself(case: str) -> None:
    """Is itself, or twice itself where the method sums: at λ = 1/2 itself again."""
    adapter = low_rank(5, rank=4)
    factor = 2 if case in SUMS else 1
    expected = {name: matrix * factor for name, matrix in whole(adapter).items()}
    assert_same(merged(GENTLE[case], [adapter, adapter], at_one(2)), expected, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in GENTLE if case != "hybrid"])
def test_adapters_of_disjoint_layers_stay_what_they_are(case: str) -> None:
    """Each keeps its own layers, halved by a mean of two; the wanted rank loses nothing of them."""
    adapters = [low_rank(1, rank=2, names=FIRST), low_rank(2, rank=4, names=SECOND)]
    factor = 0.5 if case in MEANS else 1.0
    expected = {
        name: matrix * factor for adapter in adapters for name, matrix in whole(adapter).items() if name in adapter
    }
    result = merge_adapters(GENTLE[case], adapters, LAYER_OF, generator(), at_one(2))
    assert_same({name: (up @ down).double() for name, (up, down) in result.factors.items()}, expected)
    assert result.total_lost < 1e-10
    assert max(result.lost.values()) < 1e-10


@pytest.mark.parametrize("quantile", [0.5, 0.75, 1.0])
def test_the_hybrid_of_disjoint_layers_keeps_a_share_by_sign(quantile: float) -> None:
    """The quantile of {x, 0} is q·x above zero and (1 − q)·x below, which has a higher rank than x."""
    adapters = [low_rank(1, names=FIRST), low_rank(2, names=SECOND)]
    expected = {
        name: torch.where(matrix > 0, quantile * matrix, (1 - quantile) * matrix)
        for adapter in adapters
        for name, matrix in whole(adapter).items()
        if name in adapter
    }
    assert_same(merged(Hybrid(rank=None, quantile=quantile), adapters), expected)


@pytest.mark.parametrize("case", [*(case for case in GENTLE if case != "lego"), "trimmed", "knots trimmed"])
def test_the_order_of_the_adapters_does_not_matter(case: str) -> None:
    """With their λ in the same order; draws (DARE, k-means) depend on it, so those are at rest here."""
    method = {"trimmed": Ties(rank=4), "knots trimmed": Knots(rank=4)} | GENTLE
    weights_TL = torch.tensor([[1.0], [0.4], [-0.3]])
    expected = merged(method[case], THREE, weights_TL)
    for order in itertools.permutations(range(3)):
        shuffled = [THREE[index] for index in order]
        assert_same(merged(method[case], shuffled, weights_TL[list(order)]), expected, atol=1e-5)


FIERCE = {"ties": Ties(), "dare": Dare(), "knots": Knots(), "lego": Lego(), "hybrid": Hybrid()}


@pytest.mark.parametrize("case", FIERCE)
@pytest.mark.parametrize("factor", [0.01, 7.0])
def test_a_common_weight_scales_the_result(case: str, factor: float) -> None:
    """λ before the method or after it is the same, so the papers' λ is this λ."""
    method = FIERCE[case]
    method.rank = 4
    once = merged(method, THREE, at_one(3))
    scaled = merged(method, THREE, factor * at_one(3))
    assert_same({name: matrix / factor for name, matrix in scaled.items()}, once, atol=1e-5)


@pytest.mark.parametrize("case", ["ties", "dare", "knots"])
def test_negated_adapters_give_the_negated_result(case: str) -> None:
    """No sign is favoured; the hybrid favours one, and its mirror image is the other quantile."""
    method = FIERCE[case]
    method.rank = None
    negated = merged(method, [times(adapter, -1) for adapter in THREE])
    assert_same({name: -matrix for name, matrix in negated.items()}, merged(method, THREE))


def test_the_mirrored_hybrid_is_the_other_quantile() -> None:
    """−Q_q(−x) = Q_{1−q}(x)."""
    negated = merged(Hybrid(rank=None, quantile=0.75), [times(adapter, -1) for adapter in THREE])
    expected = merged(Hybrid(rank=None, quantile=0.25), THREE)
    assert_same({name: -matrix for name, matrix in negated.items()}, expected)


@given(
    stack=arrays.arrays(
        np.float64, st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3)), elements=st.floats(-9, 9)
    ),
    quantile=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_the_quantile_is_numpys(stack: np.ndarray, quantile: float) -> None:
    """For any number of adapters."""
    torch.testing.assert_close(
        entrywise_quantile(torch.from_numpy(stack), quantile), torch.from_numpy(np.quantile(stack, quantile, axis=0))
    )


@pytest.mark.parametrize(
    ("values", "expected"), [([1.0, 3.0], 2.5), ([1.0, 3.0, 2.0], 2.5), ([4.0, 1.0, 3.0, 2.0], 3.25)]
)
def test_the_75_percent_quantile_by_hand(values: list[float], expected: float) -> None:
    """Of 2, 3 and 4 adapters: 0.75·(T − 1) steps up the sorted values."""
    assert entrywise_quantile(torch.tensor(values)[:, None, None], 0.75).item() == expected


@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=30), data=st.data())
@settings(max_examples=60, deadline=None)
def test_exactly_as_many_as_asked_are_kept(values: list[int], data: st.DataObject) -> None:
    """However many are equal, and never one that is smaller than one left out."""
    count = data.draw(st.integers(1, len(values)))
    values_P = torch.tensor(values, dtype=torch.float64)
    mask_P = largest(values_P, count)
    assert int(mask_P.sum()) == count
    assert sorted(values_P[mask_P].tolist()) == sorted(values)[len(values) - count :]
    smallest = values_P[mask_P].min()
    equal = (values_P == smallest).nonzero().flatten().tolist()
    assert mask_P[equal].tolist() == sorted(mask_P[equal].tolist(), reverse=True), "of equal ones the first are kept"


@pytest.mark.parametrize(("density", "kept"), [(0.2, 23), (0.5, 58), (1.0, 115), (1e-9, 1)])
def test_trimming_is_over_the_whole_adapter(density: float, kept: int) -> None:
    """Of 115 entries in all; a module a thousand times weaker keeps none while others have some to give."""
    adapter = {name: matrix.clone() for name, matrix in whole(dense(1)).items()}
    adapter["layer.1.query"] *= 1e-3
    stacks = {name: matrix[None] for name, matrix in adapter.items()}
    found = trimmed(stacks, density)
    assert sum(int(stack.count_nonzero()) for stack in found.values()) == kept
    assert bool(found["layer.1.query"].any()) == (density == 1.0)


def test_what_is_trimmed_does_not_depend_on_the_others() -> None:
    """Layers that an adapter lacks are not counted, and an adapter without any change is let be."""
    alone, other = whole(dense(1, names=FIRST)), whole(dense(2))
    nothing = {name: torch.zeros_like(matrix) for name, matrix in alone.items()}
    together = trimmed({name: torch.stack([alone[name], other[name], nothing[name]]) for name in SHAPES}, 0.2)
    by_itself = trimmed({name: alone[name][None] for name in FIRST}, 0.2)
    for name in FIRST:
        assert torch.equal(together[name][0], by_itself[name][0])
        assert not together[name][2].any()


def test_opposed_entries_of_one_size_cancel() -> None:
    """Their sum has no sign: 0, whatever the rest of the model does."""
    stack_TOI = torch.tensor([[[1.0, 5.0]], [[-1.0, 5.0]]])
    assert torch.equal(elected_mean(stack_TOI), torch.tensor([[0.0, 5.0]]))


def test_the_expectation_of_dare_is_the_sum() -> None:
    """Mean of many draws, within five standard errors; and the noise has the energy p/(1 − p) of the adapter."""
    adapter, draws = {"layer.0.query": low_rank(1)["layer.0.query"]}, 4000
    method, source = Dare(rank=None, drop=0.6), generator(3)
    changes = {name: [change] for name, change in adapter.items()}
    samples = torch.stack([method.merge(changes, source)["layer.0.query"] for _ in range(draws)])
    truth = adapter["layer.0.query"].dense.double()
    error = truth.abs() * math.sqrt(0.6 / 0.4 / draws)
    assert bool(((samples.mean(0) - truth).abs() < 5 * error).all())
    noise = (samples - truth).square().sum((1, 2)).mean() / truth.square().sum()
    assert noise.item() == pytest.approx(0.6 / 0.4, rel=0.05)


@pytest.mark.parametrize("factored", [True, False], ids=["factors", "dense"])
def test_the_joint_basis_is_that_of_the_matrices_side_by_side(factored: bool) -> None:
    """Same projector as the left singular vectors of [ΔW_1 … ΔW_T], with and without low-rank factors."""
    name = "layer.2.up"
    changes = [low_rank(1, rank=1)[name], low_rank(2, rank=2)[name]]
    if not factored:
        changes = [Change(change.dense) for change in changes]
    side_by_side = torch.cat([change.dense.double() for change in changes], dim=1)
    left = torch.linalg.svd(side_by_side).U[:, :3]
    basis = joint_basis(changes)
    assert basis.shape == (5, 3)
    torch.testing.assert_close(basis @ basis.T, left @ left.T, rtol=0, atol=1e-6)


def test_knots_drops_singular_values_up_to_its_cutoff() -> None:
    """1e-5, absolute, as in the published code."""
    matrix = torch.zeros(6, 5)
    matrix[0, 0], matrix[1, 1], matrix[2, 2] = 1.0, 2e-5, 0.5e-5
    result = merged(Knots(rank=None, inner="average"), [{"layer.0.query": Change(matrix)}], at_one(1))
    assert result["layer.0.query"].diagonal()[:3].tolist() == pytest.approx([1.0, 2e-5, 0.0], rel=1e-3)


def partitions(count: int, groups: int) -> list[list[list[int]]]:
    """Every way to put that many units into that many groups, none of them empty."""
    labelled = itertools.product(range(groups), repeat=count)
    return [
        [[unit for unit in range(count) if labels[unit] == group] for group in range(groups)]
        for labels in labelled
        if len(set(labels)) == groups
    ]


def naive_lego(adapters: Sequence[Adapter], name: str, rank: int) -> np.ndarray:
    """The tightest of all partitions, its centroids at the mean length of their members, times √(r/k)."""
    present = [adapter[name].factors for adapter in adapters if name in adapter]
    pool = [
        np.concatenate([down[j], up[:, j]]).astype(float)
        for up, down in (pair for pair in present if pair)
        for j in range(len(down))
    ]

    def spread(groups: list[list[int]]) -> float:
        centres = [np.mean([pool[unit] for unit in group], axis=0) for group in groups]
        return sum(
            np.sum((pool[unit] - centre) ** 2) for group, centre in zip(groups, centres, strict=True) for unit in group
        )

    total = np.zeros(SHAPES[name])
    for group in min(partitions(len(pool), rank), key=spread):
        members = [pool[unit] for unit in group]
        centre = np.mean(members, axis=0)
        centre = centre * np.mean([np.linalg.norm(member) for member in members]) / np.linalg.norm(centre)
        inputs = SHAPES[name][1]
        total += np.outer(centre[inputs:], centre[:inputs])
    mean_rank = len(pool) / len(present)
    return total * math.sqrt(mean_rank / rank)


def of_prototypes(seed: int, which: list[int], names: Sequence[str] = tuple(SHAPES)) -> Adapter:
    """An adapter whose units are near these of three units that all adapters have in common."""
    common, own = low_rank(99, rank=3), low_rank(seed, rank=len(which))
    adapter = {}
    for name in names:
        (up, down), (up_noise, down_noise) = common[name].factors, own[name].factors  # type: ignore[misc]
        adapter[name] = Change.low_rank(up[:, which] + 0.2 * up_noise, down[which] + 0.2 * down_noise)
    return adapter


@pytest.mark.usefixtures("global_rng_untouched")
@pytest.mark.parametrize("rank", [1, 3, 4])
def test_lego_is_the_tightest_partition(rank: int) -> None:
    """Of all 6 units of three adapters of ranks 3, 1 and 2 (4 in some modules), tried out one by one."""
    adapters = [of_prototypes(1, [0, 1, 2]), of_prototypes(2, [1]), of_prototypes(3, [2, 0], names=SECOND)]
    found = merged(Lego(rank=rank), adapters, at_one(3))
    for name in SHAPES:
        np.testing.assert_allclose(found[name].numpy(), naive_lego(adapters, name, rank), atol=1e-5)


def test_lego_depends_on_its_generator_alone() -> None:
    """The same seed, the same result; another seed may find another clustering."""
    adapters = [low_rank(seed, rank=4) for seed in range(4)]
    method = Lego(rank=3, restarts=1)
    results = [merged(method, adapters, seed=seed)["layer.2.up"] for seed in (0, 0, 1, 2, 3)]
    assert torch.equal(results[0], results[1])
    assert any(not torch.allclose(results[0], other) for other in results[2:])


def test_lego_takes_no_more_clusters_than_there_are_units() -> None:
    """Rank 5 of two copies of two units: two centroids, no warning, and the adapter itself."""
    adapter = low_rank(1, rank=2)
    assert_same(merged(Lego(rank=4), [adapter, adapter]), whole(adapter))
    assert_same(merged(Lego(rank=None), [adapter, adapter]), whole(adapter))


def test_units_of_a_change_without_factors_are_those_of_its_svd() -> None:
    """They make the same matrix, balanced between the two sides."""
    change = dense(1)["layer.0.query"]
    pool = units(change, None)
    down, up = pool.split([5, 6], dim=1)
    torch.testing.assert_close(up.T @ down, change.dense.double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(up.norm(dim=1), down.norm(dim=1))


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_lego_takes_as_many_units_of_a_change_without_factors_as_are_wanted(rank: int) -> None:
    """Its SVD has as many as the matrix has columns: all of them, in few, would be √(64/rank) times so long."""
    draws = generator()
    changes = [Change(torch.randn(64, 64, generator=draws)) for _ in range(2)]
    kept = max(float(torch.linalg.svdvals(change.dense)[:rank].norm()) for change in changes)
    assert float(merged_units(changes, rank, 10, generator()).norm()) <= 1.5 * kept
    best = merged(Lego(rank=rank), [dense(1)], at_one(1))
    for name, matrix in whole(dense(1)).items():
        u, s, v = np.linalg.svd(matrix.numpy())
        np.testing.assert_allclose(best[name].numpy(), (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-5)


def test_a_centroid_that_cancels_out_is_zero() -> None:
    """No division by its length."""
    assert not rescaled_centroid(torch.tensor([[1.0, 2.0], [-1.0, -2.0]])).any()


@pytest.mark.parametrize("case", ["dare", "lego", "knots"])
def test_draws_come_from_the_generator(case: str) -> None:
    """Twice the same seed, twice the same result."""
    first, second = (merged(FIERCE[case], THREE, seed=4) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in SHAPES)


@pytest.mark.parametrize("case", FIERCE)
def test_adapters_without_any_change_merge_to_none(case: str) -> None:
    """Adapters that have not been trained, B = 0: zeros, not NaN."""
    assert not any(
        matrix.any() for matrix in merged(FIERCE[case], [times(low_rank(seed), 0) for seed in (1, 2)]).values()
    )


def test_a_merge_of_two_full_stacks_is_lossless_at_full_rank() -> None:
    """Nothing but the method changes the sum when the rank is the matrices' own."""
    adapters = [dense(1), dense(2)]
    expected = {name: whole(adapters[0])[name] + whole(adapters[1])[name] for name in SHAPES}
    assert_same(merged(TaskArithmetic(rank=None), adapters, at_one(2)), expected)
