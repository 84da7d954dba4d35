"""No merging: a cell of one dataset."""

from dataclasses import dataclass

from layersel.merging.method import Merging


@dataclass
class NoMerging(Merging):
    """The cell trains one adapter and uses it alone."""
