"""Configurations over their seeds and datasets, and against a reference."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cell_folders import make_cell
from scipy.stats import wilcoxon

from layersel.errors import UserError
from layersel.sweep.averages import ALL_DATASETS
from layersel.sweep.cells import Cells, as_table
from layersel.sweep.comparing import (
    COMPARISONS,
    Comparison,
    balanced,
    compare,
    names_of,
    with_outcomes,
    with_references,
)
from layersel.sweep.configurations import configurations, named, names, references
from layersel.sweep.grouping import GROUPS, group
from layersel.sweep.reading import EARLIER_LOWER
from layersel.sweep.rows import collect_rows
from layersel.tasks.causal_lm.options import CausalLM
from layersel.tasks.classification.metrics import METRICS
from layersel.tasks.classification.options import Classification
from layersel.tasks.screening.options import Screening
from layersel.tasks.task import Metric, Task

AWSS = Metric("awss@95", "AWSS@95", higher_is_better=True)


def read(output: Path) -> Cells:
    """The cells with names."""
    cells = as_table(collect_rows([output]).rows)
    return named(cells, configurations(cells))


def groups_of(output: Path, metric: str | None = None) -> pd.DataFrame:
    """Groups by name and dataset."""
    cells = read(output)
    return group(cells, collect_rows([output]).metric(metric)).set_index(["name", "dataset"]).sort_index()


def compared(output: Path, reference: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Comparisons by name, and the lines."""
    cells = read(output)
    found, lines = references(configurations(cells), reference)
    return compare(with_references(cells, AWSS, found), AWSS).set_index("name"), lines


def make(output: Path, values: dict[tuple[str, int], list[float | None]], **labels: Any) -> None:
    """Cells of (selection, n), one for each seed."""
    for (selection, n), several in values.items():
        for seed, value in enumerate(several):
            make_cell(output, value, selection=selection, n=n, seed=seed, **labels)


