"""The training of a head and an adapter: steps of several batches, clipping, schedules, unfreezing, early stopping."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_classification import N_TRAIN, Done, trained
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from layersel.callbacks.best_weights import VALIDATION_LOSS
from layersel.callbacks.checkpoint_file import read_checkpoint
from layersel.callbacks.logged_rows import LoggedRows
from layersel.errors import UserError
from layersel.selection.score import score_named
from layersel.training.adapter_module import LOSS
from layersel.training.schedules import schedule


def rows(done: Done, name: str) -> list[float]:
    """What was logged under a name."""
    (logged,) = (logger.rows for logger in done.trainer.loggers if isinstance(logger, LoggedRows))
    return [row[name] for row in logged if name in row]


def assert_close(one: Done, other: Done) -> None:
    """The trained parameters are the same but for rounding."""
    assert one.parameters.keys() == other.parameters.keys()
    for name, value in one.parameters.items():
        assert torch.allclose(value, other.parameters[name], atol=2e-5), name


def test_two_batches_of_a_step_are_one_of_twice_the_size(tmp_path: Path) -> None:
    """Batches of 2 with accumulate=2 train as batches of 4; the last step of an epoch has one batch of two."""
    whole = trained(tmp_path / "whole", batch_size=4, epochs=3)
    parts = trained(tmp_path / "parts", batch_size=2, accumulate=2, epochs=3)
    assert parts.trainer.global_step == whole.trainer.global_step == 12
    assert_close(parts, whole)
    assert rows(parts, LOSS) == pytest.approx(rows(whole, LOSS), abs=1e-5)


def test_a_gradient_is_clipped_to_its_norm(tmp_path: Path) -> None:
    """A tiny norm leaves AdamW's direction and takes the size from clipped gradients: another training than without."""
    plain, high, low = (trained(tmp_path / str(clip), clip=clip) for clip in (None, 1e6, 1e-9))
    assert all(torch.equal(value, high.parameters[name]) for name, value in plain.parameters.items())
    moved = [
        sum(float((own[name] - plain_start(tmp_path)[name]).norm()) for name in own)
        for own in (plain.parameters, low.parameters)
    ]
    assert moved[1] < moved[0] / 2  # gradients of 1e-9 are small against AdamW's epsilon of 1e-8


