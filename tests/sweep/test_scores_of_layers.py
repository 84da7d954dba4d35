"""Whether scores agree, and what the chosen layers are worth beside an oracle's, against numbers by hand."""

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cell_folders import make_cell

from layersel.selection.agreement import kendall
from layersel.sweep.cells import Cells, as_table
from layersel.sweep.configurations import configurations, named
from layersel.sweep.layers.agreement import agreement
from layersel.sweep.layers.chosen import chosen_layers
from layersel.sweep.layers.oracle import judged, regrets
from layersel.sweep.rows import collect_rows
from layersel.sweep.summary import summarise
from layersel.tasks.task import Metric

AWSS = Metric("awss@95", "AWSS@95")
LOSS = Metric("loss", "loss", higher_is_better=False)
DEPTH = 6


def cells_of(output: Path) -> Cells:
    """The cells of a folder, with their names."""
    cells = as_table(collect_rows([output]).rows)
    return named(cells, configurations(cells))


def best(scores: np.ndarray, n: int) -> list[int]:
    """The n highest of different scores."""
    return sorted(np.argsort(scores)[-n:].tolist())


def tau(one: np.ndarray, other: np.ndarray) -> float:
    """Kendall's τ of values without ties, two layers after the other."""
    return float(
        np.mean([np.sign((one[a] - one[b]) * (other[a] - other[b])) for a, b in combinations(range(DEPTH), 2)])
    )


def make_alone(output: Path, layer: int, value: float, **more: Any) -> None:
    """A cell in which one layer is trained alone."""
    options = {"selection.layers": f"[{layer}]", **more.pop("options", {})}
    make_cell(output, value, selection="manual", n=None, layers=[layer], options=options, **more)


def test_agreement_by_hand(tmp_path: Path) -> None:
    """τ and the common layers are means over datasets; controls, and scores on other seeds, have no part in it."""
    draw = np.random.default_rng(0)
    seeds = {"A": (0, 1), "B": (0,)}
    taus, overlaps = [], []
    for dataset, own in seeds.items():
        found = []
        for seed in own:
            one, other = draw.permutation(DEPTH) / 10, draw.permutation(DEPTH) / 10
            for name, scores in (("cka", one), ("grad_norm", other)):
                place = {"selection": name, "dataset": dataset, "seed": seed}
                make_cell(tmp_path, n=2, layers=best(scores, 2), scores=scores.tolist(), **place)
            found.append((tau(one, other), len(set(best(one, 2)) & set(best(other, 2))) / 2))
        taus.append(np.mean([each[0] for each in found]))
        overlaps.append(np.mean([each[1] for each in found]))
    make_cell(tmp_path, n=2, selection="last", layers=[4, 5], dataset="A")
    more = {"options": {"selection.max_cost": 0.6}, "seed": 9}  # another budget is no other score
    make_cell(tmp_path, n=3, layers=[3, 4, 5], scores=[0.1] * DEPTH, dataset="A", **more)
    make_cell(tmp_path, n=2, selection="cka", layers=[0, 1], scores=[0.1] * DEPTH, dataset="A", seed=7)
    (row,) = agreement(cells_of(tmp_path)).to_dict("records")
    assert {row["name"], row["other"]} == {"selection=cka", "selection=grad_norm"}
    assert (row["datasets"], row["compared"]) == (2, 3)
    assert row["tau"] == pytest.approx(np.mean(taus))
    assert row["overlap"] == pytest.approx(np.mean(overlaps))
    assert row["by_chance"] == pytest.approx(1 / 3)


def test_a_layer_without_a_score_is_left_out() -> None:
    """NaN, as of an excluded layer, is not the lowest score; nothing can be said of a single layer."""
    assert kendall(np.array([np.nan, 1, 2, 3]), np.array([9, 1, 2, 3])) == pytest.approx(1)
    assert np.isnan(kendall(np.array([np.nan, 1.0]), np.array([1.0, 2.0])))


def rank(scores: list[float | None], layer: int) -> float:
    """The place of a layer from the highest score on; equal ones share the mean of theirs."""
    own = scores[layer]
    if own is None:
        return np.nan
    known = [value for value in scores if value is not None]
    return 1 + sum(value > own for value in known) + (sum(value == own for value in known) - 1) / 2


