"""Checks that the package that a 4-bit base needs is installed."""

from importlib.util import find_spec


def nf4_problem() -> str | None:
    """Returns what is missing for a 4-bit base, in one line; None if nothing is."""
    if find_spec("bitsandbytes") is not None:
        return None
    return "adapter: qlora needs the package bitsandbytes, which is not installed; pip install 'layersel[qlora]'"
