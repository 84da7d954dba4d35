"""Training in turns: only the layers of a period move, and none is left resting."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import cells, here
from lightning import Callback
from resuming import attempt
from small_reviews import write_reviews
from toy_training import toy_training
from turns import ALL, SEED, Snapshots, fit, moved

from layersel.adapters.kinds.full import Full
from layersel.callbacks.moving_layers import MovingLayers
from layersel.errors import UserError
from layersel.selection.regimes.fixed import Fixed
from layersel.selection.regimes.ist import Ist
from layersel.selection.regimes.lisa import Lisa
from layersel.selection.regimes.reselect import Reselect
from layersel.sweep.rows import collect_rows


def test_only_the_drawn_layers_move(tmp_path: Path) -> None:
    """In each step exactly those of its period; all require gradients before and after; each layer has its turn."""
    regime, snapshots = Lisa(n=1, every=2), Snapshots()
    toy = fit(tmp_path, MovingLayers(regime, SEED), snapshots)
    steps = len(snapshots.taken) - 1
    seen = [moved(snapshots.taken[step], snapshots.taken[step + 1]) for step in range(steps)]
    assert sum(map(bool, seen)) >= 4  # a step of the learning rate 0 moves none
    for step, layers in enumerate(seen):
        drawn = regime.layers_at(step, [0, 1, 2], SEED, {})
        assert layers in (set(drawn), set())
        assert drawn == regime.layers_at(step - step % 2, [0, 1, 2], SEED, {})
    assert {layer for step in range(40) for layer in regime.layers_at(step, [0, 1, 2], SEED, {})} == {0, 1, 2}
    assert all(own.requires_grad for name, own in toy.parameters().items() if "lora" in name)
    assert len(toy.module.state_dict()) == len(toy.trained)


def test_all_layers_at_once_are_the_plain_training(tmp_path: Path) -> None:
    """To the last bit, as `fixed` is."""
    plain = fit(tmp_path / "plain").trained
    for name, regime in (("all", Lisa(n=3, every=1)), ("fixed", Fixed())):
        found = fit(tmp_path / name, MovingLayers(regime, SEED)).trained
        assert all(torch.equal(value, plain[own]) for own, value in found.items())


def test_layers_that_are_trained_whole_take_turns(tmp_path: Path) -> None:
    """Full fine-tuning has no adapter that a regime could look at, and is trained in turns all the same."""
    before = toy_training(tmp_path / "before", ALL, adapter=Full()).module.backbone.model.state_dict()
    after = fit(tmp_path, MovingLayers(Lisa(n=1, every=100), SEED), adapter=Full()).module.backbone.model.state_dict()
    changed = {name.split(".layer.")[1][0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {str(layer) for layer in Lisa(n=1, every=100).layers_at(0, [0, 1, 2], SEED, {})}


RESUMED = {
    "lisa": (Lisa(n=1, every=2), [1, 2, 5]),
    "reselect": (Reselect(n=2, after=3), [2, 3, 5, 6]),
    "ist": (Ist(n=1, every=2, suppressed=1, mu=1000), [1, 2, 5, 6]),
}


@pytest.mark.parametrize(("name", "step"), [(name, step) for name, (_, steps) in RESUMED.items() for step in steps])
def test_a_resumed_training_takes_the_same_turns(name: str, step: int, tmp_path: Path) -> None:
    """What a step does depends on what a checkpoint holds alone, that of the layers that rest too; from its end too."""
    first, second = (MovingLayers(RESUMED[name][0], SEED) for _ in range(2))
    whole = attempt(tmp_path / "whole", score=ALL, callbacks=[first])
    (tmp_path / "resumed").mkdir()
    shutil.copytree(tmp_path / "whole" / "logs", tmp_path / "resumed" / "logs")
    checkpoint = tmp_path / "whole" / "checkpoints" / f"{step}.ckpt"
    resumed = attempt(tmp_path / "resumed", checkpoint, score=ALL, callbacks=[second])
    assert second.state == first.state
    assert resumed.trained.keys() == whole.trained.keys()
    assert all(torch.equal(resumed.trained[name], value) for name, value in whole.trained.items())
    assert resumed.seen == {number: seen for number, seen in whole.seen.items() if number >= step}


def test_an_error_leaves_no_layer_resting(tmp_path: Path) -> None:
    """What is left can be trained; more layers than there are is one line."""

    class Broken(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("broken")

    toy = toy_training(tmp_path, ALL, callbacks=[MovingLayers(Lisa(n=1), SEED), Broken()])
    with pytest.raises(RuntimeError, match="broken"):
        toy.fit()
    assert all(own.requires_grad for name, own in toy.parameters().items() if "lora" in name)
    with pytest.raises(UserError, match=r"^regime\.n: expected at most 3, the layers with an adapter, but got 4$"):
        fit(tmp_path, MovingLayers(Lisa(n=4), SEED))
    assert Lisa(n=0, every=0).problems() == [
        "regime.n: expected at least 1, but got 0",
        "regime.every: expected at least 1, but got 0",
    ]


def test_a_cell_trains_in_turns(tiny_model_folder: Path, small_cell: list[str], tmp_path: Path) -> None:
    """From the command line, the same twice; a plain cell gives other numbers; what cannot be is one line."""
    (review,) = write_reviews(tmp_path, 1, size=20)
    common = [*small_cell, f"data.path={review}", "selection=all", "selection.n=null", "task.learning_rate=0.05"]
    found = {}
    for name, options in (("lisa", ["regime=lisa", "regime.n=1", "regime.every=1"]), ("again", None), ("fixed", [])):
        own = ["regime=lisa", "regime.n=1", "regime.every=1"] if options is None else options
        assert here("train.py", *common, *own, f"output={tmp_path / name}", "shared=null") == 0
        (cell,) = cells(tmp_path / name)
        found[name] = (cell / "adapter" / "adapter_model.safetensors").read_bytes()
    assert found["lisa"] == found["again"] != found["fixed"]
    assert here("train.py", *common, "regime=reselect", "regime.n=1", f"output={tmp_path / 'one'}", "shared=null") == 0
    (cell,) = cells(tmp_path / "one")
    chosen = json.loads((cell / "selection.json").read_text())
    config = json.loads((cell / "adapter" / "adapter_config.json").read_text())
    (layer,) = chosen["layers"]
    assert (chosen["score"], chosen["reasons"][layer]) == ("drift", "rank 1 of 4 after 1 step; kept")
    assert {name.split(".layer.")[1].split(".")[0] for name in config["target_modules"]} == {str(layer)}
    (row,) = collect_rows([tmp_path / "one"]).rows
    assert (row.layers, row.scores) == (str(layer), None)  # they are not of `selection=all`
    assert here("train.py", *common, "regime=lisa", "adapter=tied_lora", f"output={tmp_path / 'no'}") == 2
