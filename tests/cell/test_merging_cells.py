"""A merging cell, by `train.py`: it trains what is missing, merges, and measures one adapter on every review."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import cells, here
from peft import PeftModel
from small_reviews import write_reviews
from transformers import AutoModel

from layersel.adapters.loading import load_adapter
from layersel.backbone.pretrained import Pretrained
from layersel.runs.folder import RunFolder

METRIC = "awss@95"


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three small reviews."""
    return write_reviews(tmp_path_factory.mktemp("reviews"), 3)


@pytest.fixture(scope="module")
def command(small_cell: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A training of a second, but for its review."""
    return [*small_cell, f"output={tmp_path_factory.mktemp('runs')}"]


@pytest.fixture(scope="module")
def merged(command: list[str], reviews: list[str]) -> RunFolder:
    """Two reviews' adapters, averaged."""
    return merge(command, "average", reviews[:2])


def merge(command: list[str], method: str, reviews: list[str], *more: str) -> RunFolder:
    """The finished run of a merging cell."""
    output = Path(command[-1].removeprefix("output="))
    before = set(merging_runs(output))
    listed = f"merging.datasets=[{','.join(reviews)}]"
    assert here("train.py", *command, f"merging={method}", listed, *more) == 0
    (new,) = set(merging_runs(output)) - before
    return RunFolder(new)


def without_review(command: list[str]) -> list[str]:
    """The command without what a merge of finished runs needs not: `data=table` with its file, and the selection."""
    return [argument for argument in command if not argument.startswith(("data", "selection"))]


def merging_runs(output: Path) -> list[Path]:
    """Folders of merging cells."""
    return [path for path in cells(output) if (path / "merging.json").is_file()]


def content(path: Path) -> dict[str, Any]:
    """A JSON file's."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def members(run: RunFolder) -> dict[str, RunFolder]:
    """The runs whose adapters were merged, by review."""
    return {name: RunFolder(Path(path)) for name, path in content(run.merging)["adapters"].items()}


def test_it_trains_what_is_missing(merged: RunFolder) -> None:
    """One run for each review, finished, with an adapter of its own."""
    runs = members(merged)
    assert list(runs) == ["review0", "review1"]
    assert all(run.state == "finished" and run.adapter.is_dir() for run in runs.values())


def test_every_review_is_measured_with_all_three(merged: RunFolder) -> None:
    """The merged adapter, the review's own and no adapter; the latter two as the review's run has measured them."""
    metrics = merged.read_metrics()
    for name, run in members(merged).items():
        own = run.read_metrics()
        assert metrics[f"{name}/own/{METRIC}"] == own[METRIC]
        assert metrics[f"{name}/base/{METRIC}"] == own[f"base/{METRIC}"]
        assert metrics[f"{name}/n_test"] == own["n_test"]
        assert math.isfinite(metrics[f"{name}/{METRIC}"])
    for kind in ("", "own/", "base/"):
        values = [metrics[f"{name}/{kind}{METRIC}"] for name in members(merged)]
        assert metrics[f"{kind}{METRIC}"] == pytest.approx(sum(values) / 2)


def test_the_adapter_is_plain_peft(merged: RunFolder, tiny_model_folder: Path) -> None:
    """Loaded by PEFT alone, it is the mean of the two: their dense changes, added by hand."""
    adapted = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_model_folder), merged.adapter)
    weights = dict(adapted.merge_and_unload().named_parameters())
    base = dict(AutoModel.from_pretrained(tiny_model_folder).named_parameters())
    backbone = Pretrained(path=str(tiny_model_folder), pooling="mean")
    one, other = (load_adapter(backbone.load(), run.adapter).changes() for run in members(merged).values())
    assert set(one) == set(other)
    for name, change in one.items():
        expected = (change.dense + other[name].dense) / 2
        found = (weights[f"{name}.weight"] - base[f"{name}.weight"]).detach()
        # The mean of two changes of rank 8 has rank 16: what is left at rank 8 is its best approximation.
        u_OR, s_R, v_RI = torch.linalg.svd(expected)
        best = (u_OR[:, :8] * s_R[:8]) @ v_RI[:8]
        torch.testing.assert_close(found, best, rtol=1e-3, atol=1e-6)


def test_it_says_what_conflicts_and_what_is_lost(merged: RunFolder) -> None:
    """For the pair of adapters, and for every module."""
    report = content(merged.merging)
    (pair,) = report["conflicts"]
    assert (pair["first"], pair["second"], pair["shared"]) == ("review0", "review1", 4)
    assert pair["verdict"] in {"independent", "conflict", "agreement"}
    assert 0 <= report["total_lost"] < 1
    assert len(report["lost"]) == 4


def test_what_is_there_is_used(command: list[str], reviews: list[str], merged: RunFolder) -> None:
    """A further merge over the same reviews trains nothing again."""
    before = {path: path.stat().st_mtime_ns for run in members(merged).values() for path in run.path.rglob("*")}
    other = merge(command, "ties", reviews[:2])
    assert members(other).keys() == members(merged).keys()
    assert {path: path.stat().st_mtime_ns for run in members(merged).values() for path in run.path.rglob("*")} == before


def test_runs_of_other_layers_and_ranks(command: list[str], reviews: list[str], merged: RunFolder) -> None:
    """Adapters on disjoint layers lose nothing: each is found whole in the merged one."""
    output = Path(command[-1].removeprefix("output="))
    before = set(cells(output))
    other = ["selection=first", "selection.n=1", "adapter.rank=2", f"data.path={reviews[2]}"]
    assert here("train.py", *command, *other) == 0
    (run,) = set(cells(output)) - before
    listed = [f"merging.runs=[{run},{members(merged)['review0'].path}]"]
    both = merge(without_review(command), "task_arithmetic", [], *listed, "merging.weights=[1,1]")
    report = content(both.merging)
    assert report["conflicts"][0]["verdict"] == "disjoint"
    assert report["total_lost"] < 1e-10
    labels = content(both.identity)["labels"]
    assert {name: labels[name] for name in ("selection", "n", "adapter", "rank")} == {
        "selection": None,
        "n": None,
        "adapter": "lora",
        "rank": None,
    }
    named = content(merged.identity)["labels"]
    assert (named["selection"], named["rank"]) == ("last", 8)


@pytest.mark.parametrize("search", ["common", "each"])
def test_weights_are_searched(command: list[str], reviews: list[str], search: str) -> None:
    """λ is from the grid, the same for all adapters where that is asked for."""
    more = [f"merging.search={search}", "merging.grid=[0.25,1]"]
    report = content(merge(command, "task_arithmetic", reviews[:2], *more).merging)
    first, second = report["weights"]
    assert set(first) | set(second) <= {0.25, 1.0}
    assert len(set(first)) == len(set(second)) == 1
    assert search == "each" or first == second


def test_weights_are_learnt(command: list[str], reviews: list[str]) -> None:
    """AdaMerging moves λ of adapted layers from their start, differently by layer, the same way each time."""
    more = ["merging.steps=4", "merging.learning_rate=0.02"]
    run = merge(command, "adamerging", reviews[:2], *more)
    weights = torch.tensor(content(run.merging)["weights"])
    assert torch.equal(weights[:, :2], torch.full((2, 2), 0.3))  # no adapter in these layers
    assert (weights[:, 2:] != 0.3).all()
    metrics = run.read_metrics()
    assert (
        here(
            "train.py",
            *command,
            "merging=adamerging",
            f"merging.datasets=[{','.join(reviews[:2])}]",
            *more,
            "force=true",
        )
        == 0
    )
    again = run.read_metrics()
    assert {n: v for n, v in again.items() if "seconds" not in n} == {
        n: v for n, v in metrics.items() if "seconds" not in n
    }


def evaluated(run: RunFolder, out: Path, *options: str) -> dict[str, Any]:
    """What `evaluate.py` finds."""
    assert here("evaluate.py", f"run={run.path}", "data=table", f"out={out}", *options) == 0
    return content(out)


def test_evaluate_takes_the_head_of_the_review(merged: RunFolder, reviews: list[str], tmp_path: Path) -> None:
    """The numbers of the run, from its files alone."""
    metrics = merged.read_metrics()
    found = evaluated(merged, tmp_path / "metrics.json", f"data.path={reviews[0]}")
    assert found["n_test"] == metrics["review0/n_test"]
    assert found[METRIC] == pytest.approx(metrics[f"review0/{METRIC}"], abs=1e-9)


def test_evaluate_fits_a_head_for_another_review(merged: RunFolder, reviews: list[str], tmp_path: Path) -> None:
    """It has none for that."""
    found = evaluated(merged, tmp_path / "metrics.json", f"data.path={reviews[2]}", "head=fit")
    assert math.isfinite(found[METRIC])


def test_a_merged_run_ranks_a_library(merged: RunFolder, reviews: list[str], tmp_path: Path) -> None:
    """With the head of the review that is named."""
    out = tmp_path / "ranking.csv"
    options = ["data=table", f"data.path={reviews[1]}", f"records={reviews[2]}", f"out={out}"]
    assert here("evaluate.py", f"run={merged.path}", *options) == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 1 + 24


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "name one with data="),
        (["data=demo"], "expected a dataset that the run has merged (review0, review1), but got ptsd"),
    ],
)
def test_a_review_without_a_head_is_refused(
    merged: RunFolder, options: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is guessed."""
    assert here("evaluate.py", f"run={merged.path}", *options) == 2
    assert says in capfd.readouterr().err


def test_records_that_others_learnt_from_are_counted(command: list[str], reviews: list[str], tmp_path: Path) -> None:
    """The merged adapter has seen them, the review's own has not."""
    both = tmp_path / "both.csv"
    header, *rows = Path(reviews[0]).read_text(encoding="utf-8").splitlines()
    both.write_text("\n".join([header, *rows, *Path(reviews[1]).read_text(encoding="utf-8").splitlines()[1:]]) + "\n")
    metrics = merge(command, "average", [reviews[0], str(both)]).read_metrics()
    assert metrics["both/n_learnt_by_others"] > 0
    assert metrics["review0/n_learnt_by_others"] + metrics["both/n_learnt_by_others"] <= 16


def test_a_compressed_cell_shares_its_members(command: list[str], reviews: list[str], merged: RunFolder) -> None:
    """What happens after the merge trains no member again."""
    output = Path(command[-1].removeprefix("output="))
    before = set(cells(output))
    pruned = merge(command, "average", reviews[:2], "pruning=wanda", "precision=int8", "precision.outliers=0.1")
    assert set(cells(output)) - before == {pruned.path}
    assert content(pruned.compression)["steps"] == ["train", "merge", "prune", "quantise"]
    assert pruned.read_metrics()["sparsity/after_quantise"] >= 0.49


@pytest.mark.real
def test_another_adapter_is_another_cell(command: list[str], reviews: list[str], tmp_path: Path) -> None:
    """Runs are known by what they hold, not by their names."""
    output, merges = tmp_path / "runs", []
    for rank in (2, 4):
        for number in (0, 1):
            folder = tmp_path / f"rank{rank}"
            options = [f"data.path={reviews[number]}", f"adapter.rank={rank}", f"output={folder}"]
            assert here("train.py", *command[:-1], *options) == 0
            (run,) = [path for path in cells(folder) if path.name.startswith(f"review{number}")]
            run.rename(folder / f"best{number}")
        listed = f"merging.runs=[{folder}/best0,{folder}/best1]"
        assert here("train.py", *without_review(command)[:-1], "merging=average", listed, f"output={output}") == 0
        merges.append(set(cells(output)))
    assert len(merges[1]) == 2


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a wrong command is answered with."""
    capfd.readouterr()
    assert here("train.py", *arguments) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["model.pooling=cls"], "expected adapters of one pretrained model, but .* has model.pooling=mean"),
        (["model.max_length=16"], "model.max_length=32"),
        (
            ["model.layers=all", "model.combine=concat"],
            r"model.layers=last \(here all\), model.combine=mean \(here con",
        ),
        (["task.head.by=z_scores"], "task.head.by: expected log_odds as in .* but got z_scores"),
        (["precision=bf16"], "precision.infer: expected fp32 as in .* but got bf16"),
    ],
)
def test_members_unlike_the_cell_are_refused(
    command: list[str], merged: RunFolder, options: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before anything is trained."""
    runs = [str(run.path) for run in members(merged).values()]
    line = refused(capfd, *without_review(command), "merging=ties", f"merging.runs=[{','.join(runs)}]", *options)
    assert re.search(says, line)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["selection=none"], "has none to merge"),
        (["adapter=ia3"], "adapter=ia3, which changes biases too"),
        (["pruning=magnitude"], "has compressed them"),
    ],
)
def test_runs_that_cannot_be_members_are_refused(
    command: list[str],
    reviews: list[str],
    options: list[str],
    says: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """By what they are, whatever this cell's groups say."""
    assert here("train.py", *command[:-1], f"data.path={reviews[0]}", f"output={tmp_path}", *options) == 0
    (run,) = cells(tmp_path)
    assert says in refused(capfd, *without_review(command), "merging=ties", f"merging.runs=[{run},{run}x]")


@pytest.mark.parametrize("option", ["selection=fisher", "adapter.rank=2", "ranks=gora", "regime=lisa"])
def test_options_of_a_training_that_is_over_are_refused(
    command: list[str], merged: RunFolder, option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The runs were trained by others, which the cell is labelled by."""
    runs = ",".join(str(run.path) for run in members(merged).values())
    line = refused(capfd, *without_review(command), "merging=ties", f"merging.runs=[{runs}]", option)
    assert f"merging.runs: expected no {option} beside it, as these runs have trained their" in line


def test_a_merged_run_is_not_merged_again(
    command: list[str], merged: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    """It has no review of its own."""
    line = refused(capfd, *without_review(command), "merging=ties", f"merging.runs=[{merged.path},other]")
    assert "has merged others; name those that it merged" in line


def test_a_rank_above_the_width_is_refused(
    command: list[str], merged: RunFolder, reviews: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Before λ is looked for."""
    listed = f"merging.datasets=[{','.join(reviews[:2])}]"
    line = refused(capfd, *command, "merging=adamerging", "merging.steps=9999", listed, "merging.rank=99")
    assert "merging.rank: expected at most 32" in line


def test_two_adapters_of_one_review_are_refused(
    command: list[str], merged: RunFolder, reviews: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """The table has one row for each review."""
    run = members(merged)["review0"].path
    line = refused(capfd, *command, "merging=ties", f"merging.runs=[{run}]", f"merging.datasets=[{reviews[0]}]")
    assert "expected each dataset once, but got several adapters of review0" in line


def test_a_review_that_has_changed_is_refused(
    command: list[str], reviews: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Records that an adapter learnt from would be among those it is tested on."""
    own = tmp_path / "own.csv"
    shutil.copy(reviews[0], own)
    output = tmp_path / "runs"
    assert here("train.py", *command[:-1], f"output={output}", f"data.path={own}") == 0
    (run,) = cells(output)
    lines = own.read_text(encoding="utf-8").splitlines()
    own.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n", encoding="utf-8")
    line = refused(
        capfd,
        *command[:-1],
        f"output={output}",
        "merging=ties",
        f"merging.runs=[{run}]",
        f"merging.datasets=[{reviews[1]}]",
    )
    assert "the file of own has changed" in line
