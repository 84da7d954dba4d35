"""The union of layers, λ per model and layer, the rank of the result, and what cannot be merged."""

import numpy as np
import pytest
import torch
from made_changes import FIRST, LAYER_OF, SECOND, SHAPES, assert_same, dense, generator, low_rank, merged, whole
from models import tiny
from peft import LoraConfig, get_peft_model

from layersel.adapters.change import Change
from layersel.adapters.factoring import numerical_rank, svd_of, truncate
from layersel.errors import UserError
from layersel.merging.merge import check_mergeable, merge_adapters
from layersel.merging.method import MergeMethod
from layersel.merging.methods.average import Average
from layersel.merging.methods.task_arithmetic import TaskArithmetic
from layersel.merging.methods.ties import Ties


def test_the_result_covers_the_union_of_the_modules() -> None:
    """Sorted by name, at the wanted rank everywhere, float32."""
    result = merge_adapters(
        TaskArithmetic(rank=3), [low_rank(1, names=SECOND), low_rank(2, names=FIRST)], LAYER_OF, generator()
    )
    assert list(result.factors) == list(result.lost) == sorted(SHAPES)
    for name, (up, down) in result.factors.items():
        assert (up.shape, down.shape) == ((SHAPES[name][0], 3), (3, SHAPES[name][1]))
        assert (up.dtype, down.dtype) == (torch.float32, torch.float32)
        assert up.is_contiguous()
        assert down.is_contiguous()


def test_each_model_and_each_layer_has_its_weight() -> None:
    """λ_{t,l}, by the options and as an argument, which comes first."""
    adapters = [low_rank(1), low_rank(2)]
    rows = [[0, 1, 0.5, 9], [2, -1, 0, 9.0]]
    expected = {
        name: sum(row[LAYER_OF[name]] * whole(adapter)[name] for row, adapter in zip(rows, adapters, strict=True))
        for name in SHAPES
    }
    by_options = TaskArithmetic(rank=None, layer_weights=rows)
    assert_same(merged(by_options, adapters), expected)
    assert_same(merged(TaskArithmetic(rank=None, weights=[5, 5]), adapters, torch.tensor(rows)), expected)
    result = merge_adapters(by_options, adapters, LAYER_OF, generator())
    assert torch.equal(result.weights_TL, torch.tensor(rows, dtype=torch.float64))


def test_weights_of_the_average_are_normalised_layer_by_layer() -> None:
    """Only their proportion counts."""
    adapters = [low_rank(1), low_rank(2)]
    rows = torch.tensor([[1.0, 3.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0]])
    shares = [[0.5, 0.75, 1.0], [0.5, 0.25, 0.0]]
    expected = {
        name: sum(share[LAYER_OF[name]] * whole(adapter)[name] for share, adapter in zip(shares, adapters, strict=True))
        for name in SHAPES
    }
    assert_same(merged(Average(rank=None), adapters, rows), expected)
    assert_same(merged(Average(rank=None), adapters, 10 * rows), expected)
    with pytest.raises(UserError, match="expected a sum other than 0 in every layer"):
        merged(Average(rank=4), adapters, torch.tensor([[1.0], [-1.0]]))


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_rank_is_reached_by_the_truncated_svd(rank: int) -> None:
    """Numpy's best approximation; the shares lost, of each module and of all, are those of its singular values."""
    adapters = [dense(1), dense(2)]
    result = merge_adapters(TaskArithmetic(rank=rank), adapters, LAYER_OF, generator(), torch.ones(2, 1))
    lost, norm = 0.0, 0.0
    for name, (up, down) in result.factors.items():
        total = (whole(adapters[0])[name] + whole(adapters[1])[name]).numpy()
        u, s, v = np.linalg.svd(total, full_matrices=False)
        best = u[:, :rank] * s[:rank] @ v[:rank]
        np.testing.assert_allclose((up @ down).numpy(), best, atol=1e-5)
        assert result.lost[name] == pytest.approx((s[rank:] ** 2).sum() / (s**2).sum(), rel=1e-9)
        assert result.lost[name] == pytest.approx(np.square(total - best).sum() / np.square(total).sum(), rel=1e-9)
        torch.testing.assert_close(up.norm(dim=0), down.norm(dim=1))
        lost, norm = lost + (s[rank:] ** 2).sum(), norm + (s**2).sum()
    assert result.total_lost == pytest.approx(lost / norm, rel=1e-9)


