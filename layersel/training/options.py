"""The options of the device that a cell runs on."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.errors import one_of

if TYPE_CHECKING:
    import torch

ACCELERATORS = ("auto", "cpu", "gpu")


@dataclass
class TrainerOptions:
    """The device that a cell runs on."""

    accelerator: str = "auto"
    """cpu, gpu, or auto: a GPU if there is one."""
    devices: int = 1
    """How many GPUs (on the CPU: processes) share each training step of a cell, by DDP. The numbers are those of one
    device up to rounding, with dropout those of other draws. All else happens on the first one."""
    threads: int | None = None
    """CPU threads of a process; null leaves PyTorch's choice, which the processes of a training share."""
    checkpoint_seconds: float | None = 30.0
    """Seconds of training between checkpoints, which is what a killed run loses; 0 = after every step, null = none."""

    compile: bool = False
    """Compile the layers for the training (torch.compile): it takes a minute or more before the first step, and each
    later one may be faster, above all on a GPU. The numbers are those without, up to rounding."""

    @property
    def on_cpu(self) -> bool:
        """Returns whether the cell runs on the CPU."""
        if self.accelerator == "auto":
            import torch

            return not torch.cuda.is_available()
        return self.accelerator == "cpu"

    @property
    def device(self) -> "torch.device":
        """The device that models are put on."""
        import torch

        return torch.device("cpu" if self.on_cpu else "cuda")

    def apply_threads(self) -> None:
        """Sets PyTorch's threads; null brings back its own choice, whatever an earlier cell has set."""
        import torch

        from layersel.training.threads import OWN_THREADS

        torch.set_num_threads(OWN_THREADS if self.threads is None else self.threads)
        if self.threads is not None:  # else Lightning sets them in a training on several devices
            os.environ["OMP_NUM_THREADS"] = str(self.threads)

    def problems(self) -> list[str]:
        """Returns one line for each option that no machine can follow."""
        found = []
        if self.accelerator not in ACCELERATORS:
            found.append(str(one_of("trainer.accelerator", self.accelerator, ACCELERATORS)))
        if self.devices < 1:
            found.append(f"trainer.devices: expected at least 1, but got {self.devices}")
        if self.threads is not None and self.threads < 1:
            found.append(f"trainer.threads: expected at least 1, but got {self.threads}")
        if self.checkpoint_seconds is not None and not self.checkpoint_seconds >= 0:
            found.append(
                f"trainer.checkpoint_seconds: expected 0 or more, or null, but got {self.checkpoint_seconds:g}"
            )
        return found

    def machine_problems(self) -> list[str]:
        """Returns one line for each thing that this machine lacks: a GPU, or so many of them, or of cores."""
        if self.on_cpu:
            from layersel.training.compiling import has_compiler

            if self.compile and not has_compiler():
                return ["trainer.compile: expected a compiler of C++ on this machine (g++ or clang++), but found none"]
            there, what = cores(), "cores of this machine, one for each process"
        else:
            import torch

            there, what = torch.cuda.device_count(), "GPUs seen here"
            if there == 0:
                return ["trainer.accelerator: expected cpu or auto, but got gpu, and PyTorch sees no GPU here"]
        if self.devices <= there:
            return []
        return [f"trainer.devices: expected at most {there}, the {what}, but got {self.devices}"]


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on a Mac
    return os.cpu_count() or 1 if affinity is None else len(affinity(0))
