"""What the values of one option are worth, against a plain search of the cells that differ in nothing else."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_folders import make_cell
from scipy.stats import wilcoxon

from layersel.errors import UserError
from layersel.sweep.cells import Cells, as_table
from layersel.sweep.comparing import compare, with_outcomes
from layersel.sweep.configurations import configurations, named
from layersel.sweep.factors import levels, with_value
from layersel.sweep.rows import collect_rows
from layersel.tasks.task import Metric

AWSS = Metric("awss@95", "AWSS@95")
CHOICES = [("none", None), ("cka", 1), ("cka", 2), ("last", 1), ("last", 2)]
OWN = {"cka": {"selection.kernel": "linear"}}
"""Options that only one selection has."""


def crossed(output: Path) -> list[dict[str, Any]]:
    """Cells of each combination, with random values; what each of them is."""
    draw, known = np.random.default_rng(5), []
    heads = {"a": {"task.head": "a", "task.head.k": 3}, "b": {"task.head": "b", "task.head.k": 50}}
    axes = itertools.product(CHOICES, (4, 8), heads, "ABCD", range(2))
    for (selection, n), rank, head, dataset, seed in axes:
        value, base = draw.uniform(size=2)
        cell = {"selection": selection, "n": n, "rank": rank, "dataset": dataset, "seed": seed}
        options = heads[head] | OWN.get(selection, {})
        make_cell(output, value, options=options, metrics={"base/awss@95": base}, **cell)
        known.append(cell | {"head": head, "value": value, "base": base})
    return known


def read(output: Path) -> Cells:
    """The cells with names."""
    cells = as_table(collect_rows([output]).rows)
    return named(cells, configurations(cells))


def means(known: list[dict[str, Any]], factor: str, own: str, reference: str) -> np.ndarray:
    """The mean difference of each dataset between cells that agree in everything else that both have."""
    others = [name for name in ("selection", "n", "rank", "head", "dataset", "seed") if name != factor]
    found: dict[str, list[float]] = {}
    for one, other in itertools.product(known, known):
        alike = all(one[name] == other[name] or (name == "n" and None in (one["n"], other["n"])) for name in others)
        if one[factor] == own and other[factor] == reference and alike:
            found.setdefault(one["dataset"], []).append(one["value"] - other["value"])
    return np.array([np.mean(found[dataset]) for dataset in "ABCD"])


@pytest.mark.parametrize(
    ("factor", "label", "reference"),
    [("selection", "selection", "none"), ("selection", "selection", "cka"), ("task.head", "head", "a"),
     ("adapter.rank", "rank", "4.0")],
)  # fmt: skip
def test_each_value_against_the_reference_where_all_else_is_equal(
    tmp_path: Path, factor: str, label: str, reference: str
) -> None:
    """Over every setting of the other options, of which those that only one side has do not count."""
    known = crossed(tmp_path)
    comparisons, lines = with_value(read(tmp_path), AWSS, factor, reference)
    assert lines == []
    plain = float(reference) if label == "rank" else reference
    values = list(dict.fromkeys(cell[label] for cell in known if cell[label] != plain))
    table = compare(comparisons, AWSS).set_index("name")
    assert set(table.index) == {f"{factor}={value}" for value in values}
    for value in values:
        expected = means(known, label, value, plain)
        row = table.loc[f"{factor}={value}"]
        assert row["reference"] == f"{factor}={reference.removesuffix('.0')}"
        assert row["difference"] == pytest.approx(expected.mean())
        assert row["std"] == pytest.approx(expected.std(ddof=1))
        assert row["p"] == pytest.approx(wilcoxon(expected).pvalue)
        assert (row["wins"], row["losses"], row["datasets"]) == ((expected > 0).sum(), (expected < 0).sum(), 4)


def test_the_number_of_settings(tmp_path: Path) -> None:
    """2 numbers of layers × 2 ranks × 2 heads; untouched layers have no number, so one stands against both."""
    crossed(tmp_path)
    comparisons, _ = with_value(read(tmp_path), AWSS, "selection", "none")
    assert {own.name: len(own.contrasts) for own in comparisons} == {"selection=cka": 8, "selection=last": 8}


def test_each_value_against_the_pretrained_model(tmp_path: Path) -> None:
    """The pretrained model's values are those of the same cells, over all of the value's configurations."""
    known = crossed(tmp_path)
    cells = read(tmp_path)
    table = compare(with_outcomes(cells, AWSS, levels(cells, "selection")), AWSS).set_index("name")
    for selection in ("none", "cka", "last"):
        gains = [
            np.mean(
                [own["value"] - own["base"] for own in known if (own["selection"], own["dataset"]) == (selection, d)]
            )
            for d in "ABCD"
        ]
        assert table.loc[f"selection={selection}", "difference"] == pytest.approx(np.mean(gains))


def compressed(output: Path) -> list[dict[str, Any]]:
    """Cells of each precision and pruning, with the steps and the model that these leave, and what each of them is."""
    draw, known = np.random.default_rng(6), []
    for precision, pruning, dataset in itertools.product(("fp32", "int8"), ("none", "wanda"), "ABCD"):
        steps = [step for step, on in (("prune", pruning != "none"), ("quantise", precision == "int8")) if on]
        options = {"pruning": pruning, "precision.infer": precision, "keep_model": bool(steps)}
        options |= {"order": ",".join(["train", *(["merge"] if steps else []), *steps])}
        cell = {"precision": precision, "pruning": pruning, "dataset": dataset}
        known.append(cell | {"value": draw.uniform()})
        make_cell(output, known[-1]["value"], options=options, **cell)
    return known


@pytest.mark.parametrize(("factor", "own", "reference"), [("pruning", "wanda", "none"), ("precision", "int8", "fp32")])
def test_what_follows_from_a_factor_is_no_other_option(tmp_path: Path, factor: str, own: str, reference: str) -> None:
    """The steps that have something to do differ with it, and whether a compressed model is kept; nothing else does."""
    known = compressed(tmp_path)
    comparisons, lines = with_value(read(tmp_path), AWSS, factor, reference)
    assert lines == []
    (row,) = compare(comparisons, AWSS).to_dict("records")
    (other,) = {"pruning", "precision"} - {factor}
    value = {(cell[factor], cell[other], cell["dataset"]): cell["value"] for cell in known}
    gains = [value[own, *place] - value[reference, *place] for level, *place in value if level == own]
    assert (row["name"], row["compared"]) == (f"{factor}={own}", 8)
    assert row["difference"] == pytest.approx(np.mean(gains))


def test_names_leave_out_what_follows_from_precision_and_pruning(tmp_path: Path) -> None:
    """An order that was chosen is named, as it is no consequence."""
    compressed(tmp_path)
    names = {f"precision={own} pruning={pruning}" for own in ("fp32", "int8") for pruning in ("none", "wanda")}
    assert set(read(tmp_path).table["name"]) == names
    options = {"pruning": "wanda", "precision.infer": "fp32", "keep_model": True, "order": "prune,train"}
    make_cell(tmp_path, 0.5, options=options, pruning="wanda")
    assert "precision=fp32 pruning=wanda order=prune,train" in set(read(tmp_path).table["name"])


def test_selections_are_compared_with_as_many_layers(tmp_path: Path) -> None:
    """One layer, all, or a budget that came out as another number are no counterpart; none at all is one of each."""
    values = {}
    for seed, number in enumerate((2, 3, 2)):  # cka's budget is a share of its scores, which differ
        for selection, count in (("random", 2), ("cka", number), ("all", 6), ("none", 0), ("manual", 1)):
            values[selection, seed] = (len(values) * 7 % 11) / 10
            make_cell(tmp_path, values[selection, seed], selection=selection, n=None, seed=seed, layers=range(count))
    comparisons, lines = with_value(read(tmp_path), AWSS, "selection", "random")
    rows = compare(comparisons, AWSS).set_index("name")
    expected = {"cka": (0, 2), "none": (0, 1, 2)}
    assert rows["compared"].to_dict() == {f"selection={own}": len(seeds) for own, seeds in expected.items()}
    for own, seeds in expected.items():
        gains = [values[own, seed] - values["random", seed] for seed in seeds]
        assert rows.loc[f"selection={own}", "difference"] == pytest.approx(np.mean(gains))
    assert [line.partition(":")[0] for line in lines] == [
        f"no comparison of selection={own}" for own in ("all", "manual")
    ]
    assert all(line.endswith("in all else and in the number of adapted layers") for line in lines)
    against_none, told = with_value(read(tmp_path), AWSS, "selection", "none")
    assert {own.name for own in against_none} == {f"selection={own}" for own in ("all", "cka", "manual", "random")}
    assert told == []


def test_a_value_without_counterpart_is_told(tmp_path: Path) -> None:
    """Cells that differ in another option too are not compared."""
    make_cell(tmp_path, 0.1, selection="last", rank=4)
    make_cell(tmp_path, 0.2, selection="cka", rank=4)
    make_cell(tmp_path, 0.3, selection="first", rank=8)
    comparisons, lines = with_value(read(tmp_path), AWSS, "selection", "last")
    assert [own.name for own in comparisons] == ["selection=cka"]
    (line,) = lines
    assert line == (
        "no comparison of selection=first: no cell with selection=last agrees with one of its cells "
        "in all else and in the number of adapted layers"
    )


@pytest.mark.parametrize(
    ("factor", "reference", "message"),
    [
        ("selection", "x", r"^reference: selection: expected one of cka, last, none, but got 'x'$"),
        ("rank", "4", r"^factor: expected one of selection, adapter.rank, .*but got 'rank'; in these"),
        ("pruning", "none", r"^factor: expected one of selection, .*, but got 'pruning'"),
        ("dataset", "A", r"^factor: "),
    ],
)
def test_factors_that_there_are_not(tmp_path: Path, factor: str, reference: str, message: str) -> None:
    """Told with what there is."""
    crossed(tmp_path)
    with pytest.raises(UserError, match=message):
        with_value(read(tmp_path), AWSS, factor, reference)
