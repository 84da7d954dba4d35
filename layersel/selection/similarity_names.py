"""What similarities of representations can be asked for by name, and how few texts they can compare."""

KERNEL_NAMES = ("linear", "rbf")
DISTANCE_NAMES = ("correlation", "euclidean")
CORRELATION_NAMES = ("spearman", "pearson")

BLOCKS, HIDDEN_STATES = "blocks", "hidden_states"
STATES_NAMES = (BLOCKS, HIDDEN_STATES)

POOLED, ALL = "pooled", "all"
TOKENS_NAMES = (POOLED, ALL)

MIN_TEXTS = 4
"""The fewest texts that are compared: HSIC₁ divides by n·(n-3), and fewer have hardly a geometry."""
