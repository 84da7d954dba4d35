"""Ranks from scores: against naive references, always within the budget, and in one line what gives none."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import padded, ragged, tiny
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from layersel.errors import UserError
from layersel.selection.rank_rule import RankRule
from layersel.selection.ranks.gora import Gora
from layersel.selection.ranks.proportional import Proportional
from layersel.selection.scores.cka import CKA
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection
from layersel.selection.sharing import shares, whole_ranks
from layersel.selection.table import show_selection

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
LAYERS = ("query", "value", "down")
WIDTHS = {"query": [64, 64], "value": [32, 64], "down": [64, 192]}


def scored(scores: list[float], modules: dict[str, float] | None = None) -> Selection:
    """All layers of a model of three modules a layer, with these scores."""
    named = [{role: f"layers.{layer}.{role}" for role in LAYERS} for layer in range(len(scores))]
    widths = {name: WIDTHS[role] for own in named for role, name in own.items()}
    layers = list(range(len(scores)))
    reasons = [""] * len(scores)
    return Selection("cka", scores, layers, reasons, named, module_scores=modules or {}, widths=widths)


def by_layer(selection: Selection) -> list[int]:
    """The rank of each layer, whose modules all have the same."""
    assert selection.allocation is not None
    found = [{selection.allocation.ranks[name] for name in own} for own in selection.targets(["query"]).values()]
    return [rank for (rank,) in found]


def largest_remainder(scores: list[float], seats: int) -> list[int]:
    """Hamilton's method in exact fractions: rounded down, the rest to the largest remainders, or else the last."""
    total = sum(map(Fraction, scores))
    quotas = [seats * Fraction(score) / total for score in scores]
    ranks = [math.floor(quota) for quota in quotas]
    order = sorted(range(len(scores)), key=lambda place: (ranks[place] - quotas[place], -scores[place], -place))
    for place in order[: seats - sum(ranks)]:
        ranks[place] += 1
    return ranks


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_proportional_is_the_largest_remainder(temperature: float) -> None:
    """R·I^τ/ΣI^τ, where no bound holds."""
    scores = [0.3, 0.25, 0.7, 0.4, 0.4]
    found = by_layer(scored(scores).allocated(Proportional(temperature=temperature), 8, ["query", "value"]))
    assert found == largest_remainder([score**temperature for score in scores], 5 * 8)


def test_gora_is_its_formula() -> None:
    """With equal widths its ranks up to rounding; with others in its proportion, at the parameters of the rank."""
    scores = {f"layers.{layer}.{role}": 1.0 + layer + len(role) % 3 for layer in range(3) for role in LAYERS}
    ranks = scored([0.0] * 3, scores).allocated("gora", 8, ["query"]).allocation.ranks  # type: ignore[union-attr]
    total = sum(scores[name] for name in ranks)
    for name, rank in ranks.items():
        share = scores[name] / total
        published = round(share * sum(8 * math.sqrt(128) for _ in ranks) / math.sqrt(128))
        assert abs(rank - published) <= 1
    assert sum(ranks.values()) == 24
    wide = scored([0.0] * 3, scores).allocated(Gora(), 8, LAYERS).allocation
    assert wide is not None
    costs = {name: sum(WIDTHS[name.rpartition(".")[2]]) for name in wide.ranks}
    ideal = {name: scores[name] / math.sqrt(costs[name]) for name in wide.ranks}
    factor = 8 * sum(costs.values()) / sum(costs[name] * ideal[name] for name in costs)
    assert all(math.floor(factor * ideal[name]) <= rank < factor * ideal[name] + 2 for name, rank in wide.ranks.items())
    assert 0 <= 8 * sum(costs.values()) - sum(costs[name] * rank for name, rank in wide.ranks.items()) < 96


