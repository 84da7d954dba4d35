"""Adapters on the chosen layers: placing them through PEFT, saving and loading them."""

from layersel.adapters.files import load_adapter, save_adapter
from layersel.adapters.lora import Lora
from layersel.adapters.placement import adapted_layers, count_parameters, place

__all__ = ["Lora", "adapted_layers", "count_parameters", "load_adapter", "place", "save_adapter"]
