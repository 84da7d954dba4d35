"""The names of number formats and of the engines that multiply integers."""

WEIGHT_BITS = {"int8_weight": 8, "int4": 4}
"""Formats whose weights are rounded in place, and their bits."""
DYNAMIC = "int8"
"""The format in which integers are multiplied."""
FORMATS = (DYNAMIC, *WEIGHT_BITS)

AUTO = "auto"
ENGINE_NAMES = ("onednn", "int_mm")
"""`onednn`: oneDNN's int8 product with packed weights; `int_mm`: PyTorch's own. Both sum exactly."""