def test_the_exact_rank_is_the_smallest_that_loses_nothing() -> None:
    """2 + 1 where both adapters are, 2 where one is, 1 for a change of zero: PEFT has no rank 0."""
    adapters = [low_rank(1, rank=2), low_rank(2, rank=1, names=FIRST)]
    result = merge_adapters(TaskArithmetic(rank=None), adapters, LAYER_OF, generator())
    assert {name: up.shape[1] for name, (up, _) in result.factors.items()} == dict(
        zip(SHAPES, (3, 3, 2, 2), strict=True)
    )
    assert result.total_lost < 1e-10
    nothing = merge_adapters(TaskArithmetic(rank=None), adapters, LAYER_OF, generator(), torch.zeros(2, 1))
    assert [up.shape[1] for up, _ in nothing.factors.values()] == [1] * 4
    assert nothing.total_lost == 0


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_agrees_where_it_is_right() -> None:
    """Adapters of the same layers without cross terms: its `cat` is λ-weighted ΣΔW, its `svd` the truncated one."""
    model = tiny("bert")
    targets = ["encoder.layer.1.attention.self.query", "encoder.layer.2.attention.self.value"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peft = get_peft_model(
            model, LoraConfig(r=2, lora_alpha=6, target_modules=targets, init_lora_weights=False), "first"
        )
        peft.add_adapter("second", LoraConfig(r=3, lora_alpha=3, target_modules=targets, init_lora_weights=False))
    peft.add_weighted_adapter(["first", "second"], [0.7, 0.2], "cat", combination_type="cat")
    peft.add_weighted_adapter(["first", "second"], [0.7, 0.2], "svd", combination_type="svd", svd_rank=2)
    layers = {name: peft.base_model.model.get_submodule(name) for name in targets}

    def delta(layer: torch.nn.Module, adapter: str) -> Change:
        return Change(layer.get_delta_weight(adapter).detach())

    adapters = [{name: delta(layer, adapter) for name, layer in layers.items()} for adapter in ("first", "second")]
    for rank, combination in ((None, "cat"), (2, "svd")):
        method = TaskArithmetic(rank=rank, weights=[0.7, 0.2])
        result = merge_adapters(method, adapters, {targets[0]: 1, targets[1]: 2}, generator())
        for name, (up, down) in result.factors.items():
            torch.testing.assert_close(up @ down, delta(layers[name], combination).dense, rtol=0, atol=1e-5)


def not_finite() -> dict[str, Change]:
    """An adapter gone astray."""
    adapter = dense(1)
    adapter["layer.2.up"].dense[0, 0] = torch.nan
    return adapter


@pytest.mark.parametrize(
    ("method", "adapters", "expected"),
    [
        (Ties(), [], "merging: expected adapters, but got none"),
        (Ties(), [low_rank(1), {}], "merging: adapter 2 of 2 changes no weight; leave it out"),
        (
            Ties(),
            [{"layer.9.query": low_rank(1)["layer.0.query"]}],
            "adapter 1 of 1 changes layer.9.query, which this model lacks",
        ),
        (
            Ties(),
            [low_rank(1), {"layer.0.query": low_rank(1)["layer.2.up"]}],
            "adapter 2 of 2: layer.0.query is 5 by 7 here but 6 by 5 before it; merge adapters of one base",
        ),
        (Ties(), [low_rank(2), not_finite()], "adapter 2 of 2: its change of layer.2.up is not finite"),
        (Ties(rank=5), [low_rank(1)], "merging.rank: expected at most 4, since layer.0.value is 4 by 5, but got 5"),
        (Ties(rank=4, weights=[1, 2]), [low_rank(1)], "merging.weights: expected 1 numbers, but got 2"),
        (
            Ties(rank=4, layer_weights=[[1, 1]]),
            [low_rank(1)],
            r"merging.layer_weights: expected 1 lists of 4 numbers, one for each layer, but got lists of \[2\]",
        ),
    ],
)
def test_what_cannot_be_merged_is_one_line(
    method: MergeMethod, adapters: list[dict[str, Change]], expected: str
) -> None:
    """Adapters of another base, broken ones, and options that do not fit them; known before λ is learnt, too."""
    with pytest.raises(UserError, match=expected) as error:
        merge_adapters(method, adapters, LAYER_OF, generator())
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=expected):
        check_mergeable(method, adapters, LAYER_OF)


@pytest.mark.parametrize("seed", range(4))
def test_the_svd_of_factors_is_that_of_their_product(seed: int) -> None:
    """Orthonormal bases, the same singular values; a rank above the matrix's, rank 0, and a repeated column."""
    name, rank = "layer.0.value", [2, 7, 0, 3][seed]
    change = low_rank(seed, rank)[name]
    if seed == 3:
        up, down = change.factors or (None, None)
        change = Change.low_rank(torch.cat([up, up[:, :1]], dim=1), torch.cat([down, down[:1]]))
    whole_svd = svd_of(change)
    expected = np.linalg.svd(change.dense.double().numpy(), compute_uv=False)
    assert len(whole_svd.s_R) == min(rank, 4) == np.linalg.matrix_rank(change.dense.numpy())
    np.testing.assert_allclose(whole_svd.s_R.numpy(), expected[: len(whole_svd.s_R)], rtol=1e-5)
    torch.testing.assert_close(
        whole_svd.u_OR * whole_svd.s_R @ whole_svd.v_RI, change.dense.double(), rtol=0, atol=1e-5
    )
    for basis in (whole_svd.u_OR.T, whole_svd.v_RI):
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis), dtype=torch.float64))


def test_rounding_is_no_rank() -> None:
    """The float32 sum of two rank-one matrices has rank 2, whatever its other singular values say."""
    total = sum(adapter["layer.2.up"].dense for adapter in (low_rank(1, rank=1), low_rank(2, rank=1)))
    values = torch.linalg.svdvals(total.double())
    assert values[2] > 0
    assert numerical_rank(values, total.shape) == 2
    assert numerical_rank(values[:0], total.shape) == 0
    assert numerical_rank(values * 0, total.shape) == 0
    assert truncate(total, None)[0][0].shape == (5, 2)
