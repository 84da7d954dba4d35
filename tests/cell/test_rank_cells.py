"""Cells whose modules have ranks of their own, from the command line to what is loaded and merged again."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from in_process import cells, here
from safetensors.torch import load_file
from small_reviews import write_reviews

from layersel.cell.options import Cell
from layersel.config import CONF, build
from layersel.errors import UserError
from layersel.runs.folder import RunFolder
from layersel.selection.selection import Selection

RANKED = ["ranks=proportional", "selection=cka", "selection.n=3", "selection.bootstrap=0", "adapter.rank=4"]


def test_a_cell_with_ranks(small_cell: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The saved adapter has the ranks of the selection; judged again it is the same."""
    (review,) = write_reviews(tmp_path, 1)
    assert here("train.py", *small_cell, *RANKED, f"data.path={review}", f"output={tmp_path / 'runs'}") == 0
    printed = capfd.readouterr().out
    assert "adapter rank" in printed
    assert "1,536 parameters of the 1,536 that rank 4 everywhere has" in printed
    (folder,) = cells(tmp_path / "runs")
    run = RunFolder(folder)
    own = Selection.load(run.selection).allocation
    assert own is not None
    tensors = load_file(run.adapter / "adapter_model.safetensors")
    ranks = {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): len(value)
        for name, value in tensors.items()
        if "lora_A" in name
    }
    assert ranks == own.ranks
    assert len(set(ranks.values())) > 1
    assert run.read_identity()["options"]["ranks"] == "proportional"
    assert here("evaluate.py", f"run={run.path}", f"out={tmp_path / 'out.json'}", "trainer=cpu") == 0
    metrics = run.read_metrics()
    for name, value in json.loads((tmp_path / "out.json").read_text(encoding="utf-8")).items():
        assert value == pytest.approx(metrics[name], abs=1e-6), name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["adapter=tied_lora"],
            "selection.max_parameters: expected an adapter whose .* but got adapter=tied_lora; use",
        ),
        (
            ["adapter=frozen"],
            "selection.max_parameters: expected an adapter .* but got adapter=frozen; use selection.n",
        ),
        (
            ["ranks=proportional", "ranks.parameters=500"],
            "ranks.parameters=500: selection.max_parameters limits these already; use ranks.parameters=null",
        ),
    ],
)
def test_a_budget_of_parameters_that_cannot_be_kept_is_refused(
    options: list[str], expected: str, tmp_path: Path
) -> None:
    """In one line, before anything is read."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["selection.max_parameters=900", f"output={tmp_path}", *options])
    with pytest.raises(UserError, match=expected) as refused:
        build(config, Cell)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["adapter=adalora"], "ranks=proportional: adapter=adalora does not take a rank for each module; use ranks="),
        (
            ["selection=last"],
            "ranks=proportional: selection=last measures nothing that ranks could follow; use another",
        ),
        (["selection=none"], "ranks=proportional: selection=none chooses no layer; use another score, such as cka, or"),
        (["ranks.r_min=9"], "ranks.r_min=9: expected r_min <= rank <= r_max, as the budget is that of the rank every"),
        (["ranks.temperature=-1"], "ranks.temperature: expected a number of at least 0, but got -1"),
    ],
)
def test_what_has_no_ranks_is_refused(options: list[str], expected: str, tmp_path: Path) -> None:
    """In one line, before anything is read."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["ranks=proportional", f"output={tmp_path}", *options])
    with pytest.raises(UserError) as refused:
        build(config, Cell)
    assert str(refused.value).startswith(expected)
    assert "\n" not in str(refused.value)
