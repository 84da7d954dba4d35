"""How the entry scripts start: Hydra's composition with help and errors that a person can read."""

import functools
import gc
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from layersel.config import CONF
from layersel.errors import UserError

# What libraries tell each other's developers, by how each message begins.
NOT_FOR_USERS = (
    "`is_gradient_checkpointing` is deprecated",  # PEFT to transformers
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning to PyTorch
    r"Found \d+ module\(s\) in eval mode",  # the frozen layers are meant to be
    "`training_step` returned `None`",  # a batch without a loss is skipped; one without any is an error of ours
    "GPU available but not used",  # trainer=cpu
    r"The '\w+' does not have many workers",  # the pairs are in memory
)


def run(config_name: str, task: Callable[[DictConfig], Any], options: str, about: str) -> None:
    """Run `task` on the config `conf/{config_name}.yaml` composed with the command line's overrides.

    Args:
        config_name: Name of the script and of its config.
        task: What it does.
        options: Import path of the dataclass of its options, for --help.
        about: What --help begins with.

    A `UserError`, or an option that Hydra refuses, is told in one line on standard error and ends the process with
    status 2; in a grid the cells that follow still run. Ctrl-C ends it with status 130.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        from layersel.help import help_text

        sys.stdout.write(help_text(config_name, get_class(options), about))
        return
    _quieten()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that the error is told here
    outcome = _Outcome()

    @functools.wraps(task)
    def telling(config: DictConfig) -> Any:
        return _told(task, config, outcome)

    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(telling)()
    except (HydraException, OmegaConfBaseException, OSError) as error:
        if outcome.started and isinstance(error, OSError):
            raise
        outcome.failed = True
        _tell(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    if outcome.failed:
        sys.exit(2)


@dataclass
class _Outcome:
    """Whether a task was reached, and whether one failed."""

    started: bool = False
    failed: bool = False


def _told(task: Callable[[DictConfig], Any], config: DictConfig, outcome: _Outcome) -> Any:
    """Run the task; a user's error, and in a grid any error, is told at once and does not stop the cells after it."""
    outcome.started = True
    try:
        return task(config)
    except (UserError, OmegaConfBaseException) as error:  # before Hydra sees it and prints all overrides
        _tell(error)
    except Exception:
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            raise
        traceback.print_exc()  # Hydra would keep it, and with its frames the cell's memory, till the grid's end
    finally:
        gc.collect()
    outcome.failed = True
    return None


def _quieten() -> None:
    """Only what a user can act on reaches the terminal."""
    for message in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)
    if not sys.stderr.isatty():
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def _tell(error: Exception) -> None:
    for line in str(error).splitlines() if isinstance(error, UserError) else [_line(error)]:
        sys.stderr.write(f"error: {line}\n")


def _line(error: Exception) -> str:
    """What Hydra says in several lines, or without the next step."""
    if isinstance(error, OverrideParseException):
        hint = "close brackets, and quote a value with special characters: 'data.path=\"records (1).csv\"'"
        return f"{error.override}: expected NAME=VALUE, but it cannot be read; {hint}"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={choice}: no such option; expected one of {', '.join(error.options)}"
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        return _refused_override(error, error.__cause__)
    if isinstance(error, OSError) and not isinstance(error, HydraException):  # the folder of a grid cannot be made
        return f"output: cannot write to {error.filename!r} ({error.strerror}); name another folder with output=…"
    several = re.match("Ambiguous value for argument '(.*)'", str(error))
    if several is not None:
        return f"{several[1]}: expected one value, but got several; add -m to run each, or write a list as [a,b]"
    return " ".join(str(error).split())


def _refused_override(error: ConfigCompositionException, cause: OmegaConfBaseException) -> str:
    """Hydra's message names the key; the node that refused it knows what it has."""
    name = cause.full_key or str(error).split("'")[1]
    parent = cause.parent_node
    known = sorted(str(key) for key in parent if key != "_target_") if isinstance(parent, DictConfig) else []
    return f"{name}: unknown option" + (f"; expected one of {', '.join(known)}" if known else "")
