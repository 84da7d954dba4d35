"""Which layers to adapt: scores of the layers, budgets, and the selection made of them."""