def bisected(weights: list[float], costs: list[int], low: list[int], high: list[int], budget: int) -> list[float]:
    """The bounded shares by halving the interval of the factor."""
    below, above = 0.0, 1e9
    for _ in range(300):
        factor = (below + above) / 2
        ranks = [min(max(factor * own, least), most) for own, least, most in zip(weights, low, high, strict=True)]
        if sum(cost * rank for cost, rank in zip(costs, ranks, strict=True)) > budget:
            above = factor
        else:
            below = factor
    return [min(max(below * own, least), most) for own, least, most in zip(weights, low, high, strict=True)]


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], list[int], list[int], list[int], int]:
    """Weights, costs, bounds and a budget that the lowest ranks are within."""
    n = draw(st.integers(1, 8))
    weight = st.one_of(st.just(0.0), st.floats(1e-3, 1.0))
    weights = draw(st.lists(weight, min_size=n, max_size=n))
    costs = draw(st.lists(st.integers(1, 12), min_size=n, max_size=n))
    low = [draw(st.integers(1, 3))] * n
    high = [least + draw(st.integers(0, 20)) for least in low]
    least = sum(cost * rank for cost, rank in zip(costs, low, strict=True))
    return weights, costs, low, high, least + draw(st.integers(0, 300))


@given(problems())
def test_the_budget_is_kept(problem: tuple[list[float], list[int], list[int], list[int], int]) -> None:
    """Never exceeded, undercut by less than any rank still to be had costs; the bounds hold; nearly as the shares."""
    _, costs, low, high, budget = problem
    ranks = whole_ranks(*problem)
    left = budget - sum(cost * rank for cost, rank in zip(costs, ranks, strict=True))
    assert left >= 0
    assert all(cost > left for cost, rank, most in zip(costs, ranks, high, strict=True) if rank < most)
    assert all(least <= rank <= most for least, rank, most in zip(low, ranks, high, strict=True))
    ideal = shares(*problem)
    assert ideal == pytest.approx(bisected(*problem), abs=1e-5)
    assert all(rank >= math.floor(own + 1e-9) for rank, own in zip(ranks, ideal, strict=True))


@given(problems(), st.randoms(use_true_random=False))
def test_ranks_follow_the_weights(problem: tuple[Any, ...], source: Any) -> None:
    """Of equal costs and bounds in their order; whatever the order of the modules, where no two weights are equal."""
    weights, costs, low, high, budget = problem
    ranks = whole_ranks(*problem)
    alike = list(zip(costs, high, weights, ranks, strict=True))
    for cost, most, weight, rank in alike:
        assert all(rank <= other[3] for other in alike if other[:2] == (cost, most) and other[2] > weight)
    if len(set(weights)) < len(weights):
        return
    order = source.sample(range(len(weights)), len(weights))
    turned = [[own[place] for place in order] for own in (weights, costs, low, high)]
    if len(set(zip(*turned[1:], strict=True))) == 1:  # else the order of sums moves the last bits
        assert whole_ranks(*turned, budget) == [ranks[place] for place in order]  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [Proportional(), Gora(), Proportional(temperature=0)])
@pytest.mark.parametrize("scores", [[0.4] * 4, [0.0] * 4, [-2.0] * 4, [math.nan] * 4])
def test_equal_scores_give_the_rank_everywhere(rule: RankRule, scores: list[float]) -> None:
    """Also where they are 0, negative or excluded, and nothing tells the layers apart."""
    assert by_layer(scored(scores).allocated(rule, 4)) == [4] * 4


def test_scores_that_are_no_shares() -> None:
    """Of negative ones the distance to the lowest counts; excluded ones get the least; modules may have their own."""
    turned = by_layer(scored([-5.0, -4.0, -3.0, -2.0]).allocated("proportional", 6))
    assert turned == by_layer(scored([0.0, 1.0, 2.0, 3.0]).allocated("proportional", 6))
    assert turned[0] == 1
    assert by_layer(scored([math.nan, 1.0, 1.0]).allocated(Proportional(r_min=2), 8)) == [2, 11, 11]
    modules = {f"layers.{layer}.{role}": float(role == "query") for layer in range(2) for role in LAYERS}
    own = scored([9.0, 1.0], modules).allocated("proportional", 4, ["query", "value"]).allocation
    assert own is not None
    assert set(own.ranks.values()) == {1, 6}
    assert own.ranks["layers.0.value"] == own.ranks["layers.1.value"] == 1


