"""A warm-up trains what a cell with LoRA in all layers would train, and leaves the pretrained model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from in_process import here
from lightning import Trainer
from safetensors.torch import load_file
from small_reviews import write_reviews
from torch import Tensor
from toy_training import N_LAYERS, ToyTraining, toy_training

from layersel.adapters.adapter import Adapter
from layersel.adapters.kinds.adalora import AdaLora
from layersel.adapters.kinds.full import Full
from layersel.adapters.kinds.ia3 import IA3
from layersel.adapters.kinds.lora import Lora
from layersel.adapters.kinds.rslora import RsLora
from layersel.adapters.kinds.vera import Vera
from layersel.backbone.layers import find_linear, weight_OI
from layersel.cell import shared as cell_shared
from layersel.cell.options import Cell
from layersel.cell.rules import warm_up_needs_steps
from layersel.cell.shared import Shared
from layersel.cell.warm_up import WarmUp, plain_lora
from layersel.compression.precision import Precision
from layersel.config import build_group, choice
from layersel.errors import UserError
from layersel.runs.code import code_of
from layersel.runs.fingerprints import fingerprint
from layersel.runs.folder import RunFolder
from layersel.selection.score import LayerScores, Probe, score_named
from layersel.training.options import TrainerOptions

MOVING = {"learning_rate": 0.05, "warmup": 0.0}


def warm_up(toy: ToyTraining, folder: Path, **options: Any) -> WarmUp:
    """The warm-up of a cell with the toy's model, data and loss."""
    trainer = TrainerOptions(accelerator="cpu", threads=1, checkpoint_seconds=0)
    own = {"adapter": Lora(rank=4), "selection": score_named("drift"), "trainer": trainer} | options
    own |= {name: build_group(name, choice(name, "none")) for name in ("pruning", "merging")}
    cell = Cell(**{"task": toy.module.options, "precision": Precision()} | own)  # type: ignore[arg-type]
    problem: Any = SimpleNamespace(module=lambda backbone: type(toy.module)(backbone, toy.module.options))
    return WarmUp(cell, problem, toy.module.backbone, toy.data, RunFolder(folder))


def factors(toy: ToyTraining, tmp_path: Path, *arguments: Any, **options: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """What a warm-up trains."""
    with warm_up(toy, tmp_path, **options)(*(arguments or (None, None, None))) as warm:
        return dict(warm.factors)


def assert_same(found: dict[str, tuple[Tensor, Tensor]], expected: dict[str, tuple[Tensor, Tensor]]) -> None:
    """To the last bit."""
    assert found.keys() == expected.keys()
    for name, own in expected.items():
        torch.testing.assert_close(found[name], own, rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"dropout": True}, {"accumulate": 2, "clip": 0.01}], ids=str)
