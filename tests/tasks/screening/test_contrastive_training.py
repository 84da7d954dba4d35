"""The contrastive training through a real Lightning trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from toy_training import N_TRAIN, toy_training

from layersel.adapters.kinds.adalora import AdaLora
from layersel.adapters.kinds.lora import Lora
from layersel.backbone.modes import evaluating
from layersel.errors import UserError
from layersel.selection.score import score_named
from layersel.tasks.screening.losses.pairwise import pairwise_contrastive_loss


class Losses(Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep it."""
        self.values.append(float(outputs["loss"]))


def test_only_the_adapter_learns(tmp_path: Path) -> None:
    """Every LoRA matrix of the chosen layers moves; every pretrained weight stays, bit by bit."""
    reference = toy_training(tmp_path)
    pretrained = [value.clone() for value in reference.parameters().values()]
    training = toy_training(tmp_path).fit()
    assert len(training.trained) == 2 * 2 * 2  # A and B, query and value, two layers
    assert all("layer.1." in name or "layer.2." in name for name in training.trained)
    assert all(value.abs().max() > 0 for name, value in training.trained.items() if "lora_B" in name)
    frozen = [value for name, value in training.parameters().items() if "lora" not in name]
    assert all(torch.equal(before, after) for before, after in zip(pretrained, frozen, strict=True))


def test_dropout_of_the_adapter_is_on_without_that_of_the_model(tmp_path: Path) -> None:
    """`adapter.dropout` changes what is learnt even where `task.dropout` is off."""
    plain, dropped = (
        toy_training(tmp_path).fit().trained,
        toy_training(tmp_path, adapter=Lora(rank=4, dropout=0.5)).fit().trained,
    )
    assert all(not torch.equal(plain[name], dropped[name]) for name in plain)


def test_classes_come_apart(tmp_path: Path) -> None:
    """The loss falls, and afterwards the classes' mean vectors are further apart than before."""
    losses = Losses()
    training = toy_training(tmp_path, callbacks=[losses], epochs=8).fit()
    assert sum(losses.values[-6:]) / 6 < sum(losses.values[:6]) / 6 - 0.5
    batch = training.module.backbone.batch(training.data.train_tokens)
    with evaluating(training.module.backbone):
        after = training.module.backbone(batch)
        with training.module.placed.disabled():
            before = training.module.backbone(batch)
    left, right = torch.combinations(torch.arange(N_TRAIN)).unbind(1)
    same = left % 2 == right % 2
    losses_of_all = [pairwise_contrastive_loss(x[left], x[right], same, 0.2) for x in (before, after)]
    assert losses_of_all[1] < losses_of_all[0] - 0.5


@pytest.mark.parametrize("dropout", [True, False])
def test_the_same_seed_gives_the_same_bits(tmp_path: Path, dropout: bool) -> None:
    """And another seed another adapter."""
    first, again, other = (toy_training(tmp_path, seed=seed, dropout=dropout).fit().trained for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_dropout_is_used_when_asked_for(tmp_path: Path) -> None:
    """In the trained layers, though everything below is in evaluation mode."""
    with_dropout, without = (toy_training(tmp_path, dropout=dropout).fit().trained for dropout in (True, False))
    assert any(not torch.equal(with_dropout[name], without[name]) for name in without)


@pytest.mark.parametrize("dropout", [True, False])
def test_the_prefix_cache_changes_nothing(tmp_path: Path, dropout: bool) -> None:
    """Kept, recomputed and half kept hidden states train the same adapter, also with dropout above the prefix."""
    whole, without = (toy_training(tmp_path, prefix_cache_mb=size, dropout=dropout).fit() for size in (64, 0))
    assert len(whole.module._texts) == N_TRAIN  # type: ignore[arg-type]
    assert len(without.module._texts) == 0  # type: ignore[arg-type]
    for name, value in whole.trained.items():
        torch.testing.assert_close(without.trained[name], value, rtol=1e-4, atol=1e-5)


def test_a_batch_without_a_loss_is_skipped(tmp_path: Path) -> None:
    """With two pairs a batch many have one kind only; the others train."""
    training = toy_training(tmp_path, batch_size=2).fit()
    assert 0 < training.module.skipped_batches < 2 * 24
    assert all(value.isfinite().all() for value in training.trained.values())
    assert any(value.abs().max() > 0 for name, value in training.trained.items() if "lora_B" in name)


def test_a_training_without_any_loss_is_an_error(tmp_path: Path) -> None:
    """One line that says what to change, instead of an adapter that never learnt."""
    training = toy_training(tmp_path, batch_size=8)
    training.data.labels = torch.zeros(N_TRAIN, dtype=torch.long)
    with pytest.raises(UserError, match=r"^task\.batch_size: all 12 batches of \d+ pairs lacked .* larger batches$"):
        training.fit()


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    """At once, with the step and the remedy."""
    with pytest.raises(UserError, match=r"the loss is nan at step \d+; lower task\.learning_rate"):
        toy_training(tmp_path, learning_rate=1e30, warmup=0.0).fit()


def test_no_layers_no_training(tmp_path: Path) -> None:
    """selection=none leaves the encoder as it was, without an optimizer and without a complaint."""
    losses = Losses()
    training = toy_training(tmp_path, score=score_named("none"), callbacks=[losses]).fit()
    assert losses.values == []
    assert training.trained == {}
    assert training.module.placed.layers == []
    assert not any(value.requires_grad for value in training.parameters().values())


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint after one of three epochs, and the adapter after all of them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    keep = ModelCheckpoint(folder, "{epoch}", every_n_epochs=1, save_top_k=-1)
    training = toy_training(folder, epochs=3, callbacks=[keep]).fit()
    return folder / "epoch=0.ckpt", training.trained


def test_a_checkpoint_holds_the_adapter_only(interrupted: tuple[Path, dict[str, Tensor]]) -> None:
    """It can be read without unpickling code, and has no pretrained weight in it."""
    content = torch.load(interrupted[0], weights_only=True)
    assert content["state_dict"].keys() == interrupted[1].keys()
    assert content["callbacks"]["LayerSelection"]["selection"]["layers"] == [1, 2]


def test_a_resumed_training_may_also_name_its_checkpoint_in_fit(
    tmp_path: Path, interrupted: tuple[Path, dict[str, Tensor]]
) -> None:
    """Too late for the callback, which scores again with the same outcome."""
    checkpoint, expected = interrupted
    training = toy_training(tmp_path, epochs=3)
    training.trainer.fit(training.module, training.data, ckpt_path=str(checkpoint))
    torch.testing.assert_close(training.trained, expected, rtol=0, atol=0)


def test_a_checkpoint_of_other_layers_is_refused(tmp_path: Path, interrupted: tuple[Path, dict[str, Tensor]]) -> None:
    """Parameters that have no counterpart are never dropped in silence."""
    training = toy_training(tmp_path, score=score_named("first", n=1)).fit()
    with pytest.raises(RuntimeError, match="the checkpoint's parameters differ in"):
        training.module.load_state_dict(torch.load(interrupted[0], weights_only=True)["state_dict"])


def test_adalora_survives_a_skipped_batch(tmp_path: Path) -> None:
    """A batch without a loss leaves no gradients for it to look at."""
    training = toy_training(tmp_path, batch_size=2, epochs=1, adapter=AdaLora(rank=4, target_rank=2)).fit()
    assert 0 < training.module.skipped_batches < training.module.global_step
    assert all(value.isfinite().all() for value in training.parameters().values())
