"""The names of number formats and of the engines that multiply integers."""

WEIGHT_BITS = {"int8_weight": 8, "int4": 4}
"""Formats whose weights are rounded in place, and their bits."""
DYNAMIC = "int8"
"""The format in which integers are multiplied."""
FORMATS = (DYNAMIC, *WEIGHT_BITS)

AUTO = "auto"
ENGINE_NAMES = ("onednn_unsigned", "onednn", "int_mm", "float32")
"""`onednn_unsigned` and `onednn`: oneDNN's product of packed weights with unsigned and with signed rows; `int_mm`:
PyTorch's own; `float32`: the same integers in floats, for CPUs without such kernels. All of them sum exactly."""
