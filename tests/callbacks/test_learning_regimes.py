"""Regimes that look at the training: what they choose is what naive formulas say, and what they leave is consistent."""

import math
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning import LightningModule, Trainer
from models import bert, padded, ragged, seeded
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import BertModel
from turns import SEED, Snapshots, fit, moved

from layersel.adapters.adapter import Adapter
from layersel.adapters.kinds.dora import Dora
from layersel.adapters.kinds.full import Full
from layersel.adapters.kinds.ia3 import IA3
from layersel.adapters.kinds.lora import Lora
from layersel.adapters.kinds.pissa import Pissa
from layersel.adapters.kinds.qlora import Qlora
from layersel.adapters.loading import load_adapter
from layersel.adapters.placed import PeftPlaced
from layersel.backbone.backbone import Backbone
from layersel.callbacks.best_weights import BestWeights
from layersel.callbacks.moving_layers import MovingLayers
from layersel.cell.rules import RULES
from layersel.errors import UserError
from layersel.selection.rank_rule import RankRule
from layersel.selection.ranks.proportional import Proportional
from layersel.selection.ranks.uniform import Uniform
from layersel.selection.regime import AfterStep, Regime, State
from layersel.selection.regimes.ist import Ist
from layersel.selection.regimes.lisa import Lisa
from layersel.selection.regimes.reselect import Reselect

LAYERS = [0, 1, 2]


def change(weights: dict[str, Tensor], layer: int, name: str) -> Tensor:
    """scale·B·A of a projection of the toy training's LoRA of rank 4, scale 2."""
    (up,) = [own for key, own in weights.items() if f"layer.{layer}." in key and f"{name}.lora_B" in key]
    (down,) = [own for key, own in weights.items() if f"layer.{layer}." in key and f"{name}.lora_A" in key]
    return 2 * up.double() @ down.double()


@pytest.mark.parametrize("relative", [False, True])
def test_the_layers_that_moved_most_go_on(relative: bool, tmp_path: Path) -> None:
    """All move until the choice, by ‖ΔW‖; after it the kept one alone, from where it was; nothing else is left."""
    regime, snapshots, plain = Reselect(n=1, after=3, relative=relative), Snapshots(), Snapshots()
    moving = MovingLayers(regime, SEED)
    toy = fit(tmp_path / "own", moving, snapshots)
    fit(tmp_path / "plain", plain)
    for before, after in zip(snapshots.taken[:4], plain.taken[:4], strict=True):
        assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert moved(snapshots.taken[0], snapshots.taken[3]) == set(LAYERS)
    expected = []
    for layer in LAYERS:
        attention = toy.module.backbone.layers[layer].attention.self
        parts = [(change(snapshots.taken[3], layer, name), getattr(attention, name)) for name in ("query", "value")]
        square = sum(float((own**2).sum()) for own, _ in parts)
        size = sum(float((getattr(part, "base_layer", part).weight.double() ** 2).sum()) for _, part in parts)
        expected.append(math.sqrt(square / size if relative else square))
    assert moving.state["drifts"] == pytest.approx(expected, rel=1e-6)
    kept = expected.index(max(expected))
    assert moved(snapshots.taken[3], snapshots.taken[-1]) == {kept}
    assert toy.module.placed.layers == [kept]
    assert toy.selector.selection is not None
    selection = regime.chosen(toy.selector.selection, moving.state)
    assert (selection.score, selection.layers) == ("drift", [kept])
    assert selection.scores == moving.state["drifts"]
    assert selection.reasons[kept] == "rank 1 of 3 after 3 steps; kept"
    assert {f"layer.{kept}." in name for name in toy.trained} == {True}
    toy.module.placed.save(tmp_path / "adapter")
    fresh = Backbone(seeded(lambda: BertModel(bert(num_hidden_layers=3))), pooling="mean")
    assert load_adapter(fresh, tmp_path / "adapter").layers == [kept]
    texts = padded(fresh.model, ragged())
    with torch.no_grad():
        assert torch.equal(fresh.eval()(texts), toy.module.backbone.eval()(texts))


def test_what_is_not_kept_is_off_at_once(tmp_path: Path) -> None:
    """From the step of the choice on the other layers are the pretrained ones, and the optimizer forgets them."""

    class Watch(Snapshots):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            parts = [own for own in pl_module.modules() if isinstance(own, BaseTunerLayer)]
            self.off = getattr(self, "off", [])
            self.off.append((sum(own.disable_adapters for own in parts), len(trainer.optimizers[0].state)))

    watch = Watch()
    fit(tmp_path, MovingLayers(Reselect(n=2, after=2), SEED), watch)
    assert [off for off, _ in watch.off] == [0, 0, 2, 2, 2, 2]
    assert [states for _, states in watch.off] == [0, 12, 8, 8, 8, 8]


