"""What reaches the terminal beside a run's own report: errors, and of libraries' warnings those that help."""

import os
import sys
import traceback
import warnings

from omegaconf.errors import OmegaConfBaseException

from layersel.errors import UserError

# What libraries tell each other's developers, by how each message begins.
NOT_FOR_USERS = (
    "`is_gradient_checkpointing` is deprecated",  # PEFT to transformers
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning to PyTorch
    r"Found \d+ module\(s\) in eval mode",  # the frozen layers are meant to be
    r"torch\.distributed\.nn\.functional\.all_gather is deprecated",  # Lightning to PyTorch
    "Experiment logs directory",  # a resumed run logs its former rows again
    "GPU available but not used",  # trainer=cpu
    r"The '\w+' does not have many workers",  # the pairs are in memory
    "The `srun` command is available",  # a machine of a cluster, outside of a job
)


def quieten() -> None:
    """Only what a user can act on reaches the terminal."""
    for message in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)
    if not sys.stderr.isatty():
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def tell(error: BaseException) -> None:
    """A user's error line by line on standard error, any other with its traceback."""
    if isinstance(error, UserError):
        lines = str(error).splitlines()
    elif isinstance(error, OmegaConfBaseException):
        lines = [" ".join(str(error).split())]
    else:
        traceback.print_exception(error)
        return
    sys.stderr.writelines(f"error: {line}\n" for line in lines)
    sys.stderr.flush()
