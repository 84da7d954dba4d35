"""Fewer bits: the numeric precision of training and inference."""

from layersel.compression.files import load_model, save_model
from layersel.compression.precision import Precision
from layersel.compression.quantisation import Quantised

__all__ = ["Precision", "Quantised", "load_model", "save_model"]