def test_groups_by_hand(tmp_path: Path) -> None:
    """Mean, deviation and counts of each dataset; over all datasets each dataset weighs the same."""
    make(tmp_path, {("cka", 1): [0.2, 0.4, 0.9], ("cka", 2): [0.5, 0.6, 0.7]}, dataset="ADHD")
    make(tmp_path, {("cka", 1): [0.6, 0.8], ("cka", 2): [0.1, 0.3]}, dataset="Statins")
    table = groups_of(tmp_path)
    one = table.loc[("n=1", "ADHD")]
    assert one["mean"] == pytest.approx(0.5)
    assert one["std"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    half = 4.302653 * np.std([0.2, 0.4, 0.9], ddof=1) / 3**0.5  # Student's t of 2 degrees of freedom, from a table
    assert (one["low"], one["high"]) == pytest.approx((0.5 - half, 0.5 + half))
    assert (one["n"], one["expected"], one["failed"], one["missing"], one["datasets"]) == (3, 3, 0, 0, 1)
    two = table.loc[("n=1", "Statins")]
    assert (two["n"], two["mean"], two["std"]) == (2, pytest.approx(0.7), pytest.approx(np.std([0.6, 0.8], ddof=1)))
    assert two[["low", "high"]].isna().all()
    overall = table.loc[("n=1", ALL_DATASETS)]
    assert (overall["datasets"], overall["n"], overall["mean"]) == (2, 5, pytest.approx((0.5 + 0.7) / 2))
    assert pd.isna(overall["low"]), "of one dataset there are two values only"
    assert list(group(read(tmp_path), AWSS).columns) == list(GROUPS)
    assert (overall["parameters"], overall["seconds"]) == (100, 10.5)
    make(tmp_path, {("cka", 1): [0.6, 0.8, 0.1], ("cka", 2): [0.1, 0.3, 0.2]}, dataset="Statins")
    overall = groups_of(tmp_path).loc[("n=1", ALL_DATASETS)]
    assert (overall["n"], overall["mean"]) == (6, pytest.approx(0.5))
    assert overall["low"] < overall["mean"] < overall["high"]


def test_an_incomplete_configuration_is_not_ranked(tmp_path: Path) -> None:
    """Its one lucky seed makes it neither the first nor a member of the front; it stands apart with what it lacks."""
    make(tmp_path, {("cka", 1): [0.3, 0.5], ("cka", 2): [0.4, 0.2], ("cka", 3): [0.9]})
    make_cell(tmp_path, None, "failed", error="out of memory", n=3, seed=1)
    table = group(read(tmp_path), AWSS)
    overall = table[table["dataset"] == ALL_DATASETS]
    assert overall["name"].tolist() == ["n=1", "n=2", "n=3", "base (no adapter)"]
    assert overall["kind"].tolist() == ["ranked", "ranked", "incomplete", "baseline"]
    assert overall["pareto"].tolist() == [True, False, pd.NA, pd.NA]
    assert overall["lacks"].tolist() == [pd.NA, pd.NA, "seed 1", pd.NA]
    assert overall["n"].tolist() == [2, 2, 1, 2]
    assert overall["expected"].tolist() == [2, 2, 2, 2]
    assert table["low"].isna().all(), "an interval of two values is none"


def test_what_a_configuration_lacks_is_named(tmp_path: Path) -> None:
    """By dataset and seed, whether the cell failed, still runs, or finished without a number."""
    for dataset in ("A", "B"):
        make(tmp_path, {("cka", 1): [0.3] * 11, ("cka", 2): [0.4] * 9}, dataset=dataset)
    make_cell(tmp_path, None, n=2, dataset="A", seed=10)
    make_cell(tmp_path, None, "running", n=2, dataset="A", seed=9)
    make_cell(tmp_path, None, "failed", n=2, dataset="B", seed=9)
    make_cell(tmp_path, 0.4, n=2, dataset="B", seed=10)
    assert groups_of(tmp_path).loc[("n=2", ALL_DATASETS), "lacks"] == "A: seeds 9, 10; B: seed 9"


def test_ranked_configurations_are_averaged_over_the_same_seeds(tmp_path: Path) -> None:
    """Of cells of several grids: further seeds of one neither help it nor put the others out."""
    make(tmp_path, {("cka", 1): [0.3, 0.5, 0.9, 0.9], ("cka", 2): [0.6, 0.6], ("cka", 3): [0.5, 0.2]}, dataset="A")
    make(tmp_path, {("cka", 4): [0.8]}, dataset="B")
    table = group(read(tmp_path), AWSS)
    overall = table[table["dataset"] == ALL_DATASETS].set_index("name")
    assert overall["kind"].to_dict() == {
        "n=2": "ranked", "n=1": "ranked", "n=3": "ranked", "n=4": "incomplete", "base (no adapter)": "baseline",
    }  # fmt: skip
    assert overall.loc["n=1", ["n", "expected", "mean"]].tolist() == [2, 4, pytest.approx(0.4)]
    assert table.set_index(["name", "dataset"]).loc[("n=1", "A"), "mean"] == pytest.approx(0.4)
    assert (overall.loc["n=4", "lacks"], overall.loc["n=4", "mean"]) == ("A: seeds 0, 1", 0.8)


def test_many_seeds_of_one_configuration_do_not_put_the_other_out(tmp_path: Path) -> None:
    """Two are compared over what both have, however much more one of them has."""
    make(tmp_path, {("cka", 1): [0.5, 0.5, 0.5, 0.5, 0.5], ("last", 1): [0.6, 0.6]})
    overall = groups_of(tmp_path).xs(ALL_DATASETS, level="dataset")
    assert overall.loc[["selection=cka", "selection=last"], "kind"].tolist() == ["ranked", "ranked"]
    assert overall.loc[["selection=cka", "selection=last"], "n"].tolist() == [2, 2]


def test_a_dataset_that_fails_everywhere_makes_nothing_incomplete(tmp_path: Path) -> None:
    """Nobody can be judged there; with no value at all, or none that goes together, nothing is ranked."""
    make(tmp_path, {("cka", 1): [0.3], ("cka", 2): [0.4]}, dataset="A")
    for n in (1, 2):
        make_cell(tmp_path, None, "failed", n=n, dataset="B")
    kinds = groups_of(tmp_path).xs(ALL_DATASETS, level="dataset")["kind"]
    assert kinds.to_dict() == {"n=1": "ranked", "n=2": "ranked", "base (no adapter)": "baseline"}
    apart = tmp_path / "apart"
    for n, seed in ((1, 0), (2, 1)):
        make_cell(apart, 0.5, n=n, seed=seed)
        make_cell(apart, None, "failed", n=n, seed=1 - seed)
    assert groups_of(apart)["kind"].unique().tolist() == ["incomplete"]


def test_baselines_stand_beside_the_configurations(tmp_path: Path) -> None:
    """The pretrained model, and references by their titles, over the same pairs of dataset and seed as the ranked."""
    for n in (1, 2):
        for dataset, seed in ((dataset, seed) for dataset in ("A", "B") for seed in range(3)):
            others = {"base/awss@95": 0.1 * seed, "tfidf/awss@95": 0.5, "tfidf/auroc": 0.9, "A/awss@95": 0.7}
            make_cell(tmp_path, 0.5, n=n, dataset=dataset, seed=seed, metrics=others)
    make_cell(tmp_path, 0.5, n=2, dataset="A", seed=3, metrics={"base/awss@95": 9.0, "tfidf/awss@95": 9.0})
    table = groups_of(tmp_path)
    found = table[table["kind"] == "baseline"]
    assert sorted(found.index.get_level_values("name").unique()) == ["TF-IDF + SVM", "base (no adapter)"]
    base = found.loc[("base (no adapter)", ALL_DATASETS)]
    assert (base["n"], base["datasets"], base["mean"]) == (6, 2, pytest.approx(0.1))
    assert base["low"] < base["mean"] < base["high"]
    assert found.loc[("base (no adapter)", "A"), "mean"] == pytest.approx(0.1)
    assert found.loc[("TF-IDF + SVM", ALL_DATASETS), "mean"] == 0.5
    assert found[["configuration", "parameters", "seconds", "pareto", "lacks"]].isna().all(axis=None)


def test_baselines_of_several_models(tmp_path: Path) -> None:
    """A row for each value that they have, named by the options that go with it."""
    for model, base in (("minilm", 0.2), ("mpnet", 0.3)):
        for n in (1, 2):
            make_cell(tmp_path, 0.5, model=model, n=n, metrics={"base/awss@95": base, "tfidf/awss@95": 0.6})
    found = groups_of(tmp_path).xs(ALL_DATASETS, level="dataset")
    means = found.loc[found["kind"] == "baseline", "mean"].to_dict()
    assert means == {"base (no adapter), model=minilm": 0.2, "base (no adapter), model=mpnet": 0.3, "TF-IDF + SVM": 0.6}


def test_cells_without_a_value_are_counted_not_averaged(tmp_path: Path) -> None:
    """Failed, damaged, running, interrupted, and finished with a null."""
    make(tmp_path, {("cka", 3): [0.4, None, 0.6]})
    for seed, state in enumerate(("failed", "running", "interrupted", "finished"), start=3):
        folder = make_cell(tmp_path, 0.99, state, seed=seed)
    (folder / "metrics.json").write_text("{")
    row = groups_of(tmp_path).loc[("selection=cka n=3", "NSAIDS")]
    assert (row["n"], row["expected"], row["failed"], row["missing"]) == (2, 7, 2, 2)
    assert row["mean"] == pytest.approx(0.5)


def test_a_configuration_that_lacks_a_dataset_is_not_ranked(tmp_path: Path) -> None:
    """Else easy datasets would speak for one configuration and hard ones against another."""
    make(tmp_path, {("cka", 1): [0.4], ("cka", 2): [0.3]}, dataset="Hard")
    make(tmp_path, {("cka", 2): [0.9]}, dataset="Easy")
    make_cell(tmp_path, None, "failed", n=1, dataset="Easy")
    make_cell(tmp_path, None, "failed", n=7, dataset="Hard")  # has finished nowhere
    table = groups_of(tmp_path)
    found = {own: table.loc[(f"n={own}", ALL_DATASETS)] for own in (1, 2, 7)}
    assert [found[own]["kind"] for own in (1, 2, 7)] == ["incomplete", "ranked", "incomplete"]
    assert [found[own]["mean"] for own in (1, 2)] == [0.4, pytest.approx(0.6)]
    assert [found[own]["datasets"] for own in (1, 2, 7)] == [1, 2, 0]
    assert [found[own]["failed"] for own in (1, 2, 7)] == [1, 0, 1]
    assert found[1]["lacks"] == "Easy: seed 0"
    assert math.isnan(found[7]["mean"])
    assert table.loc[("n=2", "Easy"), "mean"] == 0.9


def test_the_front_is_marked_over_all_datasets(tmp_path: Path) -> None:
    """Good, small or quick: one that another beats in all three is not on it, nor one without numbers."""
    for n, awss, parameters, seconds in ((1, 0.5, 10, 5), (2, 0.6, 20, 9), (3, 0.4, 20, 9), (4, 0.3, 30, 1)):
        make_cell(tmp_path, awss, n=n, metrics={"parameters/trainable": parameters, "seconds/total": seconds})
    make_cell(tmp_path, None, "failed", n=5)
    table = groups_of(tmp_path)["pareto"]
    assert {n: table[(f"n={n}", ALL_DATASETS)] for n in range(1, 6)} == {
        1: True, 2: True, 3: False, 4: True, 5: pd.NA,
    }  # fmt: skip
    assert table.xs("NSAIDS", level="dataset").isna().all()


def test_the_same_values_have_the_same_interval_in_any_table(tmp_path: Path) -> None:
    """Each interval draws for itself."""
    make(tmp_path, {("cka", 1): [math.sqrt(seed) % 1 for seed in range(2, 14)]})
    alone = groups_of(tmp_path).loc[("selection=cka n=1", "NSAIDS"), ["low", "high"]].tolist()
    make(tmp_path, {("last", 1): [0.1, 0.5, 0.9] * 4})
    assert groups_of(tmp_path).loc[("selection=cka", "NSAIDS"), ["low", "high"]].tolist() == alone


def test_nothing_finished_is_a_table_too(tmp_path: Path) -> None:
    """Of counts; whatever metric is asked for."""
    make_cell(tmp_path, state="failed", seed=0)
    make_cell(tmp_path, state="failed", selection="none")
    row = groups_of(tmp_path, "any").loc[("selection=cka", ALL_DATASETS)]
    assert (row["n"], row["failed"]) == (0, 1)
    assert pd.isna(row["mean"])
    table, lines = compared(tmp_path)
    assert (table["compared"].tolist(), lines) == ([0], [])
    assert table[["difference", "p", "p_holm"]].isna().all(axis=None)


def test_unknown_metrics_are_refused(tmp_path: Path) -> None:
    """With those that there are."""
    make_cell(tmp_path, metrics={"device": "cpu"})
    for metric in ("awss", "seed", "device"):
        with pytest.raises(UserError, match=rf"^metric: expected one of awss@95, but got '{metric}'"):
            groups_of(tmp_path, metric)


def test_comparison_by_hand(tmp_path: Path) -> None:
    """Over the same datasets and seeds only; ties are not wins; p as scipy has it, corrected for two comparisons."""
    for shift, dataset in ((0.0, "A"), (0.2, "B")):
        make(tmp_path, {("none", 0): [0.3 + shift, 0.4 + shift, 0.5 + shift]}, dataset=dataset)
        make(tmp_path, {("cka", 2): [0.4 + shift, 0.4 + shift, 0.3 + shift, 0.9]}, dataset=dataset)
        make(tmp_path, {("last", 2): [0.35 + shift, 0.47 + shift]}, dataset=dataset)
    table, lines = compared(tmp_path)
    assert lines == []
    assert list(compare([], AWSS).columns) == list(COMPARISONS)
    cka, last = table.loc["selection=cka n=2"], table.loc["selection=last n=2"]
    assert set(table["reference"]) == {"selection=none n=0"}
    assert (cka["compared"], cka["uncompared"], cka["wins"], cka["ties"], cka["losses"]) == (6, 2, 2, 2, 2)
    assert (last["compared"], last["uncompared"], last["wins"], last["ties"], last["losses"]) == (4, 2, 4, 0, 0)
    differences = np.array([0.1, 0, -0.2] * 2)
    assert cka["difference"] == pytest.approx(differences.mean())
    assert cka["std"] == pytest.approx((2 * np.var([0.1, 0, -0.2], ddof=1)) ** 0.5 / 2)
    assert (cka["datasets"], cka["unit"]) == (2, "dataset and seed")  # too few datasets to resample them
    assert cka["low"] < cka["difference"] < cka["high"]
    assert cka["p"] == pytest.approx(wilcoxon(differences).pvalue)
    assert last["p"] == pytest.approx(2 / 2**4)
    assert last["p_holm"] == pytest.approx(2 * last["p"])
    assert cka["p_holm"] == pytest.approx(max(cka["p"], last["p_holm"]))


def test_datasets_are_the_units_of_a_comparison(tmp_path: Path) -> None:
    """Their seeds are averaged first, by hand: ten seeds of one dataset are no ten datasets."""
    gains = {"A": [0.1, 0.3], "B": [-0.1, 0.0], "C": [0.2, 0.2, 0.5], "D": [0.1, -0.1]}
    for dataset, own in gains.items():
        make(tmp_path, {("none", 0): [0.3] * len(own), ("cka", 2): [0.3 + gain for gain in own]}, dataset=dataset)
    row = compared(tmp_path)[0].loc["selection=cka n=2"]
    means = np.array([np.mean(own) for own in gains.values()])
    assert (row["compared"], row["datasets"], row["unit"]) == (9, 4, "dataset")
    assert row["difference"] == pytest.approx(means.mean())
    assert row["std"] == pytest.approx(means.std(ddof=1))
    assert (row["wins"], row["ties"], row["losses"]) == (2, 1, 1)
    assert row["p"] == pytest.approx(wilcoxon(np.round(means, 12)[[0, 1, 2]]).pvalue)
    half = 3.182446 * means.std(ddof=1) / 2  # Student's t of 3 degrees of freedom, from a table
    assert (row["low"], row["high"]) == pytest.approx((means.mean() - half, means.mean() + half))


def test_more_seeds_of_the_same_datasets_narrow_no_interval(tmp_path: Path) -> None:
    """Seeds that agree leave the interval as it is: what other datasets would give is no surer."""
    for seeds, output in ((1, tmp_path / "few"), (20, tmp_path / "many")):
        for dataset, gain in zip("ABCDE", (0.1, -0.2, 0.3, 0.05, 0.0), strict=True):
            make(output, {("none", 0): [0.3] * seeds, ("cka", 2): [0.3 + gain] * seeds}, dataset=dataset)
    few, many = (compared(tmp_path / name)[0].iloc[0] for name in ("few", "many"))
    assert few[["low", "high", "p"]].tolist() == pytest.approx(many[["low", "high", "p"]].tolist())


def test_configurations_are_compared_with_what_their_cells_measured_beside(tmp_path: Path) -> None:
    """The pretrained model and each reference, in the same cells; Holm's p counts the tests against one of these."""
    draw = np.random.default_rng(1)
    values = {(n, dataset, seed): draw.uniform(size=3) for n in (1, 2) for dataset in "ABCDEF" for seed in range(2)}
    for (n, dataset, seed), (own, base, tfidf) in values.items():
        others = {"base/awss@95": base, "tfidf/awss@95": tfidf, "tfidf/auroc": 0.5}
        make_cell(tmp_path, own, n=n, dataset=dataset, seed=seed, metrics=others)
    cells = read(tmp_path)
    each = {name: [own] for own, name in names_of(cells).items()}
    table = compare(with_outcomes(cells, AWSS, each), AWSS)
    assert table["reference"].tolist() == ["base (no adapter)"] * 2 + ["TF-IDF + SVM"] * 2
    assert table["against"].tolist() == ["base"] * 2 + ["tfidf"] * 2
    for place, row in enumerate(table.to_dict("records")):
        n, other = place % 2 + 1, place // 2 + 1
        means = [np.mean([values[n, own, seed] for seed in range(2)], axis=0) for own in "ABCDEF"]
        gains = np.array([own[0] - own[other] for own in means])
        assert (row["name"], row["compared"], row["uncompared"]) == (f"n={n}", 12, 0)
        assert row["difference"] == pytest.approx(gains.mean())
        assert row["p"] == pytest.approx(wilcoxon(gains).pvalue)
        assert (row["wins"], row["losses"]) == ((gains > 0).sum(), (gains < 0).sum())
    for _, own in table.groupby("against"):
        low, high = sorted(own["p"])
        assert sorted(own["p_holm"]) == pytest.approx([min(1, 2 * low), min(1, max(2 * low, high))])


def test_other_outcomes_of_a_heads_and_a_datasets_metric(tmp_path: Path) -> None:
    """`base/` stands before the metric of another head, and after the dataset in one of several datasets."""
    heads = {"svm_head/awss@95": 0.4, "base/svm_head/awss@95": 0.3, "base/awss@95": 0.2}
    datasets = {"A/awss@95": 0.4, "A/base/awss@95": 0.3, "A/own/awss@95": 0.2, "B/awss@95": 0.1}
    make_cell(tmp_path / "heads", 0.5, metrics=heads)
    make_cell(tmp_path / "merged", 0.5, dataset="A+B", metrics=datasets)
    cells = read(tmp_path / "heads")
    assert cells.outcomes("svm_head/awss@95") == {"base": "base/svm_head/awss@95"}
    beside = {"svm_head": "svm_head/awss@95", "base/svm_head": "base/svm_head/awss@95", "base": "base/awss@95"}
    assert cells.outcomes("awss@95") == beside
    titles = [cells.title(outcome) for outcome in beside]
    assert titles == ["svm head, same model", "svm head, base (no adapter)", "base (no adapter)"]
    merged = read(tmp_path / "merged")
    assert merged.outcomes("A/awss@95") == {"base": "A/base/awss@95", "own": "A/own/awss@95"}
    assert merged.outcomes("awss@95") == {"base": "base/awss@95"}


def test_a_further_head_is_the_adapted_models_and_no_baseline(tmp_path: Path) -> None:
    """Each further head of the adapted model is compared with the pretrained model's, as the task's own head is."""
    values = {
        (n, seed): {"svm": 0.6 + n / 10, "base": 0.2, "base_svm": 0.3 + seed / 50} for n in (1, 2) for seed in range(3)
    }
    for (n, seed), own in values.items():
        others = {"svm_head/awss@95": own["svm"], "base/awss@95": own["base"], "base/svm_head/awss@95": own["base_svm"]}
        make_cell(tmp_path, 0.5 + seed / 100, n=n, seed=seed, metrics=others)
    cells = read(tmp_path)
    overall = group(cells, AWSS).query("dataset == @ALL_DATASETS").set_index("name")
    kinds = {f"svm head, same model, n={n}": "further head" for n in (1, 2)}
    kinds |= dict.fromkeys(["base (no adapter)", "svm head, base (no adapter)"], "baseline")
    assert overall["kind"].to_dict() == {"n=1": "ranked", "n=2": "ranked"} | kinds
    assert overall.loc["svm head, same model, n=2", "mean"] == pytest.approx(0.8)
    each = {name: [own] for own, name in names_of(cells).items()}
    table = compare(with_outcomes(cells, AWSS, each), AWSS).set_index(["name", "reference"])
    assert table["difference"].to_dict() == pytest.approx(
        {
            (f"n={n}{under}", reference): gain
            for n in (1, 2)
            for under, reference, gain in [
                ("", "svm head, same model", 0.51 - 0.6 - n / 10),
                ("", "base (no adapter)", 0.51 - 0.2),
                (", svm head", "svm head, base (no adapter)", 0.6 + n / 10 - 0.32),
            ]
        }
    )


def values(numbers: dict[tuple[str, int], float]) -> "pd.Series[float]":
    """Values by dataset and seed."""
    index = pd.MultiIndex.from_tuples(list(numbers), names=["dataset", "seed"])
    return pd.Series(list(numbers.values()), index, dtype=float)


def test_settings_are_averaged_over_seeds_that_they_all_have() -> None:
    """Nine settings under the first seed alone, better by .5, do not count against two that have all three."""
    reference = values({("A", 0): 1.0, ("A", 1): 2.0, ("A", 2): 3.0})
    whole = [reference + 0.1, reference + 0.3]
    alone = [values({("A", 0): 1.5})] * 9
    apart = values({("B", 7): 0.0})
    contrasts = [(own, reference) for own in [*alone, *whole, apart]]
    table = compare([Comparison("own", "reference", "configuration", contrasts)], AWSS)
    row = table.iloc[0]
    assert (row["settings"], row["compared"], row["datasets"]) == (2, 6, 1)
    assert (row["difference"], row["std"], row["mean"]) == pytest.approx((0.2, 0, 2.2))
    assert [len(own) for own in balanced(contrasts)] == [3, 3]


def test_a_failed_cell_costs_its_seed_in_all_settings_or_its_setting() -> None:
    """Whichever keeps more values."""
    full = values({(name, seed): seed for name in "ABC" for seed in range(3)})
    for lost, kept in (([("C", 2)], [8, 8, 8]), ([(name, seed) for name in "ABC" for seed in (0, 1)], [9, 9])):
        found = balanced([(full, full), (full.drop(lost), full), (full, full)])
        assert [len(own) for own in found] == kept


def test_settings_that_each_lack_another_dataset() -> None:
    """Three of four keep more than one does, and three datasets, of which there is an interval."""
    full = values({(name, seed): seed for name in "ABCDEF" for seed in range(3)})
    found = balanced([(full.drop(name, level="dataset"), full) for name in "ABCD"] + [(full[:0], full)])
    assert [len(own) for own in found] == [9, 9, 9]


def test_two_datasets_are_no_more_than_one() -> None:
    """There is an interval over the seeds of one, and none over two of one seed each."""
    many = values({("A", seed): float(seed) for seed in range(10)})
    both = values({("A", 0): 1.0, ("B", 0): 2.0})
    assert [len(own) for own in balanced([*[(many, many)] * 10, (both, both)])] == [10] * 10


def test_identical_values(tmp_path: Path) -> None:
    """All ties: the interval is the value, and there is nothing to test."""
    make(tmp_path, {("none", 0): [0.3, 0.3, 0.3], ("cka", 1): [0.3, 0.3, 0.3]})
    table, _ = compared(tmp_path)
    row = table.iloc[0]
    assert (row["difference"], row["low"], row["high"], row["std"], row["ties"]) == (0, 0, 0, 0, 3)
    assert pd.isna(row["p"])
    assert pd.isna(row["p_holm"])


def test_doubled_cells_are_not_paired(tmp_path: Path) -> None:
    """Which of two cells with the same dataset and seed stands against the reference's nobody can say."""
    make(tmp_path, {("none", 0): [0.3, 0.3], ("cka", 1): [0.4, 0.5]})
    make_cell(tmp_path, 0.9, selection="cka", n=1, seed=1, versions="2")
    row = compared(tmp_path)[0].iloc[0]
    assert (row["compared"], row["uncompared"], row["difference"]) == (1, 3, pytest.approx(0.1))


NAMED = [
    ([{}], ["selection=cka n=3"]),  # nothing differs
    ([{"n": 1}, {"n": 2}], ["n=1", "n=2"]),
    ([{"n": 0.5}, {"n": 2}], ["n=0.5", "n=2"]),
    (
        [{"selection": "none", "n": None}, {"selection": "cka", "n": 3}, {"selection": "cka", "n": 3, "rank": 4}],
        ["selection=none rank=8", "selection=cka n=3 rank=8", "selection=cka n=3 rank=4"],
    ),
    ([{"options": {"task.epochs": 2}}, {"options": {"task.epochs": 3}}], ["task.epochs=2", "task.epochs=3"]),
    (  # an option that only one kind has says nothing that its label does not
        [{"selection": "cka", "options": {"selection.kernel": "rbf"}}, {"selection": "last"}],
        ["selection=cka", "selection=last"],
    ),
    (  # a second difference is named even where the first one distinguishes them
        [{"n": 1, "options": {"task.epochs": 2}}, {"n": 2, "options": {"task.epochs": 3}}],
        ["n=1 task.epochs=2", "n=2 task.epochs=3"],
    ),
    ([{"options": {"x.alpha": None}}, {"options": {"x.alpha": 4}}], ["x.alpha=null", "x.alpha=4"]),
    (  # what each choice has by itself says nothing that its label does not …
        [
            {"selection": "cka", "options": {"selection.draw": "random"}},
            {"selection": "cka_paper", "options": {"selection.draw": "first"}},
        ],
        ["selection=cka", "selection=cka_paper"],
    ),
    (  # … but what was given does
        [
            {"selection": "cka", "options": {"selection.draw": "first"}},
            {"selection": "cosine", "options": {"selection.draw": "random"}},
        ],
        ["selection=cka selection.draw=first", "selection=cosine selection.draw=random"],
    ),
]


@pytest.mark.parametrize(("several", "expected"), NAMED)
def test_names_tell_what_differs(tmp_path: Path, several: list[dict[str, Any]], expected: list[str]) -> None:
    """Labels first; seeds and datasets are no part of a configuration."""
    for number, own in enumerate(several):
        make_cell(tmp_path, float(number), seed=number, dataset=f"R{number}", **own)
    table = read(tmp_path).table.sort_values("awss@95")
    assert table["name"].tolist() == expected
    assert list(table.columns[5:7]) == ["configuration", "name"]


def test_options_that_go_with_the_dataset_name_nothing(tmp_path: Path) -> None:
    """They differ within a configuration."""
    options = pd.DataFrame({"n": ["1", "1"]}, index=["abcdefgh1", "abcdefgi2"])
    assert names(options) == {"abcdefgh1": "n=1 configuration=abcdefgh", "abcdefgi2": "n=1 configuration=abcdefgi"}


def test_the_reference_agrees_in_all_that_its_options_leave_open(tmp_path: Path) -> None:
    """One reference for each rank; a rank without one is named with the candidates."""
    for rank in (4, 8):
        make_cell(tmp_path, 0.1 * rank, selection="none", n=0, rank=rank)
        make_cell(tmp_path, 0.1 * rank + 0.01, selection="cka", n=3, rank=rank)
    make_cell(tmp_path, 0.5, selection="cka", n=3, rank=16)
    table, lines = compared(tmp_path, "selection=none")
    assert table["reference"].to_dict() == {
        "selection=cka n=3 rank=4": "selection=none n=0 rank=4",
        "selection=cka n=3 rank=8": "selection=none n=0 rank=8",
    }
    assert table["difference"].tolist() == pytest.approx([0.01, 0.01])
    assert len(lines) == 1
    assert lines[0].startswith("no comparison of selection=cka n=3 rank=16: ")
    assert lines[0].endswith("but got selection=none n=0 rank=4 | selection=none n=0 rank=8")


def test_a_reference_agrees_in_no_more_than_what_was_chosen(tmp_path: Path) -> None:
    """The steps and what is kept of a model follow from precision and pruning: nobody chose them."""
    for precision, pruning in itertools.product(("fp32", "int8"), ("none", "wanda")):
        steps = ["train", *["prune"] * (pruning != "none"), *["quantise"] * (precision != "fp32")]
        options = {"precision.infer": precision, "pruning": pruning, "order": ",".join(steps)}
        options["keep_model"] = len(steps) > 1
        make_cell(tmp_path, 0.5, precision=precision, pruning=pruning, options=options)
    table, lines = compared(tmp_path, "precision=fp32")
    assert lines == []
    assert table["reference"].to_dict() == {
        f"precision=int8 pruning={pruning}": f"precision=fp32 pruning={pruning}" for pruning in ("none", "wanda")
    }


def test_references_that_cannot_be_told_apart_are_one_line(tmp_path: Path) -> None:
    """However many configurations find none."""
    for choice in (1, 2):
        make_cell(tmp_path, 0.5, selection="random", options={"selection.choice": choice})
    make(tmp_path, {(score, 3): [0.4] for score in ("a", "b", "c", "d", "e", "f")})
    table, lines = compared(tmp_path, "selection=random")
    assert table.empty
    assert len(lines) == 1
    assert lines[0].startswith("no comparison of selection=a, selection=b, selection=c, 3 more: expected one reference")


def test_a_list_is_a_reference_as_it_is_typed(tmp_path: Path) -> None:
    """With its brackets and spaces, or without; a wrong one is told with what there is."""
    for layers in ("0", "1,2"):
        make_cell(tmp_path, 0.5, selection="manual", n=None, options={"selection.layers": layers})
    for typed in ("[1,2]", "[1, 2]", "1,2"):
        assert compared(tmp_path, f"selection.layers={typed}")[0]["reference"].tolist() == ["selection.layers=1,2"]
    with pytest.raises(UserError, match=r"^reference: selection\.layers: expected one of 0, \[1,2\], but got '\[3\]'$"):
        compared(tmp_path, "selection.layers=[3]")


@pytest.mark.parametrize(
    "reference", ["selection=cka n=3", "selection.n=3", "selection=cka, selection.n=3.0", "n=3,selection=cka"]
)
def test_references_by_labels_and_options(tmp_path: Path, reference: str) -> None:
    """Several separated by spaces or commas; a single one is the reference of all."""
    make(tmp_path, {("cka", 3): [0.3], ("cka", 1): [0.4], ("last", 1): [0.5]})
    table, lines = compared(tmp_path, reference)
    assert lines == []
    assert table["reference"].unique().tolist() == ["selection=cka n=3"]
    assert table["difference"].tolist() == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("selection", r"^reference: expected NAME=VALUE, several separated by spaces, but got 'selection'$"),
        ("seed=0", r"^reference: expected one of model, selection, .*, but got 'seed'; or an option"),
        ("n=7", r"^reference: n: expected one of 0, 1, but got '7'$"),
        ("selection=cka n=0", r"^reference: no configuration has all of 'selection=cka n=0'"),
    ],
)
def test_references_that_there_are_not(tmp_path: Path, reference: str, message: str) -> None:
    """Told with what there is."""
    make(tmp_path, {("none", 0): [0.3], ("cka", 1): [0.4]})
    with pytest.raises(UserError, match=message):
        compared(tmp_path, reference)