def test_choices_by_hand(tmp_path: Path) -> None:
    """Shares, ranks, resamples and stability of each dataset are means over its seeds; of all, over the datasets."""
    draw = np.random.default_rng(2)
    seeds = {"A": (0, 1, 2), "B": (0,)}
    expected: dict[tuple[str, int], dict[str, list[float]]] = {}
    for dataset, own in seeds.items():
        for seed in own:
            scores: list[float | None] = draw.integers(4, size=DEPTH).tolist()  # some are equal
            scores[0] = None
            layers = sorted(draw.choice(DEPTH, 2, replace=False).tolist())
            shares, stability = draw.uniform(size=DEPTH).tolist(), float(draw.uniform())
            known = {"samples": 9, "chosen_share": shares, "rank_correlation": stability}
            make_cell(tmp_path, n=2, layers=layers, scores=scores, stability=known, dataset=dataset, seed=seed)
            for layer in range(DEPTH):
                values = {"chosen": layer in layers, "rank": rank(scores, layer), "resampled": shares[layer]}
                for name, value in (values | {"stability": stability}).items():
                    expected.setdefault((dataset, layer), {}).setdefault(name, []).append(value)
    table = chosen_layers(cells_of(tmp_path), pd.DataFrame())
    assert len(table) == 3 * DEPTH
    for (dataset, layer), values in expected.items():
        (row,) = table[(table["dataset"] == dataset) & (table["layer"] == layer)].to_dict("records")
        assert (row["name"], row["budget"], row["model"]) == ("selection=cka", "n=2", "minilm")
        assert row["cells"] == row["seeds"] == len(seeds[dataset])
        for name, own_values in values.items():
            assert row[name] == pytest.approx(np.mean(own_values), nan_ok=True), name
        (whole,) = table[(table["dataset"] == "all datasets") & (table["layer"] == layer)].to_dict("records")
        assert (whole["cells"], whole["seeds"]) == (4, 3)
        for name in values:
            means = [np.mean(expected[other, layer][name]) for other in seeds]
            assert whole[name] == pytest.approx(np.mean(means), nan_ok=True), name


def test_only_choices_are_counted_and_draws_are_one_score(tmp_path: Path) -> None:
    """No cell that takes all layers or none, and none of an oracle, which tells regret and τ; budgets stand apart."""
    worth = [0.1 * layer for layer in range(DEPTH)]
    for layer in range(DEPTH):
        make_alone(tmp_path, layer, worth[layer])
    make_cell(tmp_path, selection="all", n=None, layers=range(DEPTH))
    make_cell(tmp_path, selection="none", n=None, layers=[])
    for choice, layers in enumerate(([0, 1], [1, 5])):
        make_cell(tmp_path, selection="random", n=2, layers=layers, options={"selection.choice": choice})
    scores = worth[::-1]
    for similarity in ("linear", "rbf"):
        options = {"selection.similarity": similarity}
        make_cell(tmp_path, n=2, layers=[0, 1], scores=scores, options=options)
        make_cell(tmp_path, n=1, layers=[0], scores=scores, options=options | {"selection.max_cost": 0.5})
    cells = cells_of(tmp_path)
    table = chosen_layers(cells, judged(cells, AWSS)[0])
    assert set(table["dataset"]) == {"NSAIDS"}
    found = {(row["name"], row["budget"]): row for row in table[table["layer"] == 1].to_dict("records")}
    names = [f"selection=cka selection.similarity={similarity}" for similarity in ("linear", "rbf")]
    assert set(found) == {("selection=random", "n=2")} | {(n, b) for n in names for b in ("n=2", "n=1 max_cost=0.5")}
    drawn, scored = found["selection=random", "n=2"], found[names[0], "n=2"]
    assert (drawn["cells"], drawn["seeds"], drawn["chosen"]) == (2, 1, 1)
    assert np.isnan([drawn["rank"], drawn["tau"], drawn["resampled"], drawn["stability"]]).all()
    assert drawn["regret"] == pytest.approx((0.4 + 0.15) / 2)
    assert [scored[name] for name in ("rank", "tau", "regret")] == pytest.approx([2, -1, 0.4])


