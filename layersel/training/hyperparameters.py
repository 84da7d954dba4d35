"""The options that every training of an adapter has."""

from dataclasses import dataclass

from layersel.errors import one_of

SCHEDULES = ("linear", "cosine", "constant")


@dataclass
class Hyperparameters:
    """How long and how fast an adapter is trained; a task adds its own options."""

    epochs: int = 1
    """Passes over what is learnt from."""
    max_steps: int | None = None
    """Most training steps; null = all of the epochs."""
    batch_size: int = 16
    """Examples in a batch."""
    accumulate: int = 1
    """Batches whose mean gradient makes a training step: batches of 8 with accumulate=4 train as those of 32 would."""
    clip: float | None = None
    """Longest gradient of a step, as the norm over all trained parameters; longer ones are scaled down; null = any."""
    learning_rate: float = 5e-4
    """The highest learning rate of AdamW."""
    weight_decay: float = 0.01
    """The weight decay of AdamW."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    schedule: str = "linear"
    """How the learning rate goes on: `linear` or `cosine` down to 0, or `constant`."""
    dropout: bool = False
    """Use the pretrained model's hidden dropout in the trained layers."""
    recompute: bool = False
    """Compute what happens within the trained layers again in the backward pass instead of keeping it: the same numbers
    with a fraction of the memory, and a third more time."""
    prefix_cache_mb: int = 1024
    """Memory for the frozen layers' output, which later passes reuse, in MB."""

    @property
    def prefix_cache_bytes(self) -> int:
        """Returns `prefix_cache_mb` in bytes."""
        return self.prefix_cache_mb * 2**20

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        bounds = {"epochs": 0, "batch_size": 1, "accumulate": 1, "prefix_cache_mb": 0}
        found = [
            f"task.{name}: expected at least {least}, but got {getattr(self, name)}"
            for name, least in bounds.items()
            if getattr(self, name) < least
        ]
        if not self.learning_rate > 0:
            found.append(f"task.learning_rate: expected a number above 0, but got {self.learning_rate}")
        if self.max_steps is not None and self.max_steps < 1:
            found.append(f"task.max_steps: expected at least 1 or null, but got {self.max_steps}; see selection=none")
        if self.clip is not None and not self.clip > 0:
            found.append(f"task.clip: expected a number above 0, or null, but got {self.clip:g}")
        if self.schedule not in SCHEDULES:
            found.append(str(one_of("task.schedule", self.schedule, SCHEDULES)))
        if self.weight_decay < 0:
            found.append(f"task.weight_decay: expected 0 or more, but got {self.weight_decay}")
        if not 0 <= self.warmup <= 1:
            found.append(f"task.warmup: expected a share from 0 to 1, but got {self.warmup}")
        return found
