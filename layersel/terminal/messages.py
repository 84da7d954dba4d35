"""Prints errors on the terminal, and keeps warnings of libraries off it."""

import os
import sys
import traceback
import warnings

from omegaconf.errors import OmegaConfBaseException

from layersel.errors import UserError

# Warnings that help a library's developers only, by how each message begins.
LIBRARY_WARNINGS = (
    "`is_gradient_checkpointing` is deprecated",  # PEFT to transformers
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning to PyTorch
    r"Found \d+ module\(s\) in eval mode",  # the frozen layers are meant to be
    r"torch\.distributed\.nn\.functional\.all_gather is deprecated",  # Lightning to PyTorch
    "Experiment logs directory",  # a resumed run logs its former rows again
    "`LightningModule.configure_optimizers` returned `None`",  # no layer is chosen
    "GPU available but not used",  # trainer=cpu
    r"The '\w+' does not have many workers",  # all batches are in memory
    "The `srun` command is available",  # a machine of a cluster, outside of a job
)


def hide_library_warnings() -> None:
    """Keeps off the terminal the warnings that a user cannot act on, and progress bars off what is no terminal."""
    for message in LIBRARY_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    if not sys.stderr.isatty():
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def option_line(error: OmegaConfBaseException, name: str | None = None) -> str:
    """Returns the line for an option that OmegaConf refuses, with its name, as far as that is known."""
    said = str(error.msg or error).splitlines()[0]
    key = name or error.full_key
    return f"{key}: {said}" if key else said


def print_error(error: BaseException) -> None:
    """Prints a user's error line by line on standard error, any other with its traceback."""
    if isinstance(error, UserError):
        lines = str(error).splitlines()
    elif isinstance(error, OmegaConfBaseException):
        lines = [option_line(error)]
    else:
        traceback.print_exception(error)
        return
    sys.stderr.writelines(f"error: {line}\n" for line in lines)
    sys.stderr.flush()