@pytest.mark.parametrize("metric", [AWSS, LOSS])
def test_regret_by_hand(tmp_path: Path, metric: Metric) -> None:
    """The best layers alone are the oracle; its own choice has no regret, the worst one most, and chance is 1."""
    draw = np.random.default_rng(1)
    worth = {seed: draw.uniform(size=DEPTH) for seed in range(3)}
    about = {"metric": {"name": metric.name, "title": metric.title, "higher_is_better": metric.higher_is_better}}
    for seed, values in worth.items():
        for layer, value in enumerate(values):
            metrics = {} if metric == AWSS else {"loss": -value}
            make_alone(tmp_path, layer, value, seed=seed, metrics=metrics, **about)
        scores = values if seed else -values  # right on two seeds, all wrong on the first
        for name, layers in (("cka", best(scores, 2)), ("last", [4, 5])):
            measured = {"scores": scores.tolist()} if name == "cka" else {}
            metrics = {"loss": 0.0}
            make_cell(tmp_path, n=2, selection=name, layers=layers, seed=seed, metrics=metrics, **about, **measured)
    found, lines = judged(cells_of(tmp_path), metric)
    table = regrets(found)
    assert lines == []
    rows = {row["name"].split()[0]: row for row in table.to_dict("records")}
    top = {seed: np.sort(values)[-2:].mean() for seed, values in worth.items()}
    worst = {seed: np.sort(values)[:2].mean() for seed, values in worth.items()}
    cka, last = rows["selection=cka"], rows["selection=last"]
    assert (cka["n"], cka["datasets"], cka["compared"]) == (2, 1, 3)
    assert cka["regret"] == pytest.approx((top[0] - worst[0]) / 3)
    assert cka["share"] == pytest.approx((top[0] - worst[0]) / (top[0] - worth[0].mean()) / 3)
    assert cka["tau"] == pytest.approx((1 + 1 - 1) / 3)
    assert cka["overlap"] == pytest.approx(2 / 3)
    assert last["regret"] == pytest.approx(np.mean([top[seed] - worth[seed][4:].mean() for seed in worth]))
    assert np.isnan(last["tau"])
    assert cka["low"] <= cka["regret"] <= cka["high"]
    assert all(one <= other for one, other in pairwise(table["regret"]))


def test_only_the_same_options_make_an_oracle(tmp_path: Path) -> None:
    """Layers that were trained with another rank say nothing of a choice; an incomplete oracle is told, not guessed."""
    for layer in range(DEPTH):
        make_alone(tmp_path, layer, 0.1 * layer, rank=4)
        if layer != 3:
            make_alone(tmp_path, layer, 0.1 * layer, rank=8, options={"adapter.rank": 8})
    make_cell(tmp_path, n=2, rank=4, layers=[4, 5], scores=[0.1 * layer for layer in range(DEPTH)])
    make_cell(tmp_path, n=2, rank=8, layers=[4, 5], scores=[0.1 * layer for layer in range(DEPTH)])
    make_cell(tmp_path, n=6, rank=4, selection="all", layers=range(DEPTH))
    found, lines = judged(cells_of(tmp_path), AWSS)
    table = regrets(found)
    assert [("rank=4" in name, regret) for name, regret in zip(table["name"], table["regret"], strict=True)] == [
        (True, 0)
    ]
    assert lines == ["no oracle of NSAIDS, seed 0: the cells of single layers [3] are missing"]


def test_both_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A grid's tables have them where there is something to tell."""
    for layer in range(DEPTH):
        make_alone(tmp_path / "cells", layer, 0.1 * layer)
    make_cell(tmp_path / "cells", n=2, layers=[0, 5], scores=[0.6, 0.1, 0.2, 0.3, 0.4, 0.5])
    make_cell(
        tmp_path / "cells", n=2, selection="fisher", layers=[4, 5], scores=[0.1 * layer for layer in range(DEPTH)]
    )
    assert summarise(tmp_path / "out", [tmp_path / "cells"])
    printed = capsys.readouterr().out
    assert "agreement of scores" in printed
    assert "of the chosen layers against the best, each trained alone" in printed
    assert (tmp_path / "out" / "agreement.csv").read_text().count("\n") == 2
    assert (tmp_path / "out" / "regrets.csv").read_text().count("\n") == 3
    assert (tmp_path / "out" / "chosen_layers.csv").read_text().count("\n") == 1 + 2 * DEPTH
