"""Fewer bits: the numeric precision of training and inference."""

from layersel.compression.precision import Precision

__all__ = ["Precision"]