def test_bounds_and_an_explicit_budget() -> None:
    """The largest rank, the width of a matrix, and a budget that no whole ranks meet."""
    selection = scored([1.0, 0.001, 0.001])
    assert by_layer(selection.allocated(Proportional(r_max=10), 8, ["query"])) == [10, 7, 7]
    assert by_layer(selection.allocated("proportional", 16, ["query", "value"])) == [32, 8, 8]  # value has 32 outputs
    assert by_layer(selection.allocated("proportional", 6, ["query"])) == [16, 1, 1]
    given_budget = selection.allocated(Proportional(parameters=128 * 9 + 127), 8, ["query"])
    assert by_layer(given_budget) == [7, 1, 1]


@pytest.mark.parametrize(
    ("rule", "selection", "expected"),
    [
        (Proportional(r_min=9), scored([1.0]), r"ranks.r_min=9: expected r_min <= rank <= r_max.* but the rank is 8"),
        (Proportional(r_max=7), scored([1.0]), r"ranks.r_max=7: expected r_min <= rank <= r_max.* but the rank is 8"),
        (Proportional(parameters=31), scored([1.0]), "ranks.parameters: expected at least 224, .* rank 1, but got 31"),
        (Gora(r_min=33, parameters=10**6), scored([1.0]), "at most 32, the smaller width of .*query, but got 33"),
        (Gora(), replace(scored([1.0]), measured=False), "ranks=gora: selection=cka measures nothing that ranks could"),
        (Gora(), replace(scored([1.0]), layers=[]), "ranks=gora: selection=cka chooses no layer; use another score"),
        (Gora(), scored([1.0, math.inf]), "ranks=gora: selection=cka is infinite for some layers, so that there are"),
        (Proportional(temperature=-1, r_min=0), scored([1.0]), "r_min: expected at least 1.*; ranks.temperature: exp"),
        ("eva", scored([1.0]), "ranks: expected one of gora, proportional, uniform, but got 'eva'"),
    ],
)
def test_what_gives_no_ranks_is_one_line(rule: RankRule | str, selection: Selection, expected: str) -> None:
    """Argument, what is expected, what was given."""
    with pytest.raises(UserError, match=expected) as refused:
        selection.allocated(rule)
    assert "\n" not in str(refused.value)


# The library's door


def of_model(model: PreTrainedModel, n: float = 3) -> Selection:
    """The layers of a tiny model by CKA."""
    return select_layers(model, [padded(model, ragged([9] * 8))], score=CKA(n=n, bootstrap=0), pooling="mean")


def ranks_and_scales(model: PreTrainedModel, config: LoraConfig) -> dict[str, tuple[int, float]]:
    """What PEFT makes of a configuration."""
    return {
        name.removeprefix("base_model.model."): (len(part.lora_A["default"].weight), part.scaling["default"])
        for name, part in get_peft_model(model, config).named_modules()
        if isinstance(part, LoraLayer)
    }


