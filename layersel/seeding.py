"""One independent stream of random numbers for each purpose, all from the cell's seed."""

import hashlib

import torch


def stream(seed: int, purpose: str) -> torch.Generator:
    """The generator of `purpose` (the split, the probe, the pairs of epoch 1, …) under `seed`.

    What one purpose draws never shifts another's numbers, so cells that differ in one option stay comparable.

    Example:
        >>> a, b = stream(0, "split"), stream(0, "split")
        >>> bool((torch.randperm(9, generator=a) == torch.randperm(9, generator=b)).all())
        True
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