def test_factors_are_those_of_a_training_of_all_layers(options: dict[str, Any], tmp_path: Path) -> None:
    """Lightning's own Trainer gives the same by the same steps and seed; a schedule of fewer steps gives others."""
    adapter = Lora(rank=4, alpha=4, dropout=0.1 if "dropout" in options else 0.0)
    toy = toy_training(tmp_path, score_named("all"), adapter=adapter, **MOVING | options)
    task = toy.module.options
    toy.trainer = Trainer(
        accelerator="cpu",
        max_steps=5,
        accumulate_grad_batches=task.accumulate,
        gradient_clip_val=task.clip,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[toy.selector],
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(0)
    parameters = toy.fit().parameters()
    expected = {}
    for name, own in parameters.items():
        if "lora_B" in name:
            module = name.removeprefix("backbone.model.").removesuffix(".lora_B.default.weight")
            expected[module] = (own.detach(), parameters[name.replace("lora_B", "lora_A")].detach())
    assert len(expected) == 2 * N_LAYERS
    again = toy_training(tmp_path, **MOVING | options)
    torch.manual_seed(123)  # a warm-up takes the cell's
    assert_same(factors(again, tmp_path, 5, None, None, adapter=adapter), expected)
    assert any(bool((up_OR != 0).any()) for up_OR, _ in expected.values())


def state(toy: ToyTraining) -> list[Any]:
    """All that a warm-up may not change; names, places and values."""
    model = toy.module.backbone
    parts = [
        (name, id(part), part.training, len(part._forward_hooks), len(part._forward_pre_hooks))
        for name, part in model.named_modules()
    ]
    values = [(name, id(own), own.requires_grad, own.grad, own.device) for name, own in model.named_parameters()]
    return [parts, values, sorted(vars(model.model)), toy.data.trainer, torch.get_rng_state().tolist()]


def interrupt(*_: Any) -> None:
    """What Ctrl-C in the midst of a step does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("way", ["whole", "within", "not finite", "Ctrl-C"])
def test_the_pretrained_model_is_left(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, with its modes, flags and hooks; after errors too; no file is left, and the loss is the former."""
    toy = toy_training(tmp_path, **MOVING | ({"learning_rate": 1e30} if way == "not finite" else {}))
    model, folder = toy.module.backbone, tmp_path / "run"
    model.layers[1].train()
    next(model.parameters()).requires_grad_(False)
    before, weights = state(toy), {name: own.clone() for name, own in model.state_dict().items()}
    expected = {"whole": None, "within": ZeroDivisionError, "not finite": UserError, "Ctrl-C": KeyboardInterrupt}[way]
    if way == "Ctrl-C":
        monkeypatch.setattr(type(toy.module), "on_train_batch_end", interrupt)
    folder.mkdir()

    def run() -> None:
        with warm_up(toy, folder)(4, None, None):
            assert len(list(model.parameters())) == len(before[1]) + 4 * N_LAYERS
            if way == "within":
                raise ZeroDivisionError

    if expected is None:
        run()
    else:
        with pytest.raises(expected):
            run()
    assert state(toy) == before
    assert list(model.state_dict()) == list(weights)
    assert all(torch.equal(own, weights[name]) for name, own in model.state_dict().items())
    assert list(folder.iterdir()) == []


def test_a_layer_goes_back_to_its_pretrained_weights(tmp_path: Path) -> None:
    """Within `without` the loss is that of the model whose other layers have the change in their weights."""
    toy = toy_training(tmp_path, dropout=True, **MOVING)
    (batch,) = toy.data.labelled_batches(1)
    with warm_up(toy, tmp_path)(4, None, None) as warm, torch.no_grad():
        whole = float(warm.loss(batch))  # type: ignore[arg-type]
        with warm.without(1):
            without = float(warm.loss(batch))  # type: ignore[arg-type]
        assert float(warm.loss(batch)) == whole  # type: ignore[arg-type]
    backbone = toy.module.backbone.eval()
    for layer, linears in enumerate(find_linear(backbone.model)):
        for name in linears.keys() & warm.factors.keys():
            up_OR, down_RI = warm.factors[name]
            if layer != 1:
                weight_OI(linears[name]).data.add_(up_OR @ down_RI)
    toy.module.prepare(toy.data.train_tokens, start=0)
    with torch.no_grad():
        assert float(toy.module.loss(batch)) == pytest.approx(without, rel=1e-5)  # type: ignore[arg-type]
    assert without != pytest.approx(whole, rel=1e-4)


def test_it_has_no_more_steps_than_the_training(tmp_path: Path) -> None:
    """Null is the whole training, which is 6 steps in 2 epochs; more cannot be had; the task's own limit holds."""

    def of(steps: int | None, **options: Any) -> dict[str, tuple[Tensor, Tensor]]:
        return factors(toy_training(tmp_path, **MOVING | options), tmp_path, steps, None, None)

    whole = of(None)
    assert_same(of(1000), whole)
    assert_same(of(3, max_steps=5), of(3))
    assert_same(of(9, max_steps=3), of(3))
    with pytest.raises(AssertionError):
        assert_same(of(3), whole)


def test_several_devices_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell's training is shared, its warm-up is not: the same bits as on one."""
    alone, shared = (TrainerOptions(accelerator="cpu", threads=1, devices=devices) for devices in (1, 2))
    monkeypatch.setattr("layersel.training.devices._start_all", interrupt)
    found = factors(toy_training(tmp_path, **MOVING), tmp_path, 2, None, None, trainer=shared)
    assert_same(found, factors(toy_training(tmp_path, **MOVING), tmp_path, 2, None, None, trainer=alone))


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        (
            Lora(rank=4, alpha=2, dropout=0.1, projections=["up"]),
            Lora(rank=4, alpha=2, dropout=0.1, projections=["up"]),
        ),
        (RsLora(rank=4), Lora(rank=4)),
        (AdaLora(rank=6), Lora(rank=6)),
        (Vera(rank=256, projections=["key"]), Lora(projections=["key"])),
        (IA3(), Lora(projections=["key", "value", "down"])),
        (Full(), Lora()),
    ],
    ids=str,
)
def test_the_lora_is_that_of_the_cells_adapter(adapter: Adapter, expected: Lora) -> None:
    """Kinds of LoRA keep rank, scale and dropout; a rank of another method is no rank of LoRA."""
    found = plain_lora(adapter)
    assert found == expected
    assert type(found) is Lora


def test_another_rank_has_the_same_scale() -> None:
    """alpha/rank; without an alpha it is 2 anyhow. Projections are replaced as a whole."""
    assert plain_lora(Lora(rank=8, alpha=4), 2, ["key"]) == Lora(rank=2, alpha=1, projections=["key"])
    assert plain_lora(Lora(rank=8), rank=2) == Lora(rank=2)