def test_a_configuration_has_the_ranks() -> None:
    """Allocated there or before; the scale is that of the rank; without rules nothing has changed."""
    model = tiny("llama_causal")
    selection = of_model(model)
    plain = selection.lora_config(r=4)
    assert (plain.rank_pattern, plain.alpha_pattern) == ({}, {})
    own = selection.allocated("proportional", 4)
    assert own.allocation is not None
    assert len(set(own.allocation.ranks.values())) > 1
    config = selection.lora_config(r=4, ranks="proportional", lora_alpha=12)
    assert own.lora_config(r=4, lora_alpha=12).to_dict() == config.to_dict()
    found = ranks_and_scales(model, config)
    assert {name: rank for name, (rank, _) in found.items()} == own.allocation.ranks
    assert [scale for _, scale in found.values()] == pytest.approx([3.0] * 6)
    assert own.lora_config(r=4, ranks="uniform").to_dict() == plain.to_dict()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"r": 8}, "r: expected 4, with which the modules were given their ranks, but got 8; allocate them anew"),
        ({"r": 4, "projections": ["query"]}, r"projections: expected those that were given ranks, but got \['query'\]"),
        ({"r": 4, "rank_pattern": {}}, "rank_pattern: expected none, as the modules have been given ranks"),
        ({"r": 4, "ranks": "x"}, "ranks: expected one of gora, proportional, uniform, but got 'x'"),
    ],
)
def test_a_configuration_of_other_ranks_is_refused(options: dict[str, Any], expected: str) -> None:
    """Another budget, other modules, or ranks from two sides."""
    with pytest.raises(UserError, match=expected):
        of_model(tiny("bert")).allocated("proportional", 4).lora_config(**options)


def test_allocated_ranks_are_saved_for_other_tools(tmp_path: Path) -> None:
    """As PEFT and axolotl read them, whatever r and alpha stand beside; read again, it is the same selection."""
    own = of_model(tiny("llama_causal"), n=2).allocated("gora", 4, ["query", "down"])
    assert own.allocation is not None
    own.save(tmp_path / "selection.json")
    content = json.loads((tmp_path / "selection.json").read_text())
    assert Selection.load(tmp_path / "selection.json") == own
    assert "llama_factory" not in content
    axolotl = content["axolotl"]
    by_axolotl = {
        "target_modules": axolotl["lora_target_modules"],
        "layers_to_transform": axolotl["peft_layers_to_transform"],
        "layers_pattern": axolotl["peft_layers_pattern"],
        "rank_pattern": axolotl["lora_rank_pattern"],
        "alpha_pattern": axolotl["lora_alpha_pattern"],
    }
    for places in (content["peft"], by_axolotl):
        found = ranks_and_scales(tiny("llama_causal"), LoraConfig(r=3, lora_alpha=7, **places))
        assert {name: rank for name, (rank, _) in found.items()} == own.allocation.ranks
        assert [scale for _, scale in found.values()] == pytest.approx([2.0] * len(found))
    with pytest.raises(UserError, match="projections: expected those that were given ranks"):
        own.save(tmp_path / "selection.json", ["value"])


def test_ranks_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """In the table, each module's where they differ in a layer, with their budget; in the rows of a dashboard."""
    modules = {f"layers.{layer}.{role}": float(layer) for layer in range(2) for role in LAYERS} | {"layers.0.down": 1.0}
    own = scored([0.0, 3.0], modules).allocated("proportional", 4, ["query", "down"])
    show_selection(own)
    printed = capsys.readouterr().out
    assert "adapter rank" in printed
    assert own.ranks_of(0) == "query 1, down 4"
    assert own.ranks_of(0) in printed
    assert own.ranks_of(1) == "5"
    assert "1 to 5 in 4 modules, 3,072 parameters of the 3,072 that rank 4 everywhere has" in printed
    columns, rows = own.table()
    assert columns == ["layer", "score", "chosen", "adapter rank", "why"]
    assert rows[1] == [1, 3.0, True, "5", ""]
    assert "rank" not in scored([0.0]).table()[0]


def test_modules_of_which_nothing_is_known_are_one_line() -> None:
    """A selection of an earlier version, and modules that a score has not looked at."""
    old = replace(scored([0.1, 0.2]), widths={})
    with pytest.raises(UserError, match=r"^ranks: this selection was made before ranks were known to it"):
        old.allocated("proportional", 8, ["query"])
    partly = scored([0.1, 0.2], {"layers.0.query": 1.0, "layers.1.query": 2.0})
    with pytest.raises(UserError, match=r"^ranks=proportional: selection=cka has no score of layers\.0\.value"):
        partly.allocated("proportional", 8, ["query", "value"])