def test_all_kept_is_the_plain_training(tmp_path: Path) -> None:
    """To the last bit; every layer trained at a time is it too, however the importance moves."""
    plain = fit(tmp_path / "plain").trained
    for name, regime in (("kept", Reselect(n=3)), ("ist", Ist(n=3, every=2))):
        found = fit(tmp_path / name, MovingLayers(regime, SEED)).trained
        assert found.keys() == plain.keys()
        assert all(torch.equal(value, plain[own]) for own, value in found.items())


def test_changes_of_any_rank_are_compared(tmp_path: Path) -> None:
    """DoRA, whose change is no product of two factors, is compared by its matrices."""
    toy = fit(tmp_path, MovingLayers(Reselect(n=2, after=2), SEED), adapter=Dora(rank=4))
    placed = cast("PeftPlaced", toy.module.placed)
    dense = {name: own.dense for name, own in placed.changes().items()}
    found = placed.squared_changes()
    assert len(found) == 4
    assert found == pytest.approx({name: float((own.double() ** 2).sum()) for name, own in dense.items()})


def test_the_importance_follows_the_published_rule() -> None:
    """After each update it is what the published code computes, in which a high number marks a layer to suppress."""
    regime = Ist(every=2, candidates=3, suppressed=2, mu=10)
    worth = torch.tensor([0.1, 0.7, 0.3, 0.9], dtype=torch.float64)
    tried: list[tuple[list[int], float]] = []

    def loss(layers: Collection[int], beta: float) -> float:
        assert beta == 0.25
        places = [own - 2 for own in layers]
        tried.append((places, 0.2 + float(worth[places].sum())))
        return tried[-1][1]

    trained = AfterStep(cast("Backbone", None), [2, 3, 4, 5], 10, dict, loss)
    state: State = {}
    assert regime.after_step(1, SEED, state, trained) is state
    score = torch.zeros(4, dtype=torch.float64)  # the code's
    for done in (2, 4, 6):
        tried.clear()
        state = regime.after_step(done, SEED, state, trained)
        assert len({tuple(places) for places, _ in tried}) == 3
        rewards = torch.tensor([-own for _, own in tried], dtype=torch.float64).exp()
        rewards -= rewards.mean()
        chance = score.sigmoid()
        for (places, _), reward in zip(tried, rewards, strict=True):
            for place in places:
                score[place] += reward * chance[place] * (1 - chance[place]) * 10
        assert state["importance"] == pytest.approx((-score).tolist(), rel=1e-12)
    for _ in range(40):
        done += 2
        state = regime.after_step(done, SEED, state, trained)
    assert torch.tensor(state["importance"]).argsort().tolist() == worth.argsort().tolist()


def test_layers_are_drawn_by_their_importance() -> None:
    """One layer at a time, as often as σ(I) says; the same for the same step, whatever was drawn before."""
    state = {"importance": [2.0, -1.0, 0.5]}
    drawn = [Ist(n=1).layers_at(step, [4, 5, 8], SEED, state) for step in range(2000)]
    chances = torch.tensor(state["importance"]).sigmoid()
    for layer, chance in zip([4, 5, 8], (chances / chances.sum()).tolist(), strict=True):
        assert drawn.count([layer]) / 2000 == pytest.approx(chance, abs=0.03)
    assert Ist(n=1).layers_at(7, [4, 5, 8], SEED, state) == drawn[7]


def test_a_suppressed_adapter_adds_less_to_the_loss_of_the_step(tmp_path: Path) -> None:
    """The loss is that with a smaller scale, without dropout; dropout's draws and the model are left as they were."""
    seen: list[tuple[float, float]] = []

    class Look(Ist):
        def after_step(self, done: int, seed: int, state: State, trained: AfterStep) -> State:
            found = trained.loss([0, 2], 0.25)
            module, scaled = toy_of[0], [own for own in trained.backbone.modules() if isinstance(own, LoraLayer)]
            modes = [own.training for own in module.modules()]
            module.eval()
            for own in (*scaled[:2], *scaled[4:]):
                own.scaling["default"] *= 0.25
            with torch.no_grad():
                seen.append((cast("float", found), float(module.loss(batches[-1]))))
            for own in (*scaled[:2], *scaled[4:]):
                own.scaling["default"] *= 4
            for own, mode in zip(module.modules(), modes, strict=True):
                own.training = mode
            return super().after_step(done, seed, state, trained)

    toy_of: list[Any] = []
    batches: list[Any] = []

    class Batches(Snapshots):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, _: int) -> None:
            toy_of[:] = [pl_module]
            batches.append(batch)

    options: dict[str, Any] = {"adapter": Lora(rank=4, dropout=0.3), "dropout": True}
    looked = fit(tmp_path / "look", MovingLayers(Look(n=3, every=1), SEED), Batches(), **options).trained
    assert len(seen) == 6
    assert [found for found, _ in seen] == pytest.approx([naive for _, naive in seen], rel=1e-5)
    plain = fit(tmp_path / "plain", **options).trained
    assert all(torch.equal(value, plain[name]) for name, value in looked.items())


