"""How the entry scripts start: Hydra's composition with help and errors that a person can read."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.utils import get_class, get_method
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from layersel.config import CONF, TARGET, new_spelling, unknown_option
from layersel.errors import UserError, no_room
from layersel.terminal.messages import hide_library_warnings, print_error


def run(config_name: str, task: str | Callable[[DictConfig], Any], options: str, about: str) -> None:
    """Runs `task` on the config `conf/{config_name}.yaml` composed with the command line's overrides.

    Args:
        config_name: Name of the script and of its config.
        task: What it does, or its import path.
        options: Import path of the dataclass of its options, for --help.
        about: What --help begins with.

    A `UserError`, or an option that Hydra refuses, is one line on standard error and ends the process with status 2; a
    grid ends with its table, and with status 2 unless all of its cells have finished. Ctrl-C ends the process with
    status 130, SIGTERM with 143.
    """
    sys.path.append(str(Path.cwd()))  # where `_target_` finds classes of the user's own
    if {"-h", "--help"} & set(sys.argv[1:]):
        from layersel.terminal.help import help_text

        sys.stdout.write(help_text(config_name, get_class(options), about))
        return
    hide_library_warnings()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that the error is printed here
    status = _status(config_name, task)
    if status != 0:
        sys.exit(status)


def _status(config_name: str, task: str | Callable[[DictConfig], Any]) -> int:
    """Runs it; returns the exit status."""
    started: list[object] = []
    refused: list[Exception] = []

    def run_task(config: DictConfig) -> None:
        started.append(task)
        try:
            (get_method(task) if isinstance(task, str) else task)(config)
        except Exception as error:  # before Hydra sees it and prints all overrides
            refused.append(_told(error))

    try:
        _refuse_former_names(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(run_task)()
        for error in refused:
            print_error(error)
        status = 2 if refused else 0
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        if started and isinstance(error, OSError):
            raise
        print_error(error if isinstance(error, UserError) else UserError(_line(error)))
        status = 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        status = 130
    except SystemExit as stop:
        status = int(stop.code or 0)
    afterwards = _finish_grid()
    return status or afterwards


def _told(error: Exception) -> Exception:
    """Returns the error that a user is told in one line; raises one that is a defect."""
    told = error if isinstance(error, UserError | OmegaConfBaseException) else no_room(error)
    if told is None:
        raise error
    return told


def _refuse_former_names(arguments: list[str]) -> None:
    names = [re.split("[=@]", argument.lstrip("+~"))[0] for argument in arguments]
    lines = [line for name in names if (line := new_spelling(name)) is not None]
    if lines:
        raise UserError("\n".join(lines))


def _finish_grid() -> int:
    """Prints the table and writes the report of a grid, however it ended; returns the exit status."""
    from layersel.sweep import launch

    try:
        return 0 if launch.finish() else 2
    except (UserError, OSError) as error:
        print_error(no_room(error) or error)
        return 2


def _line(error: Exception) -> str:
    """Returns in one line, with the next step, what Hydra says in several or without it."""
    if isinstance(error, OverrideParseException):
        hint = "close brackets, and quote a value with special characters: 'data.path=\"records (1).csv\"'"
        return f"{error.override}: expected NAME=VALUE, but it cannot be read; {hint}"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={choice}: no such option; expected one of {', '.join(error.options)}"
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        return _refused_override(error, error.__cause__)
    if isinstance(error, OSError) and not isinstance(error, HydraException):  # the folder of a grid cannot be made
        place = "" if error.filename is None else f" to {error.filename!r}"
        return f"output: cannot write{place} ({error.strerror}); name another folder with output=…"
    several = re.match("Ambiguous value for argument '(.*)'", str(error))
    if several is not None:
        name, _, value = several[1].partition("=")
        return (
            f"{several[1]}: expected one value, but got several; add -m to run each, write a list as [a,b], or quote "
            f"one value that has a comma: '{name}=\"{value}\"'"
        )
    return " ".join(str(error).split())


def _refused_override(error: ConfigCompositionException, cause: OmegaConfBaseException) -> str:
    """Returns the line for a key that Hydra names, with the options of the node that refused it."""
    name = cause.full_key or str(error).split("'")[1]
    parent = cause.parent_node
    known = sorted(str(key) for key in parent if key != TARGET) if isinstance(parent, DictConfig) else []
    return unknown_option(name, known)