@pytest.mark.parametrize(
    ("options", "arguments", "line"),
    [
        ({"warmup": 1.0}, (1, None, None), "no weight has changed; use more steps"),
        ({}, (2, 1000, None), "selection.rank: expected at most 32"),
        ({}, (2, None, ["gate"]), "projection: expected one of "),
        ({"learning_rate": 1e30}, (4, None, None), "training: the loss is nan at step"),
    ],
    ids=str,
)
def test_what_goes_wrong_is_told_of_the_warm_up(
    options: dict[str, Any], arguments: tuple[Any, ...], line: str, tmp_path: Path
) -> None:
    """In one line with the score's name: the same could be wrong with the cell's own training."""
    toy = toy_training(tmp_path, **MOVING | options)
    with pytest.raises(UserError) as caught:
        factors(toy, tmp_path, *arguments)
    assert str(caught.value).startswith(f"selection=drift: in its warm-up: {line}")
    assert "\n" not in str(caught.value)


class Keys:
    """A store that keeps nothing but the keys that it is asked for."""

    def __init__(self) -> None:
        self.keys: list[Any] = []

    def tensors(self, kind: str, key: Any, compute: Callable[[], Any], code: Sequence[Any]) -> Any:
        """Notes all that decides an entry."""
        assert WarmUp in code
        self.keys.append([kind, fingerprint([key, code_of(*code)])])
        return compute()


def test_what_decides_a_warm_up_decides_what_is_stored(tmp_path: Path) -> None:
    """Cells share scores if their LoRA is the same, whatever else of their adapter; the code of a training counts."""
    toy, store = toy_training(tmp_path, **MOVING), Keys()
    backbone, problem = toy.module.backbone, SimpleNamespace(dataset=SimpleNamespace(fingerprint=lambda: "data"))

    def key(**options: Any) -> Any:
        run = warm_up(toy, tmp_path, **options)
        run.cell.model = SimpleNamespace(fingerprint=lambda: "model")  # type: ignore[assignment]
        probe = Probe([], torch.Generator(), warm_up=run)
        shared = Shared(run.cell)
        shared.store = store  # type: ignore[assignment]
        with patch.object(cell_shared, "score_layers", lambda *_: LayerScores(torch.zeros(N_LAYERS))):
            shared.layer_scores(backbone, probe, problem)  # type: ignore[arg-type]
        return store.keys[-1]

    first = key()
    assert key() == key(selection=score_named("drift", n=1)) == key(adapter=RsLora(rank=4)) == first
    others = [
        {"adapter": Lora(rank=2)},
        {"adapter": Lora(rank=4, projections=["key"])},
        {"adapter": Lora(rank=4, dropout=0.1)},
        {"selection": score_named("drift", steps=3)},
        {"selection": score_named("drift", relative=True)},
        {"precision": Precision(train="bf16")},
        {"seed": 1},
        {"task": replace(toy.module.options, clip=1.0)},
        {"trainer": TrainerOptions(accelerator="cpu", compile=True)},
    ]
    assert len({str(key(**own)) for own in others} | {str(first)}) == len(others) + 1
    code = code_of(WarmUp)
    assert {"layersel.training.trainer", "layersel.adapters.kinds.lora", "layersel.training.schedules"} <= code.keys()


def test_a_cell_scores_by_what_a_cell_of_all_layers_trains(small_cell: list[str], tmp_path: Path) -> None:
    """The drift is the norm of the adapter that the other cell saves; no checkpoint is left."""
    (review,) = write_reviews(tmp_path, 1, size=20)
    command = [*small_cell[:-1], f"data.path={review}", "task.learning_rate=0.01", "adapter.rank=4"]
    for selection in ("all", "drift"):
        assert here("train.py", *command, f"selection={selection}", f"output={tmp_path / selection}") == 0
    (file,) = tmp_path.glob("all/*/adapter/adapter_model.safetensors")
    saved, squares = load_file(file), [0.0] * 4
    for name, up_OR in saved.items():
        if "lora_B" in name:
            change = 2 * up_OR.double() @ saved[name.replace("lora_B", "lora_A")].double()
            squares[int(name.split(".layer.")[1].split(".")[0])] += float(change.square().sum())
    (file,) = tmp_path.glob("drift/*/selection.json")
    assert json.loads(file.read_text())["scores"] == pytest.approx([square**0.5 for square in squares], rel=1e-5)
    assert json.loads((file.parent / "metrics.json").read_text())["seconds/select"] > 0
    assert not (file.parent / "checkpoints").exists()


def test_no_epoch_is_no_warm_up(tmp_path: Path) -> None:
    """Told before a model is loaded; other scores do without a training."""
    toy = toy_training(tmp_path, epochs=0)
    assert warm_up_needs_steps(warm_up(toy, tmp_path, selection=score_named("last")).cell) is None
    assert warm_up_needs_steps(warm_up(toy, tmp_path).cell) == (
        "task.epochs: selection=drift looks at a short training, but got 0; use 1 or more"
    )
