"""A training that several processes share gives what one process gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_ranks import FailingHelper, ToyRank, UnreadableTask

from layersel.adapters.kinds.adalora import AdaLora
from layersel.adapters.kinds.lora import Lora
from layersel.callbacks.checkpoint import LAST
from layersel.training.devices import helper_processes


@pytest.fixture(autouse=True)
def _own_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the trainings set for their process is theirs alone."""
    for name in ("OMP_NUM_THREADS", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_one_device_needs_no_helper() -> None:
    """Nothing is started, and the block is given None."""
    with helper_processes(FailingHelper("raise"), 1) as environment:
        assert environment is None


@pytest.mark.parametrize(
    ("devices", "options"),
    [
        (2, {"adapter": Lora(rank=4)}),
        # its ranks follow the gradients of all processes
        pytest.param(2, {"adapter": AdaLora(rank=4, target_rank=2)}, marks=pytest.mark.real),
        # skipped batches, and ones of fewer texts than processes
        pytest.param(3, {"batch_size": 2, "epochs": 1}, marks=pytest.mark.real),
    ],
    ids=["lora", "adalora", "tiny batches"],
)
def test_the_number_of_devices_does_not_show(devices: int, options: dict[str, Any], tmp_path: Path) -> None:
    """The parameters are those of one device up to rounding, and the helpers leave nothing behind."""
    alone = ToyRank(tmp_path / "alone", options).on(1)
    together = ToyRank(tmp_path / "together", options).on(devices)
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-6)
    assert not torch.distributed.is_initialized()


@pytest.mark.real
def test_a_training_goes_on_with_other_devices(tmp_path: Path) -> None:
    """A checkpoint of two devices is gone on from with one, and the other way round, dropout included."""
    options = {"adapter": Lora(rank=4, dropout=0.3)}
    first = {devices: ToyRank(tmp_path / str(devices), options | {"max_steps": 2}) for devices in (1, 2)}
    for devices, part in first.items():
        part.on(devices)
        again = ToyRank(tmp_path / "again", options | {"max_steps": 4}, tmp_path / str(devices) / LAST)
        assert all(value.isfinite().all() for value in again.on(3 - devices).values())


@pytest.mark.parametrize(("way", "reason"), [("raise", "ZeroDivisionError: a helper's own bug"), ("kill", "status -9")])
def test_the_error_of_a_helper_is_raised(way: str, reason: str) -> None:
    """The helper's error is raised, from the one that it has led to on rank 0."""
    with pytest.raises(RuntimeError, match=reason) as caught, helper_processes(FailingHelper(way), 2):
        raise ConnectionError("connection closed by peer")
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_helper_that_cannot_begin_is_not_waited_for() -> None:
    """Rank 0 would wait half an hour to meet it."""
    with pytest.raises(RuntimeError, match="no such module in the helper"), helper_processes(UnreadableTask(), 2):
        raise AssertionError("the block ran")
