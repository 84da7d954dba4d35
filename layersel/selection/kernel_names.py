"""What CKA can be asked for by name, and how few texts it can compare."""

KERNEL_NAMES = ("linear", "rbf")

BLOCKS, HIDDEN_STATES = "blocks", "hidden_states"
STATES_NAMES = (BLOCKS, HIDDEN_STATES)

MIN_TEXTS = 4
"""The fewest texts that CKA compares: HSIC₁ divides by n·(n-3)."""
