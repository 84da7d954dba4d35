"""Grids on a real SLURM, which `make test-slurm` installs: job arrays, preemption, killed jobs."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from grids import SMALL, finish, start, states, table
from safetensors.torch import load_file
from torch.testing import assert_close

pytestmark = pytest.mark.slurm

CLUSTER = Path(__file__).with_name("cluster.sh")
LAUNCHER = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"]
LONG = ["task.epochs=400", "task.max_steps=null", "selection.n=2"]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A SLURM of one node with 4 make-believe processors."""
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    if shutil.which("slurmctld", path=environment["PATH"]) is None:
        pytest.fail("SLURM is not installed; make test-slurm does it")
    folder = tempfile.mkdtemp(dir="/tmp")  # a short path, for the sockets in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", environment["PATH"])
        started = subprocess.run(["bash", CLUSTER, "start", folder], capture_output=True, text=True, check=False)
        assert started.returncode == 0, started.stderr
        patch.setenv("SLURM_CONF", started.stdout.strip().partition("=")[2])
        yield
        subprocess.run(["bash", CLUSTER, "stop", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def empty_queue() -> Iterator[None]:
    """A test that fails leaves no job behind for the next one."""
    yield
    for job in slurm("squeue", "-h", "-o", "%A").split():
        slurm("scancel", job)
    wait_for(lambda: not slurm("squeue", "-h").strip())


@pytest.fixture
def base(tiny_model_folder: Path) -> list[str]:
    """What all grids here have in common."""
    return ["-m", *SMALL, f"model.path={tiny_model_folder}"]


def slurm(*command: str) -> str:
    """A command of SLURM; what it says."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def wait_for(happened: Callable[[], object], seconds: float = 120) -> None:
    """Until something has happened."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, slurm("squeue")
        time.sleep(0.2)


def timeless(output: Path) -> dict[str, float]:
    """The metrics of the only cell, without its times."""
    (file,) = output.glob("*/metrics.json")
    return {name: value for name, value in json.loads(file.read_text()).items() if not name.startswith("seconds/")}


def test_an_array_gives_the_same_table(base: list[str], tmp_path: Path) -> None:
    """Six cells, two at a time, and the same ones here."""
    axes = ["selection.n=1,2,3", "seed=0,1"]
    array = [*LAUNCHER, "hydra.launcher.array_parallelism=2"]
    status, output, errors = finish(start(*base, *axes, *array, f"output={tmp_path / 'slurm'}"))
    assert (status, errors) == (0, "")
    assert "6 cells: 6 finished now" in output
    # A cell's result comes a moment before the end of its job.
    wait_for(lambda: slurm("sacct", "-nX", "-o", "State").split() == ["COMPLETED"] * 6)
    status, _, errors = finish(start(*base, *axes, f"output={tmp_path / 'local'}"))
    assert (status, errors) == (0, "")
    pd.testing.assert_frame_equal(table(tmp_path / "slurm"), table(tmp_path / "local"))
    status, output, errors = finish(start(*base, *axes, *array, f"output={tmp_path / 'slurm'}"))
    assert (status, errors) == (0, "")
    assert "6 cells: 6 had finished before" in output
    assert len(slurm("sacct", "-nX", "-o", "State").split()) == 6, "what has finished is not submitted again"


def test_two_devices_in_one_job(base: list[str], tmp_path: Path) -> None:
    """The job's one task starts the other process itself; the same cell as on one device here."""
    two = [*LAUNCHER, "hydra.launcher.cpus_per_task=2", "trainer.devices=2"]
    for name, more in {"slurm": two, "local": []}.items():
        status, _, errors = finish(start(*base, *more, f"output={tmp_path / name}"))
        assert (status, errors) == (0, "")
    adapters = [load_file(next(tmp_path.glob(f"{name}/*/adapter/*.safetensors"))) for name in ("slurm", "local")]
    assert_close(*adapters, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_preempted_job_goes_on(devices: int, base: list[str], tmp_path: Path) -> None:
    """It is queued again, resumes from its checkpoint, and ends with the metrics of one that was left alone."""
    long = [*LONG, f"trainer.devices={devices}"]
    process = start(*base, *long, *LAUNCHER, f"output={tmp_path / 'preempted'}")
    wait_for(lambda: list(tmp_path.glob("preempted/*/checkpoints/last.ckpt")))
    (job,) = slurm("squeue", "-h", "-o", "%A").split()
    for signal_name in ("TERM", "USR2"):  # as SLURM does to preempt a job, to all of its processes
        slurm("scancel", f"--signal={signal_name}", job)
    wait_for(lambda: slurm("squeue", "-h", "-j", job, "-o", "%r").strip() == "BeginTime")
    (status,) = tmp_path.glob("preempted/*/status.json")
    assert json.loads(status.read_text())["state"] == "interrupted"
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now+3")
    code, _, errors = finish(process)
    assert (code, errors) == (0, "")
    assert json.loads(status.read_text())["attempt"] == 2
    logs = [file.read_text() for file in tmp_path.glob("preempted/submitit/*/*_log.out")]
    assert any("This cell was interrupted and goes on" in log for log in logs)
    code, _, errors = finish(start(*base, *long, f"output={tmp_path / 'alone'}"))
    assert (code, errors) == (0, "")
    assert timeless(tmp_path / "preempted") == timeless(tmp_path / "alone")


def test_a_killed_job_is_recorded_and_run_by_the_next_call(base: list[str], tmp_path: Path) -> None:
    """The other cell finishes; the second call goes on with the killed one only."""
    grid = [*base, *LONG, *LAUNCHER, "seed=0,1", f"output={tmp_path}"]
    process = start(*grid)
    wait_for(lambda: len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) == 2)
    first = slurm("squeue", "-h", "-r", "-o", "%i").split()[0]
    slurm("scancel", "--signal=KILL", "--full", first)
    code, output, _ = finish(process)
    assert code == 2
    assert "2 cells: 1 finished now, 1 interrupted" in output
    assert sorted(record["state"] for record in states(tmp_path).values()) == ["finished", "interrupted"]
    code, output, errors = finish(start(*grid))
    assert (code, errors) == (0, "")
    assert "2 cells: 1 had finished before, 1 finished now" in output


def test_ctrl_c_takes_the_jobs_back(base: list[str], tmp_path: Path) -> None:
    """Nothing is left in the queue."""
    process = start(*base, *LONG, *LAUNCHER, f"output={tmp_path}")
    wait_for(lambda: list(tmp_path.glob("*/checkpoints/last.ckpt")))
    process.send_signal(signal.SIGINT)
    code, _, errors = finish(process)
    assert code == 130, errors
    wait_for(lambda: not slurm("squeue", "-h").strip())


def test_why_a_job_does_not_start_is_said(base: list[str], tmp_path: Path) -> None:
    """A time limit beyond the partition's would wait for ever without a message."""
    process = start(*base, *LAUNCHER, "hydra.launcher.timeout_min=600", f"output={tmp_path}")
    wait_for(lambda: "PartitionTimeLimit" in slurm("squeue", "-h", "-o", "%r"))
    time.sleep(35)
    process.send_signal(signal.SIGINT)
    code, _, errors = finish(process)
    assert (code, "does not start job" in errors, "PartitionTimeLimit" in errors) == (130, True, True)