def test_epochs_before_the_choice_are_not_the_best(tmp_path: Path) -> None:
    """Early stopping neither ends a training before it nor takes weights from before it, when layers were others."""
    best = BestWeights(patience=1)
    regime = Reselect(n=1, after=3)
    fit(tmp_path, MovingLayers(regime, SEED), best_first := BestWeightsOff(1))
    assert best_first.first_step == 3
    best.first_step = 3
    losses = iter([1.0, 2.0, 5.0, 4.0])
    module: Any = SimpleNamespace(
        log=lambda *_, **__: None, state_dict=dict, modules=list, eval=lambda: None, training=False
    )
    module.validation_loss = lambda: next(losses)
    trainer: Any = SimpleNamespace(global_step=0, should_stop=False)
    stopped = []
    for trainer.global_step in (1, 2, 3, 4):
        best.on_train_epoch_end(trainer, module)
        stopped.append(trainer.should_stop)
    assert (best.best, stopped) == (4.0, [False] * 4)


class BestWeightsOff(BestWeights):
    """One that measures nothing, for a module without validation examples."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures nothing."""


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    """More layers or steps than there are before the training; nothing to compare; a loss that is not finite."""
    refused = {
        r"^regime\.n: expected at most 3, the layers with an adapter, but got 4$": [Reselect(n=4), Ist(n=4)],
        r"^regime\.after: expected fewer than the 6 steps of the adapters' training, but got 6$": [Reselect(after=6)],
        r"^regime\.suppressed: expected fewer than the 3 layers with an adapter, but got 3; ": [Ist(suppressed=3)],
    }
    for line, regimes in refused.items():
        for regime in regimes:
            with pytest.raises(UserError, match=line):
                fit(tmp_path, MovingLayers(regime, SEED))
    with pytest.raises(UserError, match=r"^regime\.after: no adapter has moved by step 1; use more steps, or regime="):
        fit(tmp_path, MovingLayers(Reselect(after=1), SEED), warmup=0.5)  # the first step has the rate 0
    lost = AfterStep(cast("Backbone", None), LAYERS, 10, dict, lambda *_: math.nan)
    with pytest.raises(UserError, match=r"^regime=ist: the loss with suppressed layers is .*; lower task\.learning"):
        Ist(every=1).after_step(1, SEED, {}, lost)
    undefined = AfterStep(cast("Backbone", None), LAYERS, 10, dict, lambda *_: None)
    assert Ist(every=1).after_step(1, SEED, {}, undefined) == {}
    assert Reselect(n=0, after=2.5).problems() == [
        "regime.n: expected a count (1, 2, …) or a share such as 0.5, but got 0",
        "regime.after: expected a count (1, 2, …) or a share such as 0.5, but got 2.5",
    ]
    assert Ist(every=0, candidates=1, beta=1, mu=0).problems() == [
        "regime.every: expected at least 1, but got 0",
        "regime.candidates: expected at least 2, but got 1",
        "regime.beta: expected 0 <= beta < 1, but got 1",
        "regime.mu: expected a number above 0, but got 0",
    ]


def test_what_does_not_go_together_is_refused() -> None:
    """Adapters that a layer cannot be without, changes that are not only matrices, ranks given before the choice."""

    def line(regime: Regime, adapter: Adapter, ranks: RankRule | None = None) -> str:
        cell: Any = SimpleNamespace(regime=regime, adapter=adapter, ranks=ranks or Uniform())
        return str(RULES["regime_can_compare_layers"](cell))

    for regime in (Ist(), Reselect()):
        for adapter in (Full(), Pissa()):
            assert line(regime, adapter).startswith(f"regime={regime.name}: adapter={adapter.name} changes the pretr")
    assert line(Reselect(), IA3()).startswith("regime=reselect: adapter=ia3 changes biases too")
    assert line(Reselect(), Lora(), Proportional()).startswith("regime=reselect: ranks=proportional favours some")
    assert line(Reselect(relative=True), Qlora()).startswith("regime.relative: adapter=qlora has quantised")
    for regime, adapter in ((Ist(), IA3()), (Ist(), Qlora()), (Reselect(), Qlora()), (Lisa(), Full())):
        assert line(regime, adapter) == "None"
