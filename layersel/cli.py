"""How the entry scripts start: Hydra's composition with help and errors that a person can read.

What takes time to import stands within functions, so that a Ctrl-C at any moment is answered.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layersel.terminal.interrupts import forget_interrupts, is_interrupted, keep_interrupts

if TYPE_CHECKING:
    from omegaconf import DictConfig

INTERRUPTED = 130
"""The exit status of a process that Ctrl-C has ended."""


def run(config_name: str, task: "str | Callable[[DictConfig], Any]", options: str, about: str) -> None:
    """Runs `task` on the config `conf/{config_name}.yaml` composed with the command line's overrides.

    Args:
        config_name: Name of the script and of its config.
        task: What it does, or its import path.
        options: Import path of the dataclass of its options, for --help.
        about: What --help begins with.

    A `UserError`, or an option that Hydra refuses, is one line on standard error and ends the process with status 2; a
    grid ends with its table, and with status 2 unless all of its cells have finished. Ctrl-C ends the process with one
    line and status 130, SIGTERM with 143.
    """
    sys.path.append(str(Path.cwd()))  # where `_target_` finds classes of the user's own
    try:
        keep_interrupts()
        if {"-h", "--help"} & set(sys.argv[1:]):
            from hydra.utils import get_class

            from layersel.terminal.help import help_text

            sys.stdout.write(help_text(config_name, get_class(options), about))
            return
        status = _status(config_name, task)
    except KeyboardInterrupt:
        status = _interrupted()
    forget_interrupts()
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)  # all is written: what is left only takes time
    if status != 0:
        sys.exit(status)


def _status(config_name: str, task: "str | Callable[[DictConfig], Any]") -> int:
    """Runs it, and ends the grid if it is one; returns the exit status."""
    from layersel.terminal.messages import hide_library_warnings

    hide_library_warnings()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that the error is printed here
    try:
        status = _run_by_hydra(config_name, task)
    except KeyboardInterrupt:
        status = _interrupted()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    try:
        afterwards = _finish_grid()
    except KeyboardInterrupt:  # once more: without its table
        afterwards = INTERRUPTED if status == INTERRUPTED else _interrupted()
    return status or afterwards


def _run_by_hydra(config_name: str, task: "str | Callable[[DictConfig], Any]") -> int:
    from hydra.utils import get_method

    from layersel.errors import UserError
    from layersel.terminal.messages import print_error
    from layersel.terminal.refusals import checked, refusal

    started: list[object] = []
    refused: list[Exception] = []

    def run_task(config: "DictConfig") -> None:
        started.append(task)
        try:
            (get_method(task) if isinstance(task, str) else task)(config)
        except Exception as error:  # before Hydra sees it and prints all overrides
            refused.append(_user_facing(error))

    try:
        sys.argv[1:] = checked(sys.argv[1:])
        _compose_and_run(config_name, run_task)
    except Exception as error:
        _raise_interruption(error)
        line = None if started else refusal(error)
        if line is None:
            raise
        refused.append(UserError(line))
    for problem in refused:
        print_error(problem)
    return 2 if refused else 0


def _compose_and_run(config_name: str, run_task: "Callable[[DictConfig], None]") -> None:
    """Runs the task on the config of the command line, or the grid that it asks for."""
    import hydra
    from hydra.errors import ConfigCompositionException

    from layersel.config import CONF

    while True:
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(run_task)()
            return
        except ConfigCompositionException as error:
            from layersel.terminal.grid_options import left_to_cells

            sys.argv[1:] = left_to_cells(config_name, sys.argv[1:], error)


def _user_facing(error: Exception) -> Exception:
    """Returns the error that a user is told in one line; raises one that is a defect."""
    from omegaconf.errors import OmegaConfBaseException

    from layersel.errors import UserError, no_room

    _raise_interruption(error)
    facing = error if isinstance(error, UserError | OmegaConfBaseException) else no_room(error)
    if facing is None:
        raise error
    return facing


def _raise_interruption(error: Exception) -> None:
    """Raises a KeyboardInterrupt if a Ctrl-C has led to the error, or has come before it."""
    if is_interrupted(error):
        raise KeyboardInterrupt from error


def _finish_grid() -> int:
    """Prints the table and writes the report of a grid, however it ended; returns the exit status."""
    from layersel.errors import UserError, no_room
    from layersel.terminal.messages import print_error

    launch = sys.modules.get("layersel.sweep.launch")
    if launch is None:  # no grid has begun, or an interruption has left Hydra half imported
        return 0
    try:
        return 0 if launch.finish() else 2
    except (UserError, OSError) as error:
        print_error(no_room(error) or error)
        return 2


def _interrupted() -> int:
    sys.stderr.write("interrupted\n")
    return INTERRUPTED
