"""Adapters on the chosen layers: placing them, merging them, saving and loading them."""

from layersel.adapters.adapter import Adapter
from layersel.adapters.change import Change
from layersel.adapters.files import save_adapter, save_lora
from layersel.adapters.kinds.lora import Lora
from layersel.adapters.loading import load_adapter
from layersel.adapters.placed import Placed, Unadapted
from layersel.adapters.placement import adapted_layers, count_parameters, place

__all__ = [
    "Adapter",
    "Change",
    "Lora",
    "Placed",
    "Unadapted",
    "adapted_layers",
    "count_parameters",
    "load_adapter",
    "place",
    "save_adapter",
    "save_lora",
]
