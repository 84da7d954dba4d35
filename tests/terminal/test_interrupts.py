"""Ctrl-C is answered by one line and status 130, whenever it comes, and none is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layersel.errors import is_interruption

ROOT = Path(__file__).parents[2]
DESTRUCTOR = """
import time
from layersel.terminal.interrupts import keep_interrupts

class Unlucky:
    def __del__(self):
        raise KeyboardInterrupt

class Broken:
    def __del__(self):
        raise ValueError("is printed as ever")

keep_interrupts()
try:
    Broken()
    Unlucky()
    time.sleep(20)
except KeyboardInterrupt:
    print("raised again")
"""


def test_an_interrupt_within_a_destructor_is_raised_again() -> None:
    """Python would print it and go on with what was to be interrupted."""
    done = subprocess.run([sys.executable, "-c", DESTRUCTOR], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "raised again\n"
    assert done.stderr.count("Exception ignored in") == 1
    assert "ValueError: is printed as ever" in done.stderr


SWALLOWED = """
import os, signal, sys
from layersel import cli

def task(config):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass
    except KeyboardInterrupt:  # as C++ code does that clears an import's error
        pass
    {then}

sys.argv[1:] = ["experiment=demo"]
cli.run("train", task, options="layersel.cell.options.Cell", about="")
"""


@pytest.mark.parametrize(
    "then",
    [
        "raise ValueError('half imported')",
        "from layersel.terminal.interrupts import raise_swallowed_interrupt; raise_swallowed_interrupt()",
    ],
    ids=["and another error", "and nothing"],
)
def test_an_interrupt_that_a_library_has_swallowed_ends_the_process(then: str) -> None:
    """Nothing of it is left in what fails afterwards, if anything does."""
    command = [sys.executable, "-c", SWALLOWED.format(then=then)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "interrupted\n"


RECORDED = """
import os, signal
from pathlib import Path
from layersel.runs.folder import RunFolder
from layersel.terminal.interrupts import keep_interrupts, raise_swallowed_interrupt

keep_interrupts()
folder = RunFolder(Path({folder!r}))
attempt = folder.take()
try:
    with folder.recording(attempt, {{}}, {{}}):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            while True:
                pass
        except KeyboardInterrupt:
            pass
        raise ValueError("half imported")
except KeyboardInterrupt:
    print(folder.state)
"""


def test_a_cell_whose_interrupt_was_swallowed_has_not_failed(tmp_path: Path) -> None:
    """The cell's state is `interrupted`, so that it goes on when it is called again."""
    command = [sys.executable, "-c", RECORDED.format(folder=str(tmp_path / "cell"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "interrupted\n", done.stderr


@pytest.mark.parametrize("seconds", [0.3, 1.2, 2.4])
@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]], ids=["cell", "grid"])
def test_ctrl_c_before_the_work_begins(seconds: float, more: list[str], tmp_path: Path) -> None:
    """While Python imports and Hydra composes there is no traceback, and nothing is left half-written."""
    process = subprocess.Popen(
        [sys.executable, "train.py", *more, "experiment=demo", f"output={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=6)
    except subprocess.TimeoutExpired:  # before layersel is imported, Python loses one that falls into a destructor
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors.splitlines()
    assert not list(tmp_path.rglob("metrics.json"))


def test_an_interruption_is_found_on_every_way_back() -> None:
    """It is found also where a library names another cause for the error that it raised in handling it."""

    def tidy_up() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("half torn down") from ValueError("another cause")

    with pytest.raises(RuntimeError) as caught:
        tidy_up()
    assert is_interruption(caught.value)
    assert not is_interruption(RuntimeError())