def test_without_a_reference_only_one_untouched_encoder_is_compared_with(tmp_path: Path) -> None:
    """None or several of them: a line says so; a single configuration needs none."""
    make(tmp_path, {("cka", 1): [0.4]})
    assert compared(tmp_path)[1] == []
    make(tmp_path, {("last", 1): [0.4]})
    table, lines = compared(tmp_path)
    assert len(table) == 0
    assert lines == ["no comparison: 0 configurations have selection=none; name a reference"]
    make(tmp_path, {("none", 0): [0.3]}, rank=4)
    assert set(compared(tmp_path)[0]["reference"]) == {"selection=none n=0 rank=4"}


def test_lower_may_be_better(tmp_path: Path) -> None:
    """The direction is the cells' own: wins are lower values, and so is the front; the number beside it is as low."""
    rmse = {"name": "rmse", "title": "RMSE", "higher_is_better": False, "beside": "forgotten"}
    assert Metric(**rmse).directed_title == "RMSE (lower is better)"
    for seed in range(3):
        for selection, value in (("none", 0.5), ("cka", 0.4)):
            make_cell(tmp_path, selection=selection, seed=seed, metrics={"rmse": value + seed / 100}, metric=rmse)
    cells = read(tmp_path)
    metric = collect_rows([tmp_path]).metric(None)
    assert metric == Metric("rmse", "RMSE", higher_is_better=False, beside="forgotten")
    found, _ = references(configurations(cells), "selection=none")
    (row,) = compare(with_references(cells, metric, found), metric).to_dict("records")
    assert (row["wins"], row["ties"], row["losses"]) == (3, 0, 0)
    assert row["difference"] == pytest.approx(-0.1)
    table = group(cells, metric)
    front = table[table["pareto"].fillna(value=False)]
    assert front["name"].tolist() == ["selection=cka"]


