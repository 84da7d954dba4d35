"""The kernels of CKA by name, and how few texts it can compare."""

KERNEL_NAMES = ("linear", "rbf")

MIN_TEXTS = 4
"""The fewest texts that CKA compares: HSIC₁ divides by n·(n-3)."""
