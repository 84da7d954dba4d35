"""Integer weights: rounded in place, or multiplied as integers by the fastest engine that this machine has."""

from layersel.compression.quantisation.engines import AUTO, ENGINES, usable_engines
from layersel.compression.quantisation.grid import Grid, pack, unpack
from layersel.compression.quantisation.int8_linear import Int8Linear
from layersel.compression.quantisation.quantised import Quantised
from layersel.compression.quantisation.quantising import DYNAMIC, FORMATS, quantise

__all__ = [
    "AUTO",
    "DYNAMIC",
    "ENGINES",
    "FORMATS",
    "Grid",
    "Int8Linear",
    "Quantised",
    "pack",
    "quantise",
    "unpack",
    "usable_engines",
]