LOSS = {"name": "loss", "title": "held-out loss", "higher_is_better": False, "beside": "retention_change"}
OF_A_LOSS = ("loss", "perplexity", "retention_loss")
LOWER = (
    *OF_A_LOSS, *(f"base/{name}" for name in OF_A_LOSS), "A/own/loss", "A/perplexity", "logistic_head/rmse",
    "retention_change", "seconds/train", "parameters/trainable",
)  # fmt: skip
HIGHER = ("auroc", "base/auroc", "A/base/auroc", "svm_head/auroc", "awss@95", "base/awss@95")


@pytest.mark.parametrize(("column", "higher"), [(name, False) for name in LOWER] + [(name, True) for name in HIGHER])
def test_every_column_has_its_direction(tmp_path: Path, column: str, higher: bool) -> None:
    """Cells that did not record the direction of a metric have their task's, whatever the outcome, dataset and head."""
    make_cell(tmp_path, metrics=dict.fromkeys((*LOWER, *HIGHER), 0.5), metric=LOSS)
    assert collect_rows([tmp_path]).metric(column).higher_is_better is higher


@pytest.mark.parametrize("task", [CausalLM(), Screening(), *(Classification(metric=name) for name in METRICS)])
def test_a_tasks_metric_has_the_direction_that_the_task_declares(task: Task) -> None:
    """So has the number beside it; earlier cells have what the tasks had declared."""
    assert task.primary.higher_is_better == (task.primary.name not in task.lower_is_better)
    assert task.primary.beside in (None, *task.lower_is_better)
    assert task.lower_is_better <= {*EARLIER_LOWER}