def plain_start(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters before the first step."""
    return read_checkpoint(folder / "None" / "checkpoints" / "0.ckpt")["state_dict"]  # type: ignore[no-any-return]


REFERENCES: dict[str, Any] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "constant": lambda optimizer, warmup, steps: get_constant_schedule_with_warmup(optimizer, warmup),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("warmup", [0, 3])
def test_schedules_are_those_of_transformers(name: str, warmup: int) -> None:
    """Bit by bit, in each step; what begins later has the same course over the rest."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = REFERENCES[name](optimizer, warmup, 11)
    own, later = schedule(name, warmup, 11), schedule(name, warmup, 15, start=4)
    for step in range(11):
        assert own(step) == later(step + 4) == reference.get_last_lr()[0]
        optimizer.step()
        reference.step()
    assert [later(step) for step in range(4)] == [0.0] * 4


def test_the_head_is_trained_without_an_adapter(tmp_path: Path) -> None:
    """`selection=none` trains the head alone; the loss falls."""
    done = trained(tmp_path, score=score_named("none"), epochs=8, head_learning_rate=0.05)
    assert set(done.parameters) == {"head.linear.weight", "head.linear.bias"}
    losses = rows(done, LOSS)
    assert len(losses) == 8 * math.ceil(N_TRAIN / 4)
    assert losses[-1] < losses[0] / 2


def test_the_adapter_waits_to_be_unfrozen(tmp_path: Path) -> None:
    """For so many steps the adapter stays as placed, bit by bit, while the head moves; a share counts steps too."""
    done = trained(tmp_path, unfreeze_after=0.375, lora_dropout=0.5)  # of 8 steps: 3
    start = plain_weights(tmp_path)
    for number in range(8):
        now = done.watch.seen[number]["parameters"]
        moved = {name for name in now if not torch.equal(now[name], start[name])}
        assert any("lora" in name for name in moved) == (number >= 3), number
        assert ("head.linear.weight" in moved) == (number > 0)  # the rate of the first step is 0
        assert (done.watch.seen[number]["rates"][0] > 0) == (3 <= number + 1 < 8), number


def plain_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters in the first checkpoint."""
    return read_checkpoint(folder / "checkpoints" / "0.ckpt")["state_dict"]  # type: ignore[no-any-return]


def test_an_adapter_that_would_stay_frozen_is_refused(tmp_path: Path) -> None:
    """The message says how many steps there are."""
    with pytest.raises(UserError, match=r"^task\.unfreeze_after: expected fewer than the 8 steps .* got 20; .*none"):
        trained(tmp_path, unfreeze_after=20)


RESUMED = {
    "accumulate": {"batch_size": 2, "accumulate": 3, "clip": 0.5},
    "unfreeze": {"unfreeze_after": 3},
    "patience": {"patience": 1, "epochs": 6, "head_learning_rate": 0.3, "learning_rate": 0.1},
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_training_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    """From every checkpoint on losses, rates and parameters are the same, and so is what is taken at the end."""
    options = {"lora_dropout": 0.3, "schedule": "cosine"} | RESUMED[name]
    whole = trained(tmp_path / "whole", **options)
    files = sorted((tmp_path / "whole" / "checkpoints").glob("*.ckpt"), key=lambda file: file.stem)
    steps = {read_checkpoint(file)["global_step"]: file for file in files}
    assert len(steps) == whole.trainer.global_step + 1  # one before each step, and `last.ckpt`
    for file in steps.values():
        resumed = trained(tmp_path / file.stem, file, **options)
        assert resumed.trainer.global_step == whole.trainer.global_step
        assert resumed.parameters.keys() == whole.parameters.keys()
        assert all(torch.equal(value, whole.parameters[own]) for own, value in resumed.parameters.items()), file
        for number, seen in resumed.watch.seen.items():
            expected = whole.watch.seen[number]
            assert (seen["loss"], seen["rates"], seen["texts"]) == (
                expected["loss"],
                expected["rates"],
                expected["texts"],
            )
        for own in (LOSS, VALIDATION_LOSS):
            assert rows(resumed, own) == rows(whole, own)


def test_no_checkpoint_stands_within_a_step(tmp_path: Path) -> None:
    """Gradients that are not yet a step are in no checkpoint, so none is written there."""
    trained(tmp_path, batch_size=2, accumulate=3, epochs=1)
    done = [
        read_checkpoint(file)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
        for file in sorted((tmp_path / "checkpoints").glob("[0-9].ckpt"))
    ]
    assert set(done) <= {0, 3, 6}


def test_the_best_weights_are_taken(tmp_path: Path) -> None:
    """Training ends `patience` epochs after the least validation loss, whose weights the module has then."""
    options = {"epochs": 12, "head_learning_rate": 0.5, "learning_rate": 0.1, "schedule": "constant"}
    done = trained(tmp_path / "stopped", patience=2, **options)
    losses = rows(done, VALIDATION_LOSS)
    best = losses.index(min(losses))
    assert best + 3 == len(losses) < 12
    assert done.module.validation_loss() == pytest.approx(losses[best], rel=1e-6)
    patient = trained(tmp_path / "patient", patience=100, **options)
    every = rows(patient, VALIDATION_LOSS)
    assert every[: len(losses)] == losses  # stopping changes nothing before
    assert patient.module.validation_loss() == pytest.approx(min(every), rel=1e-6)


def test_validation_leaves_the_training_alone(tmp_path: Path) -> None:
    """With dropout on, a training that is validated after each epoch has the losses of one that is not."""
    plain = trained(tmp_path / "plain", lora_dropout=0.5, dropout=True)
    watched = trained(tmp_path / "watched", lora_dropout=0.5, dropout=True, patience=100)
    assert rows(plain, LOSS) == rows(watched, LOSS)


def test_a_balanced_loss_weighs_classes_alike(tmp_path: Path) -> None:
    """The weights times the numbers of examples are the same for both classes, 1 on average."""
    targets = torch.tensor([1.0] * 3 + [0.0] * 27, dtype=torch.float64)
    weights = trained(tmp_path, class_weights="balanced", targets=targets, epochs=1).module.class_weights
    assert weights is not None
    assert (weights * torch.tensor([11, 3])).tolist() == pytest.approx([7, 7])


def test_a_number_is_learnt_on_its_own_scale(tmp_path: Path) -> None:
    """Numbers of about 100 are trained as their standard scores and predicted as they are."""
    done = trained(tmp_path, numbers=True, epochs=20, head_learning_rate=0.05)
    assert rows(done, LOSS)[0] < 5
    vectors = done.module._prepared().vectors(range(N_TRAIN))
    done.module.eval()
    with torch.no_grad():
        predicted = done.module.trained_head().outputs(vectors.detach())[:, 0]
    expected = torch.arange(N_TRAIN).double() % 2 + 100
    assert float((predicted - expected).abs().max()) < 0.5
    assert list(itertools.islice(done.module.trained_head().classes, 1)) == []
