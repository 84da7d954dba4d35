"""One independent stream of random numbers for each purpose, all from the cell's seed."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream(seed: int, purpose: str) -> "torch.Generator":
    """Returns the generator of `purpose` (the split, the probe, the batches of epoch 1, …) under `seed`.

    What one purpose draws never shifts another's numbers, so cells that differ in one option stay comparable.

    Example:
        >>> import torch
        >>> a, b = stream(0, "split"), stream(0, "split")
        >>> bool((torch.randperm(9, generator=a) == torch.randperm(9, generator=b)).all())
        True
    """
    import torch

    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