def test_directions_are_what_the_cells_recorded(tmp_path: Path) -> None:
    """A task's own names count; where cells disagree or none has told, nobody guesses."""
    make_cell(tmp_path / "one", metrics={"toll": 0.5, "base/toll": 0.5, "n_seen": 3}, lower_is_better=["toll"])
    make_cell(tmp_path / "two", metrics={"toll": 0.5, "base/toll": 0.5}, lower_is_better=[], seed=9)
    assert collect_rows([tmp_path / "one"]).metric("base/toll").higher_is_better is False
    assert collect_rows([tmp_path / "two"]).metric("base/toll").higher_is_better is True
    for paths, column in ((["one", "two"], "toll"), (["one"], "n_seen"), (["one"], "other")):
        with pytest.raises(UserError, match=rf"^metric: expected one of awss@95.*, but got '{column}'; or another"):
            collect_rows([tmp_path / path for path in paths]).metric(column)


def test_cells_of_several_metrics_need_a_name(tmp_path: Path) -> None:
    """One line that lists them."""
    make_cell(tmp_path, seed=0)
    make_cell(tmp_path, seed=1, metric={"name": "rmse", "title": "RMSE", "higher_is_better": False})
    with pytest.raises(UserError, match=r"^metric: expected one of awss@95, rmse, but got None; name one"):
        collect_rows([tmp_path]).metric(None)
