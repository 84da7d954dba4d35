"""Cells whose training is shared by two processes, through `train.py`."""

import json
import signal
import time
from pathlib import Path

import pytest
from grids import SMALL, finish, start, table
from safetensors.torch import load_file
from torch.testing import assert_close

pytestmark = pytest.mark.real

TWO = "trainer.devices=2"


@pytest.fixture
def base(tiny_model_folder: Path) -> list[str]:
    """What all cells here have in common."""
    return [*SMALL, "figures=few", f"model.path={tiny_model_folder}"]


@pytest.mark.parametrize("layers", [[], ["model.layers=all", "model.combine=concat"]], ids=["last", "all"])
def test_a_grid_on_two_devices_gives_the_table_of_one(base: list[str], layers: list[str], tmp_path: Path) -> None:
    """Two cells one after the other in one process, each with its helper; the same cells, by their names."""
    for devices in (1, 2):
        arguments = [*base, *layers, "seed=0,1", f"trainer.devices={devices}", f"output={tmp_path / str(devices)}"]
        status, output, errors = finish(start("-m", *arguments))
        assert (status, errors) == (0, "")
        assert "2 cells: 2 finished now" in output
    alone, together = (table(tmp_path / str(devices)) for devices in (1, 2))
    assert alone["cell"].tolist() == together["cell"].tolist()
    for file in tmp_path.glob("1/*/adapter/adapter_model.safetensors"):
        assert_close(
            load_file(file), load_file(tmp_path / "2" / file.relative_to(tmp_path / "1")), rtol=1e-3, atol=1e-5
        )


def test_ctrl_c_and_on(base: list[str], tmp_path: Path) -> None:
    """Both processes end at once; the next call goes on from the checkpoint and ends with the same bits."""
    long = [*base, "task.epochs=40", "task.max_steps=null", TWO]
    process = start(*long, f"output={tmp_path / 'stopped'}")
    while not list(tmp_path.glob("stopped/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    status, _, errors = finish(process, 60)
    assert (status, errors) == (130, "interrupted\n")
    for folder in ("stopped", "whole"):
        status, _, errors = finish(start(*long, f"output={tmp_path / folder}"))
        assert (status, errors) == (0, "")
    (status_file,) = tmp_path.glob("stopped/*/status.json")
    assert json.loads(status_file.read_text())["attempt"] == 2
    (stopped,), (whole,) = (list(tmp_path.glob(f"{folder}/*/adapter/*.safetensors")) for folder in ("stopped", "whole"))
    assert_close(load_file(stopped), load_file(whole), rtol=0, atol=0)


def test_a_loss_that_is_no_number_is_told_once(base: list[str], tmp_path: Path) -> None:
    """By the first process, in one line."""
    broken = [*base, "task.warmup=0", "task.learning_rate=1e30", TWO, f"output={tmp_path}"]
    status, _, errors = finish(start(*broken), 120)
    assert status == 2
    assert errors.startswith("error: training: the loss is nan")
    assert len(errors.splitlines()) == 1
